"""The real plugins take our configuration, and the bridge as the agent has made it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudroute.adapters.cni import find_plugins
from cloudroute.core.conflist import conflist
from cloudroute.core.peers import gateway
from cloudroute.dataplane import BRIDGE, written
from cloudroute.types import Cidr
from tests.adapters.cni.runtime import Refused, Runtime
from tests.hosts import Namespace, require_netns
from tests.required import lacking

CIDRS = (Cidr.parse("10.244.3.0/24"), Cidr.parse("fd00:10:244:3::/80"))
MTU = 8951
MAC = "0a:58:0a:f4:03:01"
GATEWAYS = tuple(written(gateway(cidr)) for cidr in CIDRS)
HEADERS = (28, 48)
"""Of a ping, by family."""
PORT = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}


@pytest.fixture(scope="module")
def require_plugins() -> None:
    """Root, ip netns, the plugins and what they call."""
    require_netns()
    found, searched = find_plugins()
    if missing := {"bridge", "host-local", "portmap", "bandwidth"} - found:
        lacking("cni", f"install the CNI plugins: no {', '.join(sorted(missing))} in {', '.join(searched)}")
    if not shutil.which("iptables") or not shutil.which("ping"):
        lacking("cni", "install iptables and ping (Debian: iptables, iputils-ping)")


@pytest.fixture
def node(require_plugins: None) -> Iterator[Namespace]:
    """A node with the bridge as the agent makes it."""
    with Namespace("crcn-") as node:
        node.run("ip", "link", "add", BRIDGE, "address", MAC, "type", "bridge")
        node.run("ip", "link", "set", BRIDGE, "mtu", str(MTU), "up")
        for address, cidr in zip(GATEWAYS, CIDRS, strict=True):
            node.run("ip", "addr", "add", f"{address}/{cidr.length}", "dev", BRIDGE, "nodad")
        yield node


@pytest.fixture
def pods(require_plugins: None) -> Iterator[tuple[Namespace, Namespace]]:
    """Two pods that have no network yet."""
    with Namespace("crcn-") as first, Namespace("crcn-") as second:
        yield first, second


@pytest.fixture
def runtime(node: Namespace, tmp_path: Path) -> Runtime:
    return Runtime(node, conflist(CIDRS, MTU, {"portmap", "bandwidth"}), tmp_path)


def reaches(namespace: Namespace, address: str, *options: str) -> bool:
    """Whether one ping comes back."""
    try:
        namespace.run("ping", "-c1", "-W2", *options, address)
    except subprocess.CalledProcessError:
        return False
    return True


def bridge(node: Namespace) -> dict[str, Any]:
    """What must stay as the agent has made it."""
    (link,) = json.loads(node.run("ip", "-j", "addr", "show", BRIDGE))
    shown = [info for info in link["addr_info"] if info["scope"] == "global"]
    return {
        "mac": link["address"],
        "mtu": link["mtu"],
        "addresses": [(info["local"], info["prefixlen"], "tentative" in info) for info in shown],
    }


def ports(node: Namespace) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(node.run("bridge", "-j", "-d", "link"))
    return listed


def settings(node: Namespace) -> dict[str, str]:
    """The node's own, those of pods' devices left out."""
    listed = node.run("sysctl", "-a", "--pattern", r"^net\..*(conf|forward)").splitlines()
    lines = (line.partition(" = ") for line in listed)
    return {name: value for name, _, value in lines if ".veth" not in name}


def addresses(result: dict[str, Any]) -> list[str]:
    return [entry["address"].partition("/")[0] for entry in result["ips"]]


def test_two_pods_reach_each_other_and_the_bridge_at_full_size(
    runtime: Runtime, pods: tuple[Namespace, Namespace]
) -> None:
    """In both families and at once: no duplicate address detection keeps an address back."""
    first, second = (runtime.add(pod) for pod in pods)
    for family, (headers, cidr) in enumerate(zip(HEADERS, CIDRS, strict=True)):
        assert first["ips"][family]["gateway"] == GATEWAYS[family]
        assert Cidr.parse(addresses(first)[family]).base - cidr.base == 2  # the first after the gateway's
        for target in (addresses(second)[family], GATEWAYS[family]):
            assert reaches(pods[0], target, "-Mdo", f"-s{MTU - headers}")
    for pod in pods:
        (link,) = json.loads(pod.run("ip", "-j", "addr", "show", "eth0"))
        assert link["mtu"] == MTU
        assert not any(info.get("tentative") for info in link["addr_info"] if info["scope"] == "global")


def test_the_bridge_stays_as_the_agent_has_made_it(
    runtime: Runtime, node: Namespace, pods: tuple[Namespace, Namespace]
) -> None:
    """MAC, MTU and addresses, while pods come and when the last has gone."""
    before = bridge(node)
    assert before["addresses"] == [(address, cidr.length, False) for address, cidr in zip(GATEWAYS, CIDRS, strict=True)]
    for pod in pods:
        runtime.add(pod)
        assert bridge(node) == before
    assert [port["hairpin"] for port in ports(node)] == [True, True]
    for pod in pods:
        runtime.delete(pod)
        assert bridge(node) == before


def test_a_pod_that_goes_gives_its_addresses_back(
    runtime: Runtime, node: Namespace, pods: tuple[Namespace, Namespace]
) -> None:
    """Deleted twice, or with its namespace gone before it: the kubelet does both. They rest before they come again."""
    with Namespace("crcn-") as gone:
        given = [addresses(runtime.add(pod)) for pod in (gone, pods[0])]
    assert runtime.leases == {*given[0], *given[1]}
    runtime.delete(gone)
    runtime.delete(gone)
    assert runtime.leases == {*given[1]}
    runtime.delete(pods[0])
    assert runtime.leases == set()
    assert ports(node) == []
    assert not {*addresses(runtime.add(pods[1]))} & {*given[0], *given[1]}


def test_forwarding_and_router_advertisements_are_all_that_the_plugins_set_on_the_node(
    runtime: Runtime, node: Namespace, pods: tuple[Namespace, Namespace]
) -> None:
    """What the agent wants of these it finds unchanged; of the rest nothing moves under it."""
    before = settings(node)
    runtime.add(pods[0], **PORT)
    after = settings(node)
    changed = {name: after.get(name) for name in before if before[name] != after.get(name)}
    forwarding = {name: value for name, value in changed.items() if name.endswith("forwarding")}
    assert {name: value for name, value in changed.items() if name not in forwarding} == {
        "net.ipv4.ip_forward": "1",
        "net.ipv4.conf.all.accept_redirects": "0",  # the kernel's own doing, when it becomes a router
        f"net.ipv4.conf.{BRIDGE}.route_localnet": "1",  # portmap: host ports by 127.0.0.1
        f"net.ipv6.conf.{BRIDGE}.accept_ra": "0",
    }
    assert set(forwarding.values()) == {"1"}
    assert {"net.ipv4.conf.all.forwarding", "net.ipv6.conf.all.forwarding"} < set(forwarding)


def test_an_address_of_another_pod_cidr_on_the_bridge_fails_a_pod_and_stays(
    runtime: Runtime, node: Namespace, pods: tuple[Namespace, Namespace]
) -> None:
    """The plugin takes no address away; the pod starts when the agent has done so. No lease is lost by it."""
    node.run("ip", "addr", "delete", f"{GATEWAYS[0]}/24", "dev", BRIDGE)
    node.run("ip", "addr", "add", "10.244.9.1/24", "dev", BRIDGE)
    before = bridge(node)
    with pytest.raises(Refused, match=r"already has an IP address different from 10\.244\.3\.1/24"):
        runtime.add(pods[0])
    assert bridge(node) == before
    runtime.delete(pods[0])
    assert runtime.leases == set()
    node.run("ip", "addr", "delete", "10.244.9.1/24", "dev", BRIDGE)
    runtime.add(pods[0])
    assert (GATEWAYS[0], 24, False) in bridge(node)["addresses"]


def test_without_the_optional_plugins_a_pod_starts_all_the_same(
    node: Namespace, pods: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    """With one family, too."""
    runtime = Runtime(node, conflist(CIDRS[:1], MTU, ()), tmp_path)
    (address,) = addresses(runtime.add(pods[0], **PORT))
    assert reaches(node, address)


# --- host ports and bandwidth ---------------------------------------------------------------------

SERVER = (
    "import socket\n"
    "server = socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True)\n"
    "print('listening', flush=True)\n"
    "while True:\n"
    "    server.accept()[0].sendall(b'pod')\n"
)
CLIENT = (
    "import socket, sys\n"
    "with socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) as connection:\n"
    "    print(connection.recv(9).decode())\n"
)


@pytest.fixture
def serve() -> Iterator[Callable[[Namespace], None]]:
    """Starts a server on port 80 of a pod."""
    servers: list[subprocess.Popen[str]] = []

    def start(pod: Namespace) -> None:
        command = ["ip", "netns", "exec", pod.name, sys.executable, "-c", SERVER]
        servers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert servers[-1].stdout is not None
        assert servers[-1].stdout.readline() == "listening\n"

    yield start
    for server in servers:
        server.kill()
        with server:
            pass


def test_a_host_port_answers_the_node_another_pod_and_the_pod_itself(
    runtime: Runtime,
    node: Namespace,
    pods: tuple[Namespace, Namespace],
    serve: Callable[[Namespace], None],
) -> None:
    """In both families, and no longer when the pod has gone."""
    runtime.add(pods[0], **PORT)
    runtime.add(pods[1])
    serve(pods[0])
    for namespace in (node, *pods):
        for address in GATEWAYS:
            assert namespace.run(sys.executable, "-c", CLIENT, address, "8080") == "pod\n"
    runtime.delete(pods[0], **PORT)
    with pytest.raises(subprocess.CalledProcessError):
        node.run(sys.executable, "-c", CLIENT, GATEWAYS[0], "8080")


def test_a_pods_bandwidth_is_limited_where_it_asks_for_it(
    runtime: Runtime, node: Namespace, pods: tuple[Namespace, Namespace]
) -> None:
    """By a shaper on its own port."""
    rate = {"ingressRate": 10_000_000, "ingressBurst": 10_000_000}
    runtime.add(pods[0], bandwidth=rate)
    runtime.add(pods[1])
    assert node.run("tc", "qdisc", "show").count("qdisc tbf") == 1
    runtime.delete(pods[0], bandwidth=rate)
    assert "tbf" not in node.run("tc", "qdisc", "show")

"""The real plugins take our configuration, on a node whose settings are the agent's."""

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
from cloudroute.core.node.conflist import conflist
from cloudroute.core.node.peers import gateway
from cloudroute.dataplane import written
from cloudroute.types import Cidr
from tests.adapters.cni.runtime import Runtime
from tests.hosts import Namespace, require_cni, require_netns
from tests.required import lacking

CIDRS = (Cidr.parse("10.244.3.0/24"), Cidr.parse("fd00:10:244:3::/80"))
MTU = 8951
GATEWAYS = tuple(written(gateway(cidr)) for cidr in CIDRS)
NODE = ("10.0.9.1", "fd09::1")
"""The node's own addresses."""
HEADERS = (28, 48)
"""Of a ping, by family."""
PORT = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}


@pytest.fixture(scope="module")
def require_plugins() -> None:
    """Root, ip netns, the plugins and what they call."""
    require_netns()
    require_cni()
    if not shutil.which("iptables") or not shutil.which("ping"):
        lacking("cni")


@pytest.fixture
def node(require_plugins: None) -> Iterator[Namespace]:
    """A node that forwards, as the agent has it."""
    with Namespace("crcn-") as node:
        node.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        node.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        node.shell("sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 || true")
        yield node


@pytest.fixture
def pods(require_plugins: None) -> Iterator[tuple[Namespace, Namespace]]:
    """Two pods that have no network yet."""
    with Namespace("crcn-") as first, Namespace("crcn-") as second:
        yield first, second


@pytest.fixture
def runtime(node: Namespace, tmp_path: Path) -> Runtime:
    return Runtime(node, conflist(CIDRS, MTU, find_plugins()[0]), tmp_path)


def reaches(namespace: Namespace, address: str, *options: str) -> bool:
    """Whether one ping comes back."""
    try:
        namespace.run("ping", "-c1", "-W2", *options, address)
    except subprocess.CalledProcessError:
        return False
    return True


def devices(node: Namespace) -> set[str]:
    """Return all devices but the loopback."""
    return {link["ifname"] for link in json.loads(node.run("ip", "-j", "link"))} - {"lo"}


def settings(node: Namespace) -> dict[str, str]:
    """The node's own, those of pods' devices left out."""
    listed = node.run("sysctl", "-a", "--pattern", r"^net\..*(conf|forward)").splitlines()
    lines = (line.partition(" = ") for line in listed)
    return {name: value for name, _, value in lines if ".veth" not in name}


def addresses(result: dict[str, Any]) -> list[str]:
    return [entry["address"].partition("/")[0] for entry in result["ips"]]


def test_two_pods_reach_each_other_and_their_gateway_at_full_size(
    runtime: Runtime, pods: tuple[Namespace, Namespace]
) -> None:
    """In both families and at once: no duplicate address detection keeps an address back, at neither end."""
    first, second = (runtime.add(pod) for pod in pods)
    for family, (headers, cidr) in enumerate(zip(HEADERS, CIDRS, strict=True)):
        assert first["ips"][family]["gateway"] == GATEWAYS[family]
        assert Cidr.parse(addresses(first)[family]).base - cidr.base == 2  # the first after the gateway's
        for target in (addresses(second)[family], GATEWAYS[family]):
            assert reaches(pods[0], target, "-Mdo", f"-s{MTU - headers}")
    for pod in pods:
        (link,) = json.loads(pod.run("ip", "-j", "addr", "show", "eth0"))
        assert link["mtu"] == MTU
        assert pod.run("sysctl", "-n", "net.ipv6.conf.eth0.accept_dad") == "0\n"


def test_packets_between_two_pods_of_a_node_pass_its_forward_hook(
    runtime: Runtime, node: Namespace, pods: tuple[Namespace, Namespace]
) -> None:
    """Without br_netfilter, which EKS's images do not load: Services and policy enforcers need it so."""
    first, second = (addresses(runtime.add(pod)) for pod in pods)
    node.run(
        "nft",
        "table inet t { counter seen { }; "
        "chain f { type filter hook forward priority 0; meta l4proto { icmp, icmpv6 } counter name seen; }; }",
    )
    for address in second:
        assert reaches(pods[0], address)
    found = json.loads(node.run("nft", "-j", "list", "counters"))["nftables"]
    assert [one["counter"]["packets"] for one in found if "counter" in one] == [2 * len(first)]


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
    assert devices(node) == set()
    assert not {*addresses(runtime.add(pods[1]))} & {*given[0], *given[1]}


def test_forwarding_is_all_that_the_plugins_set_on_the_node(
    runtime: Runtime, node: Namespace, pods: tuple[Namespace, Namespace]
) -> None:
    """The agent finds what it wants unchanged; of the rest nothing moves under it."""
    before = settings(node)
    runtime.add(pods[0], **PORT)
    after = settings(node)
    assert {name: after.get(name) for name in before if before[name] != after.get(name)} == {}
    assert "net.ipv4.conf.all.forwarding" in before


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
    """Start a server on port 80 of a pod."""
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


@pytest.fixture
def other(node: Namespace) -> Iterator[Namespace]:
    """Another host, on the node's NIC."""
    with Namespace("crcn-") as other:
        node.shell(
            f"ip link add eth0 type veth peer name eth0 netns {other.name}; ip link set eth0 up;"
            f"ip address add {NODE[0]}/24 dev eth0; ip address add {NODE[1]}/64 dev eth0 nodad"
        )
        other.shell(
            "ip link set eth0 up; ip address add 10.0.9.2/24 dev eth0; ip address add fd09::2/64 dev eth0 nodad"
        )
        yield other


def test_a_host_port_answers_the_node_another_node_another_pod_and_the_pod_itself(
    runtime: Runtime,
    node: Namespace,
    other: Namespace,
    pods: tuple[Namespace, Namespace],
    serve: Callable[[Namespace], None],
) -> None:
    """Both families; no answer once the pod is gone."""
    runtime.add(pods[0], **PORT)
    runtime.add(pods[1])
    serve(pods[0])
    for namespace in (node, other, *pods):
        for address in NODE:
            assert namespace.run(sys.executable, "-c", CLIENT, address, "8080") == "pod\n"
    runtime.delete(pods[0], **PORT)
    with pytest.raises(subprocess.CalledProcessError):
        node.run(sys.executable, "-c", CLIENT, NODE[0], "8080")


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

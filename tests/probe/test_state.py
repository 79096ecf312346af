"""A node's kernel as `state` tells it: with an agent's entries, after a loss of the carrier, and changed by others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudroute.adapters.kernel import HostKernel
from cloudroute.agent.gateway import Heartbeat
from cloudroute.agent.loop import Loop
from cloudroute.agent.report import Reporter
from cloudroute.config import AgentSettings
from cloudroute.telemetry import AgentTelemetry
from tests.agent.in_memory import POOLS, TABLES, MemoryAgents, node_route
from tests.clock import FakeClock
from tests.hosts import Namespace, require_cni, require_netns, require_nftables
from tests.probe.net import ask

_ETH0 = """
ip link add eth0 mtu 9001 type veth peer name vpc0; ip link set vpc0 up
ip addr add 10.0.0.1/20 dev eth0; ip addr add fd01::1/64 dev eth0 nodad; ip link set eth0 up
ip route add default via 10.0.0.254; ip -6 route add default via fe80::1 dev eth0
"""
PEERS = {"100.64.2.0/24": "eth0", "fd00:64:0:0:2::/80": "eth0", "100.64.3.0/24": "cr0", "fd00:64:0:0:3::/80": "cr0"}
"""Device by pod CIDR: n2 is reached natively, n3 by the overlay."""


@pytest.fixture
def host() -> Iterator[Namespace]:
    require_netns()
    require_nftables()
    require_cni()
    with Namespace("crprobes-") as made:
        made.shell(_ETH0)
        yield made


@pytest.fixture(params=["node", "gateway"])
def role(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def node(host: Namespace, tmp_path: Path, role: str) -> Namespace:
    """A host whose kernel an agent has programmed once, and which then stays as it is."""
    agents, clock = MemoryAgents(), FakeClock()
    routes = (node_route(1, TABLES, gateway=role == "gateway"), node_route(2, TABLES), node_route(3))
    agents.node_routes.objects = {route.name: route for route in routes}
    settings = AgentSettings(node_name="n1", cluster_cidr=POOLS, cni_conf_dir=str(tmp_path / "net.d"))
    with host.inside():
        kernel = HostKernel(settings.cni_conf_dir)
        parts = (AgentTelemetry(), Reporter(agents, clock), Heartbeat(agents, clock))
        turn = Loop(settings, agents, kernel, clock, *parts).turn()
        kernel.close()
    assert turn.report.ready, turn.report.message
    return host


def state(host: Namespace, before: str = "") -> dict[str, Any]:
    """The answer in an agent's container."""
    answer: dict[str, Any] = json.loads(ask(host, [{"id": 1, "kind": "state"}], "net_admin", before=before)[0])
    assert answer.pop("ok"), answer
    return answer


def test_an_agents_entries_are_told(node: Namespace, role: str) -> None:
    found = state(node)
    assert found["peers"] == PEERS
    assert found["fdb"] == 2
    assert found["nexthops"] == (8 if role == "gateway" else 4)
    assert found["tables"] == ["inet cloudroute"]
    assert found["masquerade"] == {"table": True, "chain": True, "altered": False}
    assert found["services"] == {"nftables": False, "iptables": False, "ipvs": False, "legacy": []}
    assert len(found["gateway"]["rules"]) == (4 if role == "gateway" else 0)
    assert found["links"].keys() == {"eth0", "cr0"}
    assert found["bridged"] == {}
    vtep = found["links"]["cr0"]
    assert (vtep["kind"], vtep["mtu"], vtep["up"], vtep["carrier"]) == ("vxlan", 8951, True, "unknown")
    assert found["links"]["eth0"]["tx_packets"] > 0
    assert found["sysctls"]["net/ipv4/ip_forward"] == found["sysctls"]["net/ipv6/conf/all/forwarding"] == 1
    assert found["sysctls"]["net/ipv4/conf/eth0/rp_filter"] in (0, 1, 2)


def test_a_flush_by_the_carrier_shows(node: Namespace) -> None:
    """The kernel drops the nexthops of a device without carrier, and their routes; nobody repairs it here."""
    node.shell("ip link set vpc0 down; ip link set vpc0 up")
    found = state(node)
    assert found["peers"] == {cidr: device for cidr, device in PEERS.items() if device == "cr0"}
    assert found["fdb"] == 2
    node.run("ip", "link", "set", "vpc0", "down")
    assert state(node)["links"]["eth0"]["carrier"] == "lowerlayerdown"


def test_changes_of_others_show(node: Namespace) -> None:
    """A rule taken out of our table; kube-proxy by each of its modes; a bridge with a pod on it, and its settings."""
    rules = json.loads(node.run("nft", "-j", "list", "chain", "inet", "cloudroute", "leaving"))["nftables"]
    masquerade = next(one["rule"]["handle"] for one in rules if "masquerade" in json.dumps(one.get("rule", {})))
    node.run("nft", "delete", "rule", "inet", "cloudroute", "leaving", "handle", str(masquerade))
    assert state(node)["masquerade"] == {"table": True, "chain": True, "altered": True}
    node.shell("""
        nft delete table inet cloudroute
        nft add table ip kube-proxy; nft add chain ip kube-proxy services
        nft add table ip nat; nft add chain ip nat KUBE-SERVICES
        ip link add kube-ipvs0 type veth peer name other
        ip link add cni0 type bridge; ip link add veth1 type veth peer name pod; ip link set veth1 master cni0
        echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
        echo 0 >/proc/sys/net/bridge/bridge-nf-call-ip6tables
    """)
    found = state(node)
    assert found["masquerade"] == {"table": False, "chain": False, "altered": False}
    assert found["tables"] == ["ip kube-proxy", "ip nat"]
    assert found["services"] == {"nftables": True, "iptables": True, "ipvs": True, "legacy": []}
    assert found["bridged"] == {"cni0": ["veth1"]}
    bridged = {name: value for name, value in found["sysctls"].items() if name.startswith("net/bridge/")}
    assert bridged == {"net/bridge/bridge-nf-call-iptables": 1, "net/bridge/bridge-nf-call-ip6tables": 0}


def test_without_br_netfilter_its_settings_are_null(host: Namespace) -> None:
    """And a host without any agent is told as it is."""
    found = state(host, "mount -t tmpfs none /proc/sys/net/bridge")
    assert found["sysctls"]["net/bridge/bridge-nf-call-iptables"] is None
    assert (found["routes"], found["nexthops"], found["fdb"], found["peers"]) == (0, 0, 0, {})
    assert found["gateway"] == {"rules": [], "routes": 0}


def test_without_net_admin_the_reason_is_told(host: Namespace) -> None:
    (line,) = ask(host, [{"id": 1, "kind": "state"}])
    words = (
        "nft: Operation not permitted: run as root, or with the capability NET_ADMIN in the host's network namespace"
    )
    assert json.loads(line) == {"id": 1, "ok": False, "error": words, "code": "other"}

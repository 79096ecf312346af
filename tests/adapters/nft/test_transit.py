"""Packets that come in by a gateway's NIC for pods of other nodes: counted by source, and not tracked."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cloudroute.adapters.nft.client import Nft
from cloudroute.dataplane import TABLE
from cloudroute.types import family_of
from tests.adapters.nft.kit import GATEWAY_RULESET, RULESET
from tests.adapters.nft.network import OVERLAY, PING, POD, PORT, PROTOCOL, ROUTED, Network, bound, connected
from tests.hosts import Namespace

VPC = {"ipv4": "10.0.0.1", "ipv6": "fc00::1"}
ELSEWHERE = {"ipv4": "10.244.99.9", "ipv6": "fd00:0:0:0:99::9"}
"""Pods of another node. The first address of `OVERLAY` and of `ROUTED` is a pod's as well."""
FATE = """
add table inet probe
add chain inet probe c { type filter hook prerouting priority 0; }
add rule inet probe c iifname eth0 ip daddr 10.244.0.0/16 ct state untracked counter
add rule inet probe c iifname eth0 ip6 daddr fd00::/48 ct state untracked counter
"""


@pytest.fixture
def network(require_nft: None) -> Iterator[Network]:
    with connected() as network:
        for option, by in (("-4", "10.0.0.5"), ("-6", "fc00::5")):
            network.outside.run(
                "ip", option, "route", "add", {"-4": "10.244.0.0/16", "-6": "fd00::/48"}[option], "via", by
            )
        network.host.run("nft", FATE)
        yield network


@pytest.fixture
def nft(network: Network) -> Iterator[Nft]:
    with network.host.inside():
        adapter = Nft()
        assert adapter.table.write({TABLE: GATEWAY_RULESET}, ()) == {}
        yield adapter


def send(network: Network, source: str, target: str, count: int) -> None:
    with bound(network.outside, source, port=0) as here:
        for _ in range(count):
            here.sendto(PING, (target, PORT))


def untracked(host: Namespace) -> int:
    objects = json.loads(host.run("nft", "-j", "list", "table", "inet", "probe"))["nftables"]
    return sum(part["counter"]["packets"] for one in objects if "rule" in one for part in one["rule"]["expr"] if
               "counter" in part)  # fmt: skip


def test_packets_are_counted_by_their_source_and_are_not_tracked(network: Network, nft: Nft) -> None:
    """In both families together. A source in a pool lacks a native route."""
    assert nft.transit_packets() == {"pod": 0, "vpc": 0}
    for family in PROTOCOL:
        send(network, VPC[family], ELSEWHERE[family], 3)
    for source in (*OVERLAY, *ROUTED):
        send(network, source, ELSEWHERE[family_of(source)], 1)
    assert nft.transit_packets() == {"pod": 4, "vpc": 6}
    assert untracked(network.host) == 10
    assert nft.table.read(()) == {TABLE: GATEWAY_RULESET}


def test_packets_to_own_pods_and_packets_of_own_pods_are_no_transit(network: Network, nft: Nft) -> None:
    for family in PROTOCOL:
        send(network, VPC[family], POD[family], 2)
    for address in (*OVERLAY, *ROUTED):
        with bound(network.pod, POD[family_of(address)], port=0) as here:
            here.sendto(PING, (address, PORT))
    assert nft.transit_packets() == {"pod": 0, "vpc": 0}
    assert untracked(network.host) == 0


def test_a_node_that_is_no_gateway_counts_nothing(network: Network, nft: Nft) -> None:
    assert nft.table.write({TABLE: RULESET}, ()) == {}
    send(network, VPC["ipv4"], ELSEWHERE["ipv4"], 2)
    assert nft.transit_packets() == {}
    assert untracked(network.host) == 0


def test_counters_go_on_while_peers_come_and_go(network: Network, nft: Nft) -> None:
    send(network, VPC["ipv4"], ELSEWHERE["ipv4"], 2)
    assert nft.table.write({TABLE: GATEWAY_RULESET._replace(hosts=frozenset())}, ()) == {}
    assert nft.transit_packets() == {"pod": 0, "vpc": 2}

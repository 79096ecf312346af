"""The way of a packet where route tables lead to gateways."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudroute.core.explain.trace import trace
from cloudroute.core.paths import Explanation
from cloudroute.types import Aggregate, Cidr, Family, FamilyUse, RouteTableObject
from tests.core.test_paths_trace import REPORTS, SPECS, find

POOLS: dict[Family, Cidr] = {"ipv4": Cidr.parse("100.64.0.0/16"), "ipv6": Cidr.parse("fd64::/16")}
PARTS: dict[Family, Cidr] = {"ipv4": Cidr.parse("100.64.128.0/17"), "ipv6": Cidr.parse("fd64:8000::/17")}


def with_gateways(table: RouteTableObject, node: str, destinations: dict[Family, Cidr] = POOLS) -> RouteTableObject:
    """A table whose aggregates lead to a node."""
    families: dict[Family, FamilyUse] = {
        family: replace(use, gateways=(Aggregate(destinations[family], node),))
        for family, use in table.families.items()
    }
    return replace(table, families=families)


def way(
    source: str,
    target: str,
    node: str = "b2",
    destinations: dict[Family, Cidr] = POOLS,
    *,
    keeps_source: bool = False,
) -> Explanation:
    """The way between two places where rtb-a leads to a gateway."""
    tables = {**REPORTS, "rtb-a": with_gateways(REPORTS["rtb-a"], node, destinations)}
    return trace(find(source), find(target), SPECS, tables, keeps_source=keeps_source)


@pytest.mark.parametrize(("gateway", "onward"), [("a1", "overlay"), ("b2", "direct")])
def test_a_vpc_host_reaches_a_pod_by_its_tables_gateway(gateway: str, onward: str) -> None:
    """The gateway sends on through the tunnel, or on a subnet that it shares; the answer goes straight back."""
    found = way("10.0.0.99", "100.64.4.7", gateway)
    assert (found.path, found.seen_as, found.source) == ("vpc", "outside", "10.0.0.99")
    assert found.reason.endswith(f": by gateway {gateway}, then {onward}")
    interface = SPECS[gateway].network_interface_id
    assert found.steps[1] == f"rtb-a: 100.64.0.0/16 -> {interface} of {gateway}, a gateway"
    assert found.steps[2].endswith(f"({onward})")
    assert found.steps[-1].startswith("reply: b4 sends it from its interface eni-4 with the pod's address")


def test_a_gateway_delivers_to_its_own_pods() -> None:
    """A pod of the gateway itself, in a table without a route to it."""
    found = way("10.0.0.99", "100.64.4.7", "b4")
    assert found.reason.endswith(": by gateway b4, then local")
    assert found.steps[2] == "b4 delivers it to the pod"


def test_ipv6_takes_the_aggregate_of_its_family() -> None:
    """The entry of IPv6, not IPv4's."""
    assert way("fd10:1::99", "fd64:4::7").steps[1] == "rtb-a: fd64::/16 -> eni-2 of b2, a gateway"


def test_a_route_to_the_node_wins() -> None:
    """It is more specific than the aggregate."""
    assert way("10.0.0.99", "100.64.2.7").steps[1] == "rtb-a: 100.64.2.0/24 -> eni-2"


@pytest.mark.parametrize(
    ("source", "node", "destinations"),
    [("10.1.0.99", "b2", POOLS), ("10.0.0.99", "gone", POOLS), ("10.0.0.99", "b2", PARTS)],
    ids=["another table", "a node that has gone", "another part of the pool"],
)
def test_without_an_aggregate_that_leads_there_nothing_does(
    source: str, node: str, destinations: dict[Family, Cidr]
) -> None:
    """A table without one, one that leads to a node without NodeRoute, or for another part of the pool."""
    assert way(source, "100.64.4.7" if source != "10.1.0.99" else "100.64.3.7", node, destinations).path == "none"


def test_a_native_pair_is_told_its_detour() -> None:
    """`path` reads no route table: where an entry was deleted by hand, packets go by the gateway."""
    assert way("a1", "b2", "a3").steps[-1] == "without that entry: by gateway a3, then overlay"
    assert not any("gateway a3" in step for step in way("a1", "b4", "a3").steps)


@pytest.mark.parametrize(("pod", "host"), [("100.64.4.7", "10.0.0.99"), ("fd64:4::7", "fd10:1::99")])
def test_a_pod_keeps_its_address_where_a_gateway_leads_back_and_agents_are_told_so(pod: str, host: str) -> None:
    """With --gateway-keeps-source; without it the pod is masqueraded."""
    found = way(pod, host, keeps_source=True)
    assert (found.path, found.seen_as, found.source) == ("vpc", "pod", pod)
    assert found.reason == f"{host} is in subnet-a, whose rtb-a leads to b4 by gateway b2: the pod keeps its address"
    assert found.steps[-3].startswith("reply: rtb-a: ")
    assert found.steps[-2:] == (
        "reply: b2 sends it on to b4 in a frame on subnet-b (direct)",
        "reply: b4 delivers it to the pod",
    )
    assert way(pod, host).seen_as == "node"


@pytest.mark.parametrize("gateway", ["b2", "b4", "gone"])
def test_the_journal_alone_decides_whether_a_pod_keeps_its_address(gateway: str) -> None:
    """As in the agents: also where the gateway is the pod's own node, or has no NodeRoute any more."""
    assert way("b4", "10.0.0.99", gateway, keeps_source=True).seen_as == "pod"


@pytest.mark.parametrize(
    ("host", "destinations"), [("10.1.0.99", POOLS), ("10.0.0.99", PARTS), ("10.9.0.99", POOLS)],
    ids=["another table", "another part of the pool", "outside of the subnets"],
)  # fmt: skip
def test_a_pod_is_masqueraded_where_no_gateway_leads_back(host: str, destinations: dict[Family, Cidr]) -> None:
    """Also with --gateway-keeps-source."""
    assert way("a3", host, "b2", destinations, keeps_source=True).seen_as == "node"


@pytest.mark.parametrize(("pod", "reserved"), [("100.64.4.7", "10.0.0.2"), ("fd64:4::7", "fd10:1::2")])
def test_a_pod_is_masqueraded_toward_addresses_that_aws_reserves(pod: str, reserved: str) -> None:
    """Whatever leads back."""
    assert way(pod, reserved, keeps_source=True).seen_as == "node"


def test_a_subnet_that_two_tables_claim_counts_for_the_one_with_a_gateway() -> None:
    """As agents do: an object may be a moment old."""
    both = replace(REPORTS["rtb-c"], subnets=(*REPORTS["rtb-c"].subnets, *REPORTS["rtb-a"].subnets))
    tables = {"rtb-c": both, "rtb-a": with_gateways(REPORTS["rtb-a"], "b2")}
    assert trace(find("b4"), find("10.0.0.99"), SPECS, tables, keeps_source=True).seen_as == "pod"

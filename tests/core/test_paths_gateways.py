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


def way(source: str, target: str, node: str = "b2", destinations: dict[Family, Cidr] = POOLS) -> Explanation:
    """The way between two places where rtb-a leads to a gateway."""
    tables = {**REPORTS, "rtb-a": with_gateways(REPORTS["rtb-a"], node, destinations)}
    return trace(find(source), find(target), SPECS, tables)


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

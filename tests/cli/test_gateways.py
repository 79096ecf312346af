"""Gateways in the output of the commands."""

from __future__ import annotations

from cloudroute.commands.status import gateway_statuses
from cloudroute.commands.steps import rows
from cloudroute.core.cluster.model import ChangeRoute
from cloudroute.types import Aggregate, Cidr, Family, FamilyUse, RouteTableObject

POOL, POOL6, NODE = (Cidr.parse(cidr) for cidr in ("100.64.0.0/16", "fd64::/48", "100.64.7.0/24"))


def test_the_status_lists_each_aggregate_of_each_table() -> None:
    """Of both families, by table."""
    uses: dict[Family, FamilyUse] = {
        "ipv4": FamilyUse(50, None, 3, 2, 1, (Aggregate(POOL, "node-1"),)),
        "ipv6": FamilyUse(50, None, 3, 2, 1, (Aggregate(POOL6, "node-2"),)),
    }
    reports = {
        "rtb-b": RouteTableObject("rtb-b", "1", "vpc-1", (), {}),
        "rtb-a": RouteTableObject("rtb-a", "1", "vpc-1", (), uses),
    }
    assert gateway_statuses(reports) == [
        {"destination": "100.64.0.0/16", "table": "rtb-a", "node": "node-1"},
        {"destination": "fd64::/48", "table": "rtb-a", "node": "node-2"},
    ]


def test_a_plan_tells_gateways_from_nodes() -> None:
    """A destination that is wider than a node's pod CIDR is an aggregate."""
    steps = [ChangeRoute("replace", "rtb-a", to, "eni-1", "node-1") for to in (POOL, NODE)]
    assert [row["change"] for row in rows(steps, {"ipv4": 24, "ipv6": 80})] == [
        "100.64.0.0/16 to eni-1, as a gateway",
        "100.64.7.0/24 to eni-1",
    ]

"""Settings that do not cover what the cluster has: pod CIDRs, and Nodes with routes.

Pod CIDRs lie outside where a --cluster-cidr or a node mask was changed on a running cluster.

The pools decide which routes are ours. With other pools, all nodes' routes would count as foreign and their NodeRoutes
would be withdrawn: the whole cluster would lose its network within a minute. So such settings are refused before
anything is written. A single Node whose CIDR came from elsewhere is no evidence of that: it alone gets no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cloudroute.core.cluster.ipam import NodeSized
from cloudroute.core.cluster.model import Policy
from cloudroute.selector import Selector
from cloudroute.types import FAMILIES, Cidr, Family, LeftOut, Node, NodeRoute

_LISTED = 3
_FEWEST = 3
"""Nodes left out that count as a mistake although others remain."""


class _Held(NamedTuple):
    """A pod CIDR and its holder: a Node's name, or "NodeRoute NAME"."""

    holder: str
    cidr: Cidr

    def __str__(self) -> str:
        return f"{self.holder} {self.cidr}"


def outside_pools(nodes: Mapping[str, Node], node_routes: Mapping[str, NodeRoute], policy: Policy) -> list[str]:
    """A sentence for each setting that does not fit the cluster's pod CIDRs: the CIDRs, their holders, the remedy.

    The NodeRoutes tell which CIDRs the cluster has given. Before the first one, the Nodes' own CIDRs tell, if most of
    the Nodes that have any contradict the settings.
    """
    node_sized = NodeSized(policy.pools, policy.node_mask)
    elsewhere: list[_Held] = []
    resized: dict[Family, list[_Held]] = {family: [] for family in FAMILIES}
    held = _published(nodes, node_routes) if node_routes else _adopted(nodes)
    odd = {one for one in held if one.cidr not in node_sized}
    if not node_routes and 2 * len({one.holder for one in odd}) <= len({one.holder for one in held}):
        return []
    for one in sorted(odd):
        inside = any(pool.covers(one.cidr) for pool in policy.pools)
        (resized[one.cidr.family] if inside else elsewhere).append(one)
    problems = [
        f"{_mask(family)} {policy.node_mask[family]}: expected the prefix length of every node's pod CIDR, but "
        f"{_listed(found)} {'has' if len(found) == 1 else 'have'} another; set the former one, {_OTHERWISE}"
        for family, found in resized.items()
        if found
    ]
    if elsewhere:
        problems.insert(
            0,
            f"--cluster-cidr {' '.join(map(str, policy.pools))}: expected pools that hold the pod CIDR of every node, "
            f"but {_listed(elsewhere)} {'lies' if len(elsewhere) == 1 else 'lie'} outside; add the former pool as one "
            f"more --cluster-cidr, {_OTHERWISE}",
        )
    return problems


def left_out_nodes(
    nodes: Mapping[str, Node],
    left_out: Mapping[str, LeftOut],
    node_routes: Mapping[str, NodeRoute],
    selector: Selector,
) -> list[str]:
    """A sentence where the selection leaves out all Nodes that have NodeRoutes, or more than half and at least three.

    Up to half is meant. NodeRoutes whose Nodes are gone don't count: the selection has no part in that.
    """
    ours = {node.instance_id for node in nodes.values()}
    others = {one.instance_id: one for one in left_out.values() if one.instance_id not in ours}
    routed = {route.spec.instance_id for route in node_routes.values()}
    out = [others[instance_id] for instance_id in sorted(routed & others.keys())]
    present = len(out) + len(routed & ours)
    if not out or (len(out) < present and (len(out) < _FEWEST or 2 * len(out) <= present)):
        return []
    reasons = {one.reason for one in out}
    cause = f"--node-selector={selector}" if "not selected" in reasons else f"the kind {', '.join(sorted(reasons))}"
    return [
        f"{cause}: leaves out {len(out)} of {present} Nodes that have routes, which would lose their network; correct "
        f"the selector or the Nodes' labels, or first give up the network: run `cloudroute cleanup --yes`"
    ]


_OTHERWISE = (
    "or first give up the network: run `cloudroute cleanup --yes` with the former settings and recreate the Nodes"
)


def _published(nodes: Mapping[str, Node], node_routes: Mapping[str, NodeRoute]) -> list[_Held]:
    return [
        _Held(name if name in nodes else f"NodeRoute {name}", cidr)
        for name, route in node_routes.items()
        for cidr in route.spec.pod_cidrs
    ]


def _adopted(nodes: Mapping[str, Node]) -> list[_Held]:
    """The CIDRs of Nodes, except those without an instance, which get no network, and those refused before."""
    return [
        _Held(name, cidr)
        for name, node in nodes.items()
        if node.instance_id
        and not (node.condition and (node.condition.status, node.condition.reason) == ("True", "NoPodCIDR"))
        for cidr in node.pod_cidrs
    ]


def _listed(held: list[_Held]) -> str:
    more = f" and {len(held) - _LISTED} more" if len(held) > _LISTED else ""
    return ", ".join(map(str, held[:_LISTED])) + more


def _mask(family: Family) -> str:
    return "--node-mask-v4" if family == "ipv4" else "--node-mask-v6"

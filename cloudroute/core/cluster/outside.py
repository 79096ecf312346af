"""Pod CIDRs that the settings do not cover: a --cluster-cidr or a node mask was changed on a running cluster.

The pools decide which routes are ours. With other pools, all nodes' routes would count as foreign and their NodeRoutes
would be withdrawn: the whole cluster would lose its network within a minute. So such settings are refused before
anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from cloudroute.core.cluster.ipam import NodeSized
from cloudroute.core.cluster.model import Policy
from cloudroute.types import FAMILIES, Cidr, Family, Node, NodeRoute

_LISTED = 3


class _Held(NamedTuple):
    """A pod CIDR and its holder: a Node's name, or "NodeRoute NAME"."""

    holder: str
    cidr: Cidr

    def __str__(self) -> str:
        return f"{self.holder} {self.cidr}"


def outside_pools(nodes: Mapping[str, Node], node_routes: Mapping[str, NodeRoute], policy: Policy) -> list[str]:
    """A sentence for each setting that does not fit the cluster's pod CIDRs: the CIDRs, their holders, the remedy."""
    node_sized = NodeSized(policy.pools, policy.node_mask)
    elsewhere: list[_Held] = []
    resized: dict[Family, list[_Held]] = {family: [] for family in FAMILIES}
    for one in sorted({one for one in _held(nodes, node_routes) if one.cidr not in node_sized}):
        inside = any(pool.covers(one.cidr) for pool in policy.pools)
        (resized[one.cidr.family] if inside else elsewhere).append(one)
    problems = [
        f"{_mask(family)} {policy.node_mask[family]}: expected the prefix length of every node's pod CIDR, but "
        f"{_listed(held)} {'has' if len(held) == 1 else 'have'} another; set the former one, {_OTHERWISE}"
        for family, held in resized.items()
        if held
    ]
    if elsewhere:
        problems.insert(
            0,
            f"--cluster-cidr {' '.join(map(str, policy.pools))}: expected pools that hold the pod CIDR of every node, "
            f"but {_listed(elsewhere)} {'lies' if len(elsewhere) == 1 else 'lie'} outside; add the former pool as one "
            f"more --cluster-cidr, {_OTHERWISE}",
        )
    return problems


_OTHERWISE = (
    "or first give up the network: run `cloudroute cleanup --yes` with the former settings and recreate the Nodes"
)


def _held(nodes: Mapping[str, Node], node_routes: Mapping[str, NodeRoute]) -> Iterator[_Held]:
    for name, route in node_routes.items():
        yield from (_Held(name if name in nodes else f"NodeRoute {name}", cidr) for cidr in route.spec.pod_cidrs)
    for name, node in nodes.items():
        # A Node that was created with a foreign CIDR has a condition that says so, and one without an instance gets no
        # network at all: a single such Node must not prevent a restart of the controller.
        told = node.condition and (node.condition.status, node.condition.reason) == ("True", "NoPodCIDR")
        if node.instance_id and not told:
            yield from (_Held(name, cidr) for cidr in node.pod_cidrs)


def _listed(held: list[_Held]) -> str:
    more = f" and {len(held) - _LISTED} more" if len(held) > _LISTED else ""
    return ", ".join(map(str, held[:_LISTED])) + more


def _mask(family: Family) -> str:
    return "--node-mask-v4" if family == "ipv4" else "--node-mask-v6"

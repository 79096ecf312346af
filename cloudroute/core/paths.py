"""Which way a pair of nodes exchanges pod traffic, and why: from NodeRoutes alone, as every agent sees them.

A pair is native only if each node is routed in the table that the other sends by; else direct if both stand on one
subnet; else overlay. The same answer from both ends, so that no path is asymmetric.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from cloudroute.core.tables import limit_of
from cloudroute.types import NodePath, NodeRouteSpec, Path, TableReport, family_of


class Class(NamedTuple):
    """All that a node's paths depend on: nodes of one class have the same path to any other node."""

    route_table_id: str
    subnet_id: str
    native_in: tuple[str, ...]

    @classmethod
    def of(cls, spec: NodeRouteSpec) -> Class:
        """The class of a node."""
        return cls(spec.route_table_id, spec.subnet_id, spec.native_in)


def pair_path(a: Class, b: Class) -> Path:
    """The path between a node of class `a` and one of class `b`, the same in both directions."""
    if a.route_table_id in b.native_in and b.route_table_id in a.native_in:
        return "native"
    if a.subnet_id and a.subnet_id == b.subnet_id:
        return "direct"
    return "overlay"


def node_paths(specs: Mapping[str, NodeRouteSpec]) -> dict[str, NodePath]:
    """Each node's path by name: the sum over its pairs.

    Nodes are compared class by class, so 5,000 nodes cost a few hundred comparisons and not 12 million.
    """
    members: defaultdict[Class, list[str]] = defaultdict(list)
    for name, spec in specs.items():
        members[Class.of(spec)].append(name)
    result: dict[str, NodePath] = {}
    for mine, names in members.items():
        paths = {pair_path(mine, other) for other, others in members.items() if other != mine or len(others) > 1}
        result.update(dict.fromkeys(names, _sum(paths, mine)))
    return result


def _sum(paths: set[Path], mine: Class) -> NodePath:
    if not paths:  # the only node: by what it has
        return "native" if mine.native_in else "direct" if mine.subnet_id else "overlay"
    if paths == {"overlay"}:
        return "overlay"
    if paths == {"direct"}:
        return "direct"
    return "mixed" if "overlay" in paths else "native"


class Explanation(NamedTuple):
    """A path between two nodes (or inside one: "local") with its reason and the way of a packet, in words."""

    path: Path | str
    reason: str
    steps: tuple[str, ...]


def explain(a: str, b: str, specs: Mapping[str, NodeRouteSpec], tables: Mapping[str, TableReport]) -> Explanation:
    """Why a packet from a pod on node `a` to a pod on node `b` goes which way. Both must be in `specs`."""
    if a == b:
        return Explanation("local", f"both are on {a}", (f"the bridge of {a} delivers it; it does not leave the host",))
    source, target = specs[a], specs[b]
    path = pair_path(Class.of(source), Class.of(target))
    lacking = [
        _lack(receiver, tables.get(sender_spec.route_table_id), sender_spec.route_table_id, receiver_spec)
        for sender_spec, receiver, receiver_spec in ((source, b, target), (target, a, source))
        if sender_spec.route_table_id not in receiver_spec.native_in
    ]
    cidrs = ", ".join(map(str, target.pod_cidrs))
    steps: tuple[str, ...]
    if path == "native":
        reason = f"{source.route_table_id} routes {b} and {target.route_table_id} routes {a}"
        steps = (
            f"{a} sends to its subnet's gateway from its interface {source.network_interface_id}",
            f"{source.route_table_id}: {cidrs} -> {target.network_interface_id}",
            f"{b} takes it, its source/dest check being off, and delivers it to the pod",
        )
    elif path == "direct":
        reason = f"not native: {'; '.join(lacking)}; but both stand on {source.subnet_id}"
        steps = (
            f"{a} sends the frame to the MAC of {_address(target)} on {source.subnet_id}; no route table applies",
            f"{b} takes it, its source/dest check being off, and delivers it to the pod",
        )
    else:
        reason = f"not native: {'; '.join(lacking)}; not direct: {_not_direct(a, b, source, target)}"
        steps = (
            f"{a} wraps it in VXLAN from {_address(source)} to {_address(target)}",
            "the VPC carries that as traffic between two nodes",
            f"{b} unwraps it and delivers it to the pod",
        )
    return Explanation(path, reason, steps)


def _address(spec: NodeRouteSpec) -> str:
    return spec.node_ips[0] if spec.node_ips else "an unknown address"


def _lack(node: str, table: TableReport | None, table_id: str, spec: NodeRouteSpec) -> str:
    """Why `node` is not routed natively in a table."""
    if table is None:
        return f"{table_id or 'the table of the sender'} is not managed by cloudroute"
    fills = []
    for cidr in spec.pod_cidrs:
        if use := table.families.get(cidr.family):
            fills.append(f"{use.used} of {limit_of(use)} {cidr.family} entries used")
            if use.used >= limit_of(use):
                full = f"{table_id} is full for {cidr.family} ({use.used} of {limit_of(use)} entries)"
                return f"{full} and no settled route in it leads to {node}"
    checked = "" if spec.subnet_id else ", or its source/dest check is on"
    return f"{table_id} holds no settled route to {node} ({', '.join(fills)}){checked}"


def _not_direct(a: str, b: str, source: NodeRouteSpec, target: NodeRouteSpec) -> str:
    closed = [name for name, spec in ((a, source), (b, target)) if not spec.subnet_id]
    if closed:
        return f"{' and '.join(closed)} may not be sent to directly"
    return f"{a} stands on {source.subnet_id}, {b} on {target.subnet_id}"


def owner_of(address: str, specs: Mapping[str, NodeRouteSpec]) -> str | None:
    """The node that a pod's or a node's address belongs to, by NodeRoutes; None when it belongs to none."""
    number, family = int(ipaddress.ip_address(address)), family_of(address)
    for name, spec in specs.items():
        if address in spec.node_ips:
            return name
        if any(cidr.family == family and cidr.base <= number < cidr.end for cidr in spec.pod_cidrs):
            return name
    return None

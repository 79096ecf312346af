"""Path of pod traffic between a pair of nodes, and its reason: from NodeRoutes alone, as every agent sees them.

A pair is native only if the route table that each node uses has routes to the other; else direct if both are on one
subnet; else overlay. Both ends compute the same answer, so that no path is asymmetric.

The path of one node says how many of its senders' route tables lead to it, whatever the other ends lack. Its senders
are the nodes on other subnets. `native`: all of their tables lead to it; `partial`: some do; `overlay`: none does;
`direct`: all other nodes are on its subnet.

Nodes may have IPv4, IPv6 or both. `family_path` tells which families the pair's path carries, and `tunnel_family` the
family of the tunnel that carries the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Set
from itertools import combinations_with_replacement
from operator import attrgetter
from typing import Literal, NamedTuple

from cloudroute.types import (
    FAMILIES,
    NODE_PATHS,
    PATHS,
    Family,
    NodePath,
    NodeRouteSpec,
    Path,
    RouteTableObject,
    family_of,
)


class Class(NamedTuple):
    """The facts that a node's paths depend on: nodes of one class have the same path to any other node."""

    route_table_id: str
    subnet_id: str
    native_in: tuple[str, ...]

    @classmethod
    def of(cls, spec: NodeRouteSpec) -> Class:
        """The class of a node."""
        return cls(spec.route_table_id, spec.subnet_id, spec.native_in)


_PARTS = attrgetter(*Class._fields)


def pair_path(a: Class, b: Class) -> Path:
    """The path between a node of class `a` and one of class `b`, the same in both directions."""
    if a.route_table_id in b.native_in and b.route_table_id in a.native_in:
        return "native"
    if a.subnet_id and a.subnet_id == b.subnet_id:
        return "direct"
    return "overlay"


def family_path(path: Path, family: Family, a: Container[Family], b: Container[Family]) -> Path:
    """The path of a pair's packets of one family. `a`, `b`: the families of the two nodes' own addresses (nodeIPs).

    The VPC carries a family natively between two subnets that both have it. If one of the nodes has an address of the
    family and the other has none, the overlay carries that family in both directions. If neither has one, their
    kubelets may not have reported it: the path stays native, and each agent sends by its gateway of the family. Direct
    needs both addresses, since a frame is sent to the MAC of the peer's address.
    """
    here, there = family in a, family in b
    if (path == "native" and here != there) or (path == "direct" and not (here and there)):
        return "overlay"
    return path


def tunnel_family(a: Container[Family], b: Container[Family]) -> Family | None:
    """Family that the tunnel between two nodes runs over: IPv4 where both have it; None if they share none."""
    return next((family for family in FAMILIES if family in a and family in b), None)


def node_families(spec: NodeRouteSpec) -> frozenset[Family]:
    """The families of a node's own addresses."""
    return frozenset(map(family_of, spec.node_ips))


def sends_by(sender: Class, receiver: Class) -> str | None:
    """Route table that applies to packets from class `sender` to class `receiver`; None: they are on one subnet."""
    return None if sender.subnet_id and sender.subnet_id == receiver.subnet_id else sender.route_table_id


def node_path(mine: Class, tables: Set[str | None]) -> NodePath:
    """A node's path. `tables`: `sends_by` of each other node; "" counts as a table without routes to the node."""
    if not tables:  # the only node: its own routes and subnet decide
        return "native" if mine.native_in else "direct" if mine.subnet_id else "overlay"
    needed, lacking = tables - {None}, lacking_tables(mine, tables)
    if not needed:
        return "direct"
    return "native" if not lacking else "overlay" if lacking == needed else "partial"


def lacking_tables(mine: Class, tables: Set[str | None]) -> Set[str]:
    """The tables of a node's senders that do not lead to it; `tables` as for `node_path`."""
    return {table_id for table_id in tables if table_id is not None and table_id not in mine.native_in}


def senders_tables(sizes: Mapping[Class, int]) -> dict[Class, frozenset[str | None]]:
    """By class: `sends_by` of all other nodes to a node of that class. `sizes`: number of nodes by class."""
    places: Counter[Class] = Counter()
    for one, size in sizes.items():
        places[_place(one)] += size
    tables = {
        mine: frozenset(sends_by(other, mine) for other, size in places.items() if other != mine or size > 1)
        for mine in places
    }
    return {one: tables[_place(one)] for one in sizes}


def _place(one: Class) -> Class:
    """The class without `native_in`, which `sends_by` does not use: fewer keys to compare than classes."""
    return Class(one.route_table_id, one.subnet_id, ())


def node_paths(specs: Mapping[str, NodeRouteSpec]) -> dict[str, NodePath]:
    """Each node's path by name."""
    classes = {name: Class.of(spec) for name, spec in specs.items()}
    paths = {mine: node_path(mine, tables) for mine, tables in senders_tables(Counter(classes.values())).items()}
    return {name: paths[mine] for name, mine in classes.items()}


class PathCounts(NamedTuple):
    """Number of nodes and of unordered pairs of nodes by path. Each path has a key."""

    nodes: Mapping[NodePath, int]
    pairs: Mapping[Path, int]


def path_counts(specs: Iterable[NodeRouteSpec]) -> PathCounts:
    """Count them class by class: 5,000 nodes cost a few hundred comparisons and not 12 million."""
    sizes = {Class(*parts): number for parts, number in Counter(map(_PARTS, specs)).items()}
    nodes = dict.fromkeys(NODE_PATHS, 0)
    for mine, tables in senders_tables(sizes).items():
        nodes[node_path(mine, tables)] += sizes[mine]
    pairs = dict.fromkeys(PATHS, 0)
    for (a, many), (b, others) in combinations_with_replacement(sizes.items(), 2):
        pairs[pair_path(a, b)] += many * (many - 1) // 2 if a is b else many * others
    return PathCounts(nodes, pairs)


class Explanation(NamedTuple):
    """Path of a packet, its reason, and its steps in words.

    `path` is a pair's path, "local" inside one node, "vpc" where an end is outside the cluster or both are nodes' own
    addresses (the VPC then carries the packet as it would without cloudroute), or "none" where no path leads to the
    receiver.
    """

    path: Path | Literal["local", "vpc", "none"]
    reason: str
    steps: tuple[str, ...]
    seen_as: Literal["pod", "node", "outside", ""] = "pod"
    """Owner of the address that the receiver sees: the node for a masqueraded pod; "" where nothing is received."""
    source: str = ""
    """Address that the receiver sees; "" where any pod of a node may be meant."""


def explain(a: str, b: str, specs: Mapping[str, NodeRouteSpec], tables: Mapping[str, RouteTableObject]) -> Explanation:
    """Explain the path of a packet from a pod on node `a` to a pod on node `b`. Both must be in `specs`."""
    if a == b:
        return Explanation(
            "local",
            f"both are on {a}",
            (f"{a} routes it from the one's cable to the other's; it does not leave the host",),
        )
    path, reason = pair_reason(a, b, specs, tables)
    return Explanation(path, reason, pair_steps(a, b, specs), "" if path == "none" else "pod")


def pair_reason(
    a: str,
    b: str,
    specs: Mapping[str, NodeRouteSpec],
    tables: Mapping[str, RouteTableObject],
    family: Family | None = None,
) -> tuple[Path | Literal["none"], str]:
    """Path of packets of a family (None: any) between two nodes, and the reason why it is not a better one."""
    path, reason = _class_reason(a, b, specs, tables)
    source, target = node_families(specs[a]), node_families(specs[b])
    if family and (carried := family_path(path, family, source, target)) != path:
        lacking = " and ".join(name for name, own in ((a, source), (b, target)) if family not in own)
        reason = f"{path} does not carry {family}, since {lacking} has no {family} address ({reason})"
        path = carried
    if path == "overlay" and tunnel_family(source, target) is None:
        return "none", f"{a} and {b} share no address family, so no tunnel leads from one to the other; {reason}"
    return path, reason


def _class_reason(
    a: str, b: str, specs: Mapping[str, NodeRouteSpec], tables: Mapping[str, RouteTableObject]
) -> tuple[Path, str]:
    source, target = specs[a], specs[b]
    path = pair_path(Class.of(source), Class.of(target))
    if path == "native":
        return path, f"{source.route_table_id} routes {b} and {target.route_table_id} routes {a}"
    lacking = "; ".join(
        lack(receiver, tables.get(table_id), table_id, spec)
        for table_id, receiver, spec in ((source.route_table_id, b, target), (target.route_table_id, a, source))
        if table_id not in spec.native_in
    )
    if path == "direct":
        return path, f"not native: {lacking}; but both stand on {source.subnet_id}"
    return path, f"not native: {lacking}; not direct: {_not_direct(a, b, source, target)}"


def pair_steps(
    a: str, b: str, specs: Mapping[str, NodeRouteSpec], family: Family | None = None, receiver: str = "the pod"
) -> tuple[str, ...]:
    """Steps of a packet of a family (None: any) from node `a` to a pod CIDR of `b`, which hands it to `receiver`.

    () where no path leads there.
    """
    source, target = specs[a], specs[b]
    path = pair_path(Class.of(source), Class.of(target))
    if family:
        path = family_path(path, family, node_families(source), node_families(target))
    takes = f"{b} takes it, its source/dest check being off, and delivers it to {receiver}"
    if path == "native":
        return (
            f"{a} sends to its subnet's gateway from its interface {source.network_interface_id}",
            f"{source.route_table_id}: {entries(target, family)}",
            takes,
        )
    if path == "direct":
        mac = f"the MAC of {address_of(target, family)}"
        return (f"{a} sends the frame to {mac} on {source.subnet_id}; no route table applies", takes)
    over = tunnel_family(node_families(source), node_families(target))
    if over is None:
        return ()
    return (
        f"{a} wraps it in VXLAN from {address_of(source, over)} to {address_of(target, over)}",
        "the VPC carries that as traffic between two nodes",
        f"{b} unwraps it and delivers it to {receiver}",
    )


def entries(spec: NodeRouteSpec, family: Family | None = None) -> str:
    """A node's entries in a route table that leads to it."""
    cidrs = [str(cidr) for cidr in spec.pod_cidrs if family in (None, cidr.family)]
    return f"{', '.join(cidrs)} -> {spec.network_interface_id}"


def address_of(spec: NodeRouteSpec, family: Family | None = None) -> str:
    """A node's own address of a family (None: its first), or words for one that is not known."""
    return next((ip for ip in spec.node_ips if family in (None, family_of(ip))), "an unknown address")


def lack(node: str, table: RouteTableObject | None, table_id: str, spec: NodeRouteSpec) -> str:
    """Reason why `node` is not routed natively in a table."""
    if table is None:
        return f"{table_id or 'the table of the sender'} is not managed by cloudroute"
    fills = []
    for cidr in spec.pod_cidrs:
        if use := table.families.get(cidr.family):
            fills.append(f"{use.used} of {use.capacity} {cidr.family} entries used")
            if use.used >= use.capacity:
                full = f"{table_id} is full for {cidr.family} ({use.used} of {use.capacity} entries)"
                return f"{full} and no settled route in it leads to {node}"
    checked = "" if spec.subnet_id else ", or its source/dest check is on"
    return f"{table_id} holds no settled route to {node} ({', '.join(fills)}){checked}"


def _not_direct(a: str, b: str, source: NodeRouteSpec, target: NodeRouteSpec) -> str:
    closed = [name for name, spec in ((a, source), (b, target)) if not spec.subnet_id]
    if closed:
        return f"{' and '.join(closed)} may not be sent to directly"
    return f"{a} stands on {source.subnet_id}, {b} on {target.subnet_id}"

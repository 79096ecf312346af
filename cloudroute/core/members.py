"""Who is who: Nodes, NodeRoutes and EC2 instances joined into members of the network.

A node is its instance (providerID), never its name. Of two Nodes that claim one instance or one pod CIDR, the one
that the journal knows keeps it, else the older; the other is told so and can't harm it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cloudroute.core.ipam import Ipam
from cloudroute.core.model import AssignPodCidrs, Notice, Policy, Snapshot
from cloudroute.types import Cidr, Condition, Family, Instance, Node, NodeRoute

DEAD = ("shutting-down", "terminated")


class Member(NamedTuple):
    """A node that can be routed to."""

    name: str
    node: Node
    cidrs: tuple[Cidr, ...]
    instance_id: str
    interface_id: str
    """The primary ENI."""
    subnet_id: str
    table_id: str
    """The table that its subnet uses; "" where that is not known."""
    checked: bool
    """Whether its source/dest check is on, as far as is known."""
    known: bool
    """Whether EC2 showed the instance. If not, what it has is left as it is: NotFound proves nothing."""
    dead: bool
    """Its instance will not come back."""
    record: NodeRoute | None
    """What is published of this very instance with these CIDRs, if under another name then `record.name` differs."""


@dataclass(frozen=True, slots=True)
class Membership:
    """All nodes, sorted out."""

    members: tuple[Member, ...]
    """In the order of slots: by priority (high first), then age (old first), then name."""
    assign: tuple[AssignPodCidrs, ...]
    superseded: Mapping[str, NodeRoute]
    """By member: the NodeRoute of the same instance and CIDRs under a name that it no longer has."""
    leaving: tuple[NodeRoute, ...]
    """NodeRoutes whose Node is gone, or is another instance by now: their routes go, then they go."""
    refused: Mapping[str, Condition]
    """Nodes that get no network, by name, and why."""
    notices: tuple[Notice, ...]
    ipam: Ipam


def identify(snapshot: Snapshot, policy: Policy, excluded: list[Cidr], table_of: Mapping[str, str]) -> Membership:
    """Sort out who is who. `excluded`: addresses no node may get; `table_of`: table id by subnet id."""
    notices: list[Notice] = []
    claims = _claims(snapshot, policy, notices)
    ipam = Ipam(policy.pools, policy.node_length, _used(snapshot, claims), excluded, _cursors(snapshot, policy))
    records = {record.spec.instance_id: record for record in snapshot.node_routes.values()}
    refused = dict(claims.refused)
    members, assign, superseded = [], [], {}
    kept = set()
    for node in claims.nodes:
        own = snapshot.node_routes.get(node.name)
        record = own if _same(node, own) else records.get(node.instance_id)
        cidrs = node.pod_cidrs or _cidrs_for(node, record, policy, ipam, claims)
        if not cidrs:
            refused[node.name] = _exhausted(node, policy, notices)
            continue
        if not node.pod_cidrs:
            assign.append(AssignPodCidrs(node, cidrs))
        if record and record.spec.pod_cidrs != cidrs:
            record = None
        if record:
            kept.add(record.name)
        member = _member(node, cidrs, snapshot, table_of, record, notices)
        if member:
            members.append(member)
        other = records.get(node.instance_id)
        if member and other and other.name != node.name and other.spec.pod_cidrs == cidrs:
            superseded[node.name] = other
            kept.add(other.name)
    leaving = tuple(record for name, record in snapshot.node_routes.items() if name not in kept)
    members = _unblocked(members, leaving)
    members.sort(key=lambda m: (-m.node.priority, m.node.created, m.name))
    return Membership(tuple(members), tuple(assign), superseded, leaving, refused, tuple(notices), ipam)


class _Claims(NamedTuple):
    nodes: list[Node]
    holder: dict[Cidr, str]
    refused: dict[str, Condition]


def _same(node: Node, record: NodeRoute | None) -> bool:
    return (
        record is not None
        and record.spec.instance_id == node.instance_id
        and (not node.pod_cidrs or record.spec.pod_cidrs == node.pod_cidrs)
    )


def _claims(snapshot: Snapshot, policy: Policy, notices: list[Notice]) -> _Claims:
    """The nodes that hold their instance and their CIDRs rightly; those that the journal knows come first."""
    routes = snapshot.node_routes
    order = sorted(snapshot.nodes.values(), key=lambda n: (not _same(n, routes.get(n.name)), n.created, n.name))
    instances: dict[str, str] = {}
    claims = _Claims([], {}, {})
    for node in order:
        if node.problem:
            notices.append(Notice("Node", node.name, node.uid, True, "InvalidNode", node.problem))
        if not node.instance_id:
            continue
        first = instances.setdefault(node.instance_id, node.name)
        if first != node.name:
            text = f"{node.instance_id} belongs to the node {first} already; delete the Node that is out of date"
            notices.append(Notice("Node", node.name, node.uid, True, "DuplicateInstance", text))
            continue
        problem = _bad_cidrs(node, policy, claims.holder)
        if problem:
            claims.refused[node.name] = Condition("True", "NoPodCIDR", problem)
            continue
        claims.holder.update(dict.fromkeys(node.pod_cidrs, node.name))
        claims.nodes.append(node)
    return claims


def _bad_cidrs(node: Node, policy: Policy, holder: Mapping[Cidr, str]) -> str:
    for cidr in node.pod_cidrs:
        if cidr in holder:
            return f"pod CIDR {cidr} belongs to the node {holder[cidr]} already; recreate this Node to get another"
        if cidr.length != policy.node_length.get(cidr.family) or not any(p.covers(cidr) for p in policy.pools):
            pools = ", ".join(map(str, policy.pools))
            mask = policy.node_length.get(cidr.family, "no such family")
            return f"pod CIDR {cidr} is no /{mask} of --cluster-cidr {pools}; recreate the Node to get one"
    return ""


def _used(snapshot: Snapshot, claims: _Claims) -> set[Cidr]:
    used = set(claims.holder)
    for record in snapshot.node_routes.values():
        used.update(record.spec.pod_cidrs)
    return used


def _cursors(snapshot: Snapshot, policy: Policy) -> dict[Family, Cidr]:
    """Where to search on: from memory; after a restart behind the CIDR of the youngest node."""
    cursors = dict(snapshot.memory.cursors)
    for family in policy.families:
        if family not in cursors:
            held = [
                (created, cidr)
                for created, cidrs in (
                    *((n.created, n.pod_cidrs) for n in snapshot.nodes.values()),
                    *((r.created, r.spec.pod_cidrs) for r in snapshot.node_routes.values()),
                )
                for cidr in cidrs
                if cidr.family == family and cidr.length == policy.node_length[family]
            ]
            if held:
                cursors[family] = max(held)[1]
    return cursors


def _cidrs_for(node: Node, record: NodeRoute | None, policy: Policy, ipam: Ipam, claims: _Claims) -> tuple[Cidr, ...]:
    """CIDRs for a Node without any: those its instance had, else new ones of every family, else ()."""
    if record and not any(cidr in claims.holder for cidr in record.spec.pod_cidrs):
        claims.holder.update(dict.fromkeys(record.spec.pod_cidrs, node.name))
        return record.spec.pod_cidrs
    given = [cidr for family in policy.families if (cidr := ipam.allocate(family))]
    return tuple(given) if len(given) == len(policy.families) else ()


def _exhausted(node: Node, policy: Policy, notices: list[Notice]) -> Condition:
    text = f"--cluster-cidr {', '.join(map(str, policy.pools))} has no free pod CIDR left; add a --cluster-cidr"
    notices.append(Notice("Node", node.name, node.uid, True, "NoPodCIDR", text))
    return Condition("True", "NoPodCIDR", text)


def _member(
    node: Node,
    cidrs: tuple[Cidr, ...],
    snapshot: Snapshot,
    table_of: Mapping[str, str],
    record: NodeRoute | None,
    notices: list[Notice],
) -> Member | None:
    """The member; None while it can't be one: nothing is published of an instance that EC2 has never shown."""
    instance = snapshot.instances.get(node.instance_id)
    if instance is None or not (instance.primary or instance.state in DEAD):
        return _unseen(node, cidrs, record)
    if instance.state in DEAD:
        return _unseen(node, cidrs, record, dead=True)
    if instance.vpc_id != snapshot.vpc_id:
        text = f"{instance.id} is in {instance.vpc_id or 'no VPC'} and not in {snapshot.vpc_id}: no route leads there"
        notices.append(Notice("Node", node.name, node.uid, True, "OtherVPC", text))
        return None
    return _seen(node, cidrs, instance, table_of, record)


def _seen(
    node: Node, cidrs: tuple[Cidr, ...], instance: Instance, table_of: Mapping[str, str], record: NodeRoute | None
) -> Member | None:
    primary = instance.primary
    if primary is None:
        return None
    table_id = table_of.get(primary.subnet_id, "")
    return Member(
        node.name, node, cidrs, instance.id, primary.id, primary.subnet_id, table_id,
        primary.source_dest_check, True, False, record,
    )  # fmt: skip


def _unseen(node: Node, cidrs: tuple[Cidr, ...], record: NodeRoute | None, dead: bool = False) -> Member | None:
    """A member as it was published; one that never was is none yet."""
    if record is None:
        return None
    spec = record.spec
    return Member(
        node.name, node, cidrs, node.instance_id, spec.network_interface_id, spec.subnet_id, spec.route_table_id,
        False, False, dead, record,
    )  # fmt: skip


def _unblocked(members: list[Member], leaving: tuple[NodeRoute, ...]) -> list[Member]:
    """Without those whose name or CIDR a leaving NodeRoute still holds: they come once it is gone."""
    names = {record.name for record in leaving}
    cidrs = {cidr for record in leaving for cidr in record.spec.pod_cidrs}
    return [m for m in members if m.name not in names and not any(c in cidrs for c in m.cidrs)] if leaving else members

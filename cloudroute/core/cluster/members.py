"""Nodes, NodeRoutes and EC2 instances, joined into the members of the network.

The instance (providerID) identifies a node, never the name. Of two Nodes that claim one instance or one pod CIDR, the
one in the journal (the NodeRoutes) keeps it, else the older; the other gets a notice and can't affect the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import NamedTuple

from cloudroute.core.cluster.ipam import Ipam, NodeSized
from cloudroute.core.cluster.model import AssignPodCidrs, Notice, Policy, Snapshot
from cloudroute.types import Cidr, Condition, Family, Instance, Node, NodeRoute, family_of

DEAD = ("shutting-down", "terminated")
OLDEST_FIRST = attrgetter("created", "name")


class Member(NamedTuple):
    """A node that can be routed to."""

    name: str
    node: Node
    cidrs: tuple[Cidr, ...]
    routed: tuple[Cidr, ...]
    """The CIDRs that get routes: the IPv6 ones alone if the ENI has no IPv4 address."""
    instance_id: str
    interface_id: str
    """The primary ENI."""
    subnet_id: str
    table_id: str
    """The route table of its subnet; "" where that is not known."""
    checked: bool
    """Whether the source/dest check of the ENI is on, as far as is known."""
    known: bool
    """Whether EC2 showed the instance. If not, its routes and NodeRoute are left alone: NotFound proves nothing."""
    dead: bool
    """Whether the instance is shutting down or terminated."""
    record: NodeRoute | None
    """NodeRoute of this same instance with these CIDRs, possibly under another name (`record.name`)."""


@dataclass(frozen=True, slots=True)
class Membership:
    """All Nodes and NodeRoutes, each in the group that decides its treatment."""

    members: tuple[Member, ...]
    """In the order of preference for slots: by priority (high first), then age (old first), then name."""
    assign: tuple[AssignPodCidrs, ...]
    superseded: tuple[tuple[Member, NodeRoute], ...]
    """NodeRoutes of a member's instance and CIDRs under a name that it no longer has."""
    predecessors: Mapping[str, NodeRoute]
    """By member's name: the NodeRoute of a terminated instance with the same name and CIDRs. It is replaced at once,
    and its routes are redirected to the member."""
    leaving: tuple[NodeRoute, ...]
    """NodeRoutes whose Node is gone or is another instance now: their routes are deleted, then they are."""
    released_cidrs: Mapping[str, tuple[Cidr, ...]]
    """By the name of a leaving NodeRoute: its CIDRs. Excludes CIDRs that a Node holds by its own NodeRoute, so that a
    forged NodeRoute can't delete their routes."""
    blocked: tuple[Member, ...]
    """Nodes whose name or CIDR a leaving NodeRoute still holds. They become members when it is deleted; until then
    their routes and conditions stay."""
    refused: tuple[tuple[Node, Condition], ...]
    """Nodes that get no network, each with the condition that says why."""
    notices: tuple[Notice, ...]
    ipam: Ipam


def identify(snapshot: Snapshot, policy: Policy, excluded: list[Cidr], table_of: Mapping[str, str]) -> Membership:
    """Join Nodes, NodeRoutes and instances. `excluded`: CIDRs that no node may get; `table_of`: table id by subnet."""
    claims = _Claims(snapshot, policy)
    accepted = claims.settle()
    ipam = Ipam(policy.pools, policy.node_length, claims.used(), excluded, _cursors(snapshot, policy))
    adoptable = _adoptable(snapshot, accepted, claims.own)
    members: list[Member] = []
    assign: list[AssignPodCidrs] = []
    renamed: list[tuple[Member, NodeRoute]] = []
    kept = set(claims.own)
    for node in accepted:
        own, old = claims.own.get(node.name), adoptable.get(node.instance_id, ())
        cidrs = node.pod_cidrs
        if not cidrs:
            cidrs = own.spec.pod_cidrs if own else claims.inherit(node, old) or ipam.allocate(policy.families)
            if not cidrs:
                claims.refuse(node, _exhausted(policy))
                continue
            assign.append(AssignPodCidrs(node, cidrs))
        if old:
            old = [record for record in old if record.spec.pod_cidrs == cidrs]
            kept.update(record.name for record in old)
        member = _member(node, cidrs, snapshot, table_of, own or next(iter(old), None), claims.notices)
        if member:
            members.append(member)
            if old:
                renamed.extend((member, record) for record in old)
    strays = [record for name, record in snapshot.node_routes.items() if name not in kept]
    predecessors = _predecessors(strays, members, snapshot)
    leaving = tuple([record for record in strays if record.name not in predecessors])
    members.sort(key=attrgetter("node.priority"), reverse=True)  # sorted by age before: the sort is stable
    released_cidrs = _released_cidrs(leaving, claims.own)
    ready, blocked = _unblocked(members, released_cidrs)
    held_up = {member.name for member in blocked}
    superseded = tuple([(member, record) for member, record in renamed if member.name not in held_up])
    return Membership(
        ready,
        tuple(assign),
        superseded,
        predecessors,
        leaving,
        released_cidrs,
        blocked,
        tuple(claims.refused),
        tuple(claims.notices),
        ipam,
    )


class _Claims:
    """Claims of Nodes to instances and pod CIDRs: decides which Node gets each."""

    def __init__(self, snapshot: Snapshot, policy: Policy) -> None:
        # The input is nearly sorted. One sort by pairs of texts would take three times as long as these two by one.
        self._nodes = sorted(sorted(snapshot.nodes.values(), key=attrgetter("name")), key=attrgetter("created"))
        self._routes = snapshot.node_routes
        self._policy = policy
        self._node_sized = NodeSized(policy.pools, policy.node_length)
        self._instances: dict[str, str] = {}
        self._holders: dict[Cidr, str] = {}
        self.own: dict[str, NodeRoute] = {}
        """By node: the NodeRoute of its name, if that has its instance and CIDRs."""
        self.refused: list[tuple[Node, Condition]] = []
        self.notices: list[Notice] = []

    def used(self) -> set[Cidr]:
        """All CIDRs that a Node or NodeRoute holds, by a claim that was accepted or not."""
        used = set(self._holders)
        used.update([cidr for node in self._nodes if node.name not in self.own for cidr in node.pod_cidrs])
        strays = [record for name, record in self._routes.items() if name not in self.own]
        used.update([cidr for record in strays for cidr in record.spec.pod_cidrs])
        return used

    def settle(self) -> list[Node]:
        """Return the accepted Nodes, oldest first. Nodes in the journal take precedence over new ones."""
        accepted: list[Node] = []
        newcomers: list[Node] = []
        for node in self._nodes:
            if node.problem:
                self.notify(node, "InvalidNode", node.problem)
            if not node.instance_id:
                continue
            record = self._routes.get(node.name)
            if record is None or not _same(node, record) or self._problem(record.spec.pod_cidrs):
                newcomers.append(node)
            elif self._take(node, record.spec.pod_cidrs):
                self.own[node.name] = record
                accepted.append(node)
        if newcomers:
            # Of Nodes that claim a CIDR of the journal, the one with the former node's name comes first.
            newcomers.sort(key=lambda node: not self._succeeds(node))
            accepted += [node for node in newcomers if self._accepts(node)]
            accepted.sort(key=OLDEST_FIRST)
        return accepted

    def _succeeds(self, node: Node) -> bool:
        record = self._routes.get(node.name)
        return record is not None and record.spec.pod_cidrs == node.pod_cidrs

    def _accepts(self, node: Node) -> bool:
        if problem := self._problem(node.pod_cidrs) or self._reserved(node.pod_cidrs):
            self.refuse(node, problem)
            return False
        return self._take(node, node.pod_cidrs)

    def _take(self, node: Node, cidrs: Sequence[Cidr]) -> bool:
        """Let the node have its instance and `cidrs`, if no other Node has the instance."""
        first = self._instances.setdefault(node.instance_id, node.name)
        if first != node.name:
            text = f"{node.instance_id} belongs to the node {first} already; delete the Node that is out of date"
            self.notify(node, "DuplicateInstance", text)
            return False
        for cidr in cidrs:
            self._holders[cidr] = node.name
        return True

    def _problem(self, cidrs: Sequence[Cidr]) -> str:
        """Reason why a node can't have `cidrs`, "" if it can."""
        for cidr in cidrs:
            if cidr in self._holders:
                return f"pod CIDR {cidr} belongs to the node {self._holders[cidr]} already; recreate this Node"
            if cidr not in self._node_sized:
                pools = ", ".join(map(str, self._policy.pools))
                mask = self._policy.node_length.get(cidr.family)
                wanted = f"/{mask} of" if mask else f"part of any {cidr.family}"
                return f"pod CIDR {cidr} is no {wanted} --cluster-cidr {pools}; recreate the Node to get one"
        return ""

    def _reserved(self, cidrs: Sequence[Cidr]) -> str:
        """Reason why a new Node with `cidrs` can't have them, "" if it can. A Node in the journal keeps its own."""
        for cidr in cidrs:
            for reserved in self._policy.reserved:
                if reserved.overlaps(cidr):
                    return f"pod CIDR {cidr} is in --reserved-cidr {reserved}; recreate the Node to get another"
        return ""

    def inherit(self, node: Node, records: Sequence[NodeRoute]) -> tuple[Cidr, ...]:
        """Former CIDRs of the instance of a Node that has none; () when it can't have them again."""
        for record in records:
            if not self._problem(record.spec.pod_cidrs):
                self._holders.update(dict.fromkeys(record.spec.pod_cidrs, node.name))
                return record.spec.pod_cidrs
        return ()

    def refuse(self, node: Node, problem: str) -> None:
        """Give the node no network."""
        self.refused.append((node, Condition("True", "NoPodCIDR", problem)))
        self.notify(node, "NoPodCIDR", problem)

    def notify(self, node: Node, reason: str, text: str) -> None:
        """Tell people about the node."""
        self.notices.append(Notice("Node", node.name, node.uid, True, reason, text))


def _same(node: Node, record: NodeRoute) -> bool:
    spec = record.spec
    return spec.instance_id == node.instance_id and (not node.pod_cidrs or spec.pod_cidrs == node.pod_cidrs)


def _exhausted(policy: Policy) -> str:
    return f"--cluster-cidr {', '.join(map(str, policy.pools))} has no free pod CIDR left; add a --cluster-cidr"


def _adoptable(snapshot: Snapshot, nodes: Sequence[Node], own: Mapping[str, NodeRoute]) -> dict[str, list[NodeRoute]]:
    """By instance: NodeRoutes under a name that its Node does not (or no longer) have, which the Node can adopt.

    Excludes a NodeRoute whose name another instance's Node has now: that Node needs a NodeRoute of the name, and the
    instance id of a NodeRoute can't change.
    """
    strays = [record for name, record in snapshot.node_routes.items() if name not in own]
    adoptable: dict[str, list[NodeRoute]] = {}
    if strays:
        owner = {node.name: node.instance_id for node in nodes}
        for record in strays:
            instance_id = record.spec.instance_id
            if owner.get(record.name, instance_id) == instance_id:
                adoptable.setdefault(instance_id, []).append(record)
    return adoptable


def _cursors(snapshot: Snapshot, policy: Policy) -> dict[Family, Cidr]:
    """Start of the search for a free CIDR: from the last plan, after a restart the CIDR of the youngest node."""
    cursors = dict(snapshot.carryover.cursors)
    if cursors.keys() >= set(policy.families):
        return cursors
    held = [(node.created, cidr) for node in snapshot.nodes.values() for cidr in node.pod_cidrs]
    held += [(record.created, cidr) for record in snapshot.node_routes.values() for cidr in record.spec.pod_cidrs]
    youngest = {cidr.family: cidr for _, cidr in sorted(held) if cidr.length == policy.node_length.get(cidr.family)}
    return {**youngest, **cursors}


def _member(
    node: Node,
    cidrs: tuple[Cidr, ...],
    snapshot: Snapshot,
    table_of: Mapping[str, str],
    record: NodeRoute | None,
    notices: list[Notice],
) -> Member | None:
    """The Node as a member; None while it can't be one: an instance that EC2 has never shown is not published."""
    instance = snapshot.instances.get(node.instance_id)
    dead = instance is not None and instance.state in DEAD
    primary = instance.primary if instance and not dead else None
    if instance is None or primary is None:
        return _as_published(node, cidrs, record, dead)
    table_id = table_of.get(primary.subnet_id, "")
    if not table_id and instance.vpc_id == snapshot.vpc_id:  # a subnet too new for EC2 to show it
        return _as_published(node, cidrs, record, dead)
    if instance.vpc_id != snapshot.vpc_id:
        text = f"{instance.id} is in {instance.vpc_id or 'no VPC'} and not in {snapshot.vpc_id}: no route leads there"
        notices.append(Notice("Node", node.name, node.uid, True, "OtherVPC", text))
        return None
    if not {*node.node_ips}.issubset(primary.addresses):
        node = _with_own_addresses(node, instance, notices)
    return Member(
        node.name, node, cidrs, _routed(cidrs, primary.addresses), instance.id, primary.id, primary.subnet_id, table_id,
        primary.source_dest_check, True, False, record,
    )  # fmt: skip


def _with_own_addresses(node: Node, instance: Instance, notices: list[Notice]) -> Node:
    """The Node, with only the addresses that EC2 has given its instance.

    A kubelet can report any address, and every agent sends tunnel packets to a node's addresses and keeps pods' own
    source address toward them: a reported address of the metadata service, or of another host, would cut all pods off
    from it.
    """
    own = [address for interface in instance.interfaces for address in interface.addresses]
    others = [address for address in node.node_ips if address not in own]
    if not others:
        return node
    text = f"{', '.join(others)} in status.addresses is no address of {instance.id}: no other node is told of it"
    notices.append(Notice("Node", node.name, node.uid, True, "OtherAddress", text))
    return replace(node, node_ips=tuple([address for address in node.node_ips if address in own]))


def _as_published(node: Node, cidrs: tuple[Cidr, ...], record: NodeRoute | None, dead: bool) -> Member | None:
    """A member that EC2 does not show, as it was published; None if it never was."""
    if record is None:
        return None
    spec = record.spec
    if node.node_ips != spec.node_ips:
        node = replace(node, node_ips=spec.node_ips)
    return Member(
        node.name, node, cidrs, _routed(cidrs, spec.node_ips), node.instance_id, spec.network_interface_id,
        spec.subnet_id, spec.route_table_id, False, False, dead, record,
    )  # fmt: skip


def _routed(cidrs: tuple[Cidr, ...], addresses: Sequence[str]) -> tuple[Cidr, ...]:
    """The CIDRs that routes can lead to.

    An ENI of an IPv6-only subnet has no IPv4 address. AWS does not document whether the VPC would deliver IPv4 packets
    to it, so the node's IPv4 pods use the overlay.
    """
    if not addresses or "ipv4" in map(family_of, addresses):
        return cidrs
    return tuple([cidr for cidr in cidrs if cidr.family == "ipv6"])


def _predecessors(strays: Sequence[NodeRoute], members: Sequence[Member], snapshot: Snapshot) -> dict[str, NodeRoute]:
    """NodeRoutes that a member replaces by its own, by the member's name.

    The ENI of a terminated instance is deleted, so its routes are blackholes, which are ours even without a NodeRoute.
    """
    if not strays:
        return {}
    cidrs = {member.name: member.cidrs for member in members if member.known and member.record is None}
    return {
        record.name: record
        for record in strays
        if cidrs.get(record.name) == record.spec.pod_cidrs
        and (instance := snapshot.instances.get(record.spec.instance_id))
        and instance.state == "terminated"
    }


def _released_cidrs(leaving: Sequence[NodeRoute], own: Mapping[str, NodeRoute]) -> dict[str, tuple[Cidr, ...]]:
    if not leaving:
        return {}
    held = {cidr for record in own.values() for cidr in record.spec.pod_cidrs}
    return {record.name: tuple([cidr for cidr in record.spec.pod_cidrs if cidr not in held]) for record in leaving}


def _unblocked(
    members: Sequence[Member], released_cidrs: Mapping[str, tuple[Cidr, ...]]
) -> tuple[tuple[Member, ...], tuple[Member, ...]]:
    """Split into members that can go on, and members whose name or CIDR a leaving NodeRoute still holds."""
    if not released_cidrs:
        return tuple(members), ()
    cidrs = {cidr for of_one in released_cidrs.values() for cidr in of_one}
    blocked = [m for m in members if m.name in released_cidrs or not cidrs.isdisjoint(m.cidrs)]
    held_up = {member.name for member in blocked}
    return tuple([m for m in members if m.name not in held_up]), tuple(blocked)

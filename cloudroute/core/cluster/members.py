"""Nodes, NodeRoutes and EC2 instances, joined into the members of the network: the one place that computes states."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import NamedTuple

from cloudroute.core.cluster.claims import Claims
from cloudroute.core.cluster.ipam import Ipam
from cloudroute.core.cluster.model import AssignPodCidrs, Policy, Snapshot
from cloudroute.core.cluster.states import JOINING, ROUTABLE, State
from cloudroute.types import Cidr, Condition, Instance, Node, NodeRoute, Notice, family_of

DEAD = ("shutting-down", "terminated")


class Member(NamedTuple):
    """A node that can be routed to."""

    name: str
    node: Node
    state: State
    """JOINING, ROUTABLE, MISSING or DEAD."""
    cidrs: tuple[Cidr, ...]
    routed: tuple[Cidr, ...]
    """The CIDRs that get routes: the IPv6 ones alone if the ENI has no IPv4 address."""
    instance_id: str
    interface_id: str
    """The primary ENI."""
    subnet_id: str
    table_id: str
    """The route table of its subnet; "" where that is not known."""
    record: NodeRoute | None
    """NodeRoute of this same instance with these CIDRs, possibly under another name (`record.name`)."""
    superseded: tuple[NodeRoute, ...] = ()
    """NodeRoutes of its instance and CIDRs under names that it no longer has."""
    predecessor: NodeRoute | None = None
    """NodeRoute of a terminated instance with its name and CIDRs. It is replaced at once, its routes redirected."""


class Departure(NamedTuple):
    """A NodeRoute whose Node is gone or is another instance now: its routes are deleted, then it is."""

    record: NodeRoute
    state: State
    """LEAVING, DRAINING or GONE."""
    cidrs: tuple[Cidr, ...]
    """Its CIDRs. Excludes CIDRs that a Node holds by its own NodeRoute, so that a forged NodeRoute can't delete their
    routes."""


@dataclass(frozen=True, slots=True)
class Membership:
    """All Nodes and NodeRoutes, each in one state."""

    members: tuple[Member, ...]
    """In the order of preference for slots: by priority (high first), then age (old first), then name."""
    departures: tuple[Departure, ...]
    node_states: Mapping[str, State]
    """State of each Node by name."""
    node_route_states: Mapping[str, State]
    """State of each NodeRoute by name, except those with the state of their Node."""
    index_of: Mapping[Cidr, int]
    """Index of a member by its pod CIDR."""
    neighbours: Mapping[str, frozenset[int]]
    """Indexes of the members that a subnet's senders reach directly, by subnet; empty when direct routing is off."""
    held: Collection[Cidr]
    """CIDRs of departures, and of the Nodes that they block: no other step deletes their routes."""
    assign: tuple[AssignPodCidrs, ...]
    refusals: tuple[tuple[Node, Condition], ...]
    """The refused Nodes, each with the condition that says why."""
    notices: tuple[Notice, ...]
    ipam: Ipam

    def state_of_route(self, name: str) -> State:
        """State of the NodeRoute `name`."""
        return self.node_route_states.get(name) or self.node_states[name]


def identify(snapshot: Snapshot, policy: Policy, excluded: list[Cidr], table_of: Mapping[str, str]) -> Membership:
    """Join Nodes, NodeRoutes and instances. `excluded`: CIDRs that no node may get; `table_of`: table id by subnet."""
    claims = Claims(snapshot, policy)
    accepted = claims.settle()
    ipam = Ipam(policy.pools, policy.rounds, policy.node_mask, claims.used(), excluded, _given(snapshot, policy))
    adoptable = _adoptable(claims.strays, accepted)
    members: list[Member] = []
    assign: list[AssignPodCidrs] = []
    node_routes: dict[str, State] = {}
    for node in accepted:
        own = claims.own.get(node.name)
        former: Sequence[NodeRoute] = adoptable.get(node.instance_id, ())
        cidrs = node.pod_cidrs
        if not cidrs:
            cidrs = own.spec.pod_cidrs if own else claims.inherit(node, former) or ipam.allocate(policy.families)
            if not cidrs:
                claims.refuse(node, _exhausted(policy))
                continue
            assign.append(AssignPodCidrs(node, cidrs))
        if former:
            former = [record for record in former if record.spec.pod_cidrs == cidrs]
            node_routes.update([(record.name, State.SUPERSEDED) for record in former])
        member = _member(node, cidrs, own or next(iter(former), None), snapshot, table_of, claims)
        if member is None:
            continue
        if former:
            member = member._replace(superseded=tuple(former))
        elif own is None and (predecessor := _predecessor(member, snapshot)):
            member = member._replace(predecessor=predecessor)
            node_routes[predecessor.name] = State.REPLACED
        members.append(member)
    strays = [record for record in claims.strays if record.name not in node_routes]
    departures = _departures(strays, claims.own, snapshot)
    node_routes.update([(departure.record.name, departure.state) for departure in departures])
    members.sort(key=attrgetter("node.priority"), reverse=True)  # sorted by age before: the sort is stable
    ready, blocked = _unblocked(members, departures)
    nodes = claims.states | {member.name: member.state for member in ready}
    return Membership(
        ready,
        departures,
        nodes | dict.fromkeys([member.name for member in blocked], State.BLOCKED),
        node_routes,
        {cidr: index for index, member in enumerate(ready) for cidr in member.cidrs},
        _neighbours(ready) if policy.direct_routing != "off" else {},
        {cidr for cidrs in [one.cidrs for one in departures] + [one.cidrs for one in blocked] for cidr in cidrs},
        tuple(assign),
        tuple(claims.refusals),
        tuple(claims.notices),
        ipam,
    )


def _neighbours(members: Sequence[Member]) -> dict[str, frozenset[int]]:
    indexes: defaultdict[str, list[int]] = defaultdict(list)
    for index, member in enumerate(members):
        indexes[member.subnet_id].append(index)
    return {subnet_id: frozenset(found) for subnet_id, found in indexes.items() if subnet_id}


def _exhausted(policy: Policy) -> str:
    return f"--cluster-cidr {', '.join(map(str, policy.pools))} has no free pod CIDR left; add a --cluster-cidr"


def _adoptable(strays: Sequence[NodeRoute], nodes: Sequence[Node]) -> dict[str, list[NodeRoute]]:
    """By instance: NodeRoutes under a name that its Node does not (or no longer) have, which the Node can adopt.

    Excludes a NodeRoute whose name another instance's Node has now: that Node needs a NodeRoute of the name, and the
    instance id of a NodeRoute can't change.
    """
    adoptable: dict[str, list[NodeRoute]] = {}
    if strays:
        owner = {node.name: node.instance_id for node in nodes}
        for record in strays:
            instance_id = record.spec.instance_id
            if owner.get(record.name, instance_id) == instance_id:
                adoptable.setdefault(instance_id, []).append(record)
    return adoptable


def _given(snapshot: Snapshot, policy: Policy) -> Sequence[Cidr]:
    """The pod CIDRs given last: as the last plan says, after a restart those of all nodes by age."""
    if snapshot.carryover.given:
        return snapshot.carryover.given
    held = [(node.created, cidr) for node in snapshot.nodes.values() for cidr in node.pod_cidrs]
    held += [(record.created, cidr) for record in snapshot.node_routes.values() for cidr in record.spec.pod_cidrs]
    return [cidr for _, cidr in sorted(held) if cidr.length == policy.node_mask.get(cidr.family)]


# --- Nodes ----------------------------------------------------------------------------------------


def _member(
    node: Node,
    cidrs: tuple[Cidr, ...],
    record: NodeRoute | None,
    snapshot: Snapshot,
    table_of: Mapping[str, str],
    claims: Claims,
) -> Member | None:
    """The Node as a member; None while it can't be one: an instance that EC2 has never shown is not published."""
    instance = snapshot.instances.get(node.instance_id)
    if instance is None or instance.state in DEAD or (primary := instance.primary) is None:
        return _as_published(node, cidrs, record, instance, claims)
    if instance.vpc_id != snapshot.vpc_id:
        text = f"{instance.id} is in {instance.vpc_id or 'no VPC'} and not in {snapshot.vpc_id}: no route leads there"
        claims.states[node.name] = State.OTHER_VPC
        claims.notify(node, "OtherVPC", text)
        return None
    table_id = table_of.get(primary.subnet_id, "")
    if not table_id:  # a subnet too new for EC2 to show it
        return _as_published(node, cidrs, record, instance, claims)
    if node.node_ips != primary.addresses and not {*node.node_ips}.issubset(primary.addresses):
        node = _with_own_addresses(node, instance, claims)
    state = JOINING if primary.source_dest_check else ROUTABLE
    return Member(
        node.name, node, state, cidrs, _routed(cidrs, primary.addresses), instance.id, primary.id, primary.subnet_id,
        table_id, record,
    )  # fmt: skip


def _as_published(
    node: Node, cidrs: tuple[Cidr, ...], record: NodeRoute | None, instance: Instance | None, claims: Claims
) -> Member | None:
    """A member that EC2 does not show, or shows dead, as it was published; None if it never was."""
    if record is None:
        claims.states[node.name] = State.UNSEEN
        return None
    spec = record.spec
    if node.node_ips != spec.node_ips:
        node = replace(node, node_ips=spec.node_ips)
    state = State.DEAD if instance and instance.state in DEAD else State.MISSING
    return Member(
        node.name, node, state, cidrs, _routed(cidrs, spec.node_ips), node.instance_id, spec.network_interface_id,
        spec.subnet_id, spec.route_table_id, record,
    )  # fmt: skip


def _with_own_addresses(node: Node, instance: Instance, claims: Claims) -> Node:
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
    claims.notify(node, "OtherAddress", text)
    return replace(node, node_ips=tuple([address for address in node.node_ips if address in own]))


def _routed(cidrs: tuple[Cidr, ...], addresses: Sequence[str]) -> tuple[Cidr, ...]:
    """The CIDRs that routes can lead to.

    An ENI of an IPv6-only subnet has no IPv4 address. AWS does not document whether the VPC would deliver IPv4 packets
    to it, so the node's IPv4 pods use the overlay.
    """
    if not addresses or ":" not in addresses[0] or "ipv4" in map(family_of, addresses):
        return cidrs
    return tuple([cidr for cidr in cidrs if cidr.family == "ipv6"])


# --- NodeRoutes -----------------------------------------------------------------------------------


def _predecessor(member: Member, snapshot: Snapshot) -> NodeRoute | None:
    """The NodeRoute that a new member replaces by its own.

    The ENI of a terminated instance is deleted, so its routes are blackholes, which are ours even without a NodeRoute.
    """
    record = snapshot.node_routes.get(member.name)
    if record is None or record.spec.pod_cidrs != member.cidrs:
        return None
    instance = snapshot.instances.get(record.spec.instance_id)
    return record if instance and instance.state == "terminated" else None


def _departures(strays: Sequence[NodeRoute], own: Mapping[str, NodeRoute], snapshot: Snapshot) -> tuple[Departure, ...]:
    """The NodeRoutes without a Node, each with its state and the CIDRs that no Node holds by its own NodeRoute."""
    if not strays:
        return ()
    held = {cidr for record in own.values() for cidr in record.spec.pod_cidrs}
    return tuple(
        [
            Departure(record, _departing(record, snapshot), tuple([c for c in record.spec.pod_cidrs if c not in held]))
            for record in strays
        ]
    )


def _departing(record: NodeRoute, snapshot: Snapshot) -> State:
    instance = snapshot.instances.get(record.spec.instance_id)
    if instance and instance.state in DEAD:
        return State.GONE
    return State.LEAVING if record.spec.native_in else State.DRAINING


def _unblocked(
    members: Sequence[Member], departures: Sequence[Departure]
) -> tuple[tuple[Member, ...], tuple[Member, ...]]:
    """Split into members that can go on, and members whose name or CIDR a departure still holds."""
    if not departures:
        return tuple(members), ()
    names = {departure.record.name for departure in departures}
    cidrs = {cidr for departure in departures for cidr in departure.cidrs}
    blocked = {m.name for m in members if m.name in names or not cidrs.isdisjoint(m.cidrs)}
    return tuple([m for m in members if m.name not in blocked]), tuple([m for m in members if m.name in blocked])

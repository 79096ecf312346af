"""Gateways: which node each table's aggregates lead to.

An aggregate is a route for a whole pool, or for an equal part of it. It catches what the VPC sends to pods that the
table has no route of their own for. Its holder keeps it while it lives. Only then another one is chosen, of the nodes
that are ready: they renew their Leases, which says that their kernels forward. A holder without a successor stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from cloudroute.core.cluster.draining import NOTHING_STOPPED, Drain, drain
from cloudroute.core.cluster.members import Member, Membership
from cloudroute.core.cluster.model import Policy, Snapshot, Wait
from cloudroute.core.cluster.states import State
from cloudroute.core.cluster.tables import Journal, TableUse, journal_of
from cloudroute.types import Aggregate, Cidr, Notice, Route

LISTEN_SECONDS = 5.0
"""Longest wait for a first heartbeat; one that is heard ends it."""


class Placement(NamedTuple):
    """The gateways of a plan."""

    holders: Mapping[str, Mapping[Cidr, Member]] = {}
    """By table and aggregate: the member that it shall lead to. Absent where it stays as it is."""
    by_interface: Mapping[str, Member] = {}
    """The members by ENI; {} where no table has or shall have an aggregate."""
    published: frozenset[str] = frozenset()
    """Names of the members whose NodeRoutes say that they are gateways."""
    drains: tuple[Drain, ...] = ()
    """Timers of nodes that are no gateways any more."""
    waits: tuple[Wait, ...] = ()
    notices: tuple[Notice, ...] = ()


def place(snapshot: Snapshot, policy: Policy, membership: Membership, uses: Mapping[str, TableUse]) -> Placement:
    """Choose the gateway of each aggregate."""
    members = membership.members
    concerned = [m for m in members if m.node.gateway != "none" or (m.record and m.record.spec.gateway)]
    tables = {table_id: use for table_id, use in uses.items() if use.aggregates}
    if not concerned and not tables:
        return Placement()
    by_interface = {member.interface_id: member for member in members} if tables else {}
    holding = {
        by_interface[route.target].name
        for use in tables.values()
        for route in use.aggregates.values()
        if route and route.target in by_interface
    }
    candidates = [member for member in concerned if _is_ready(member, snapshot)]
    released = [m.name for m in concerned if m.node.gateway == "none" and m.name not in holding]
    drains = [_drain(snapshot, policy, name) for name in released]
    ended = {name for name, timer in zip(released, drains, strict=True) if not timer.wait}
    vacant = [id_ for id_, use in tables.items() if None in use.aggregates.values()] if not candidates else []
    heard = snapshot.pulse.settled
    return Placement(
        _holders(snapshot, policy, tables, by_interface, candidates),
        by_interface,
        frozenset([member.name for member in concerned]) - ended,
        tuple(drains),
        (Wait(snapshot.now + LISTEN_SECONDS, "a gateway to be heard"),) if vacant and not heard else (),
        tuple(map(_no_gateway, vacant)) if heard else (),
    )


def _drain(snapshot: Snapshot, policy: Policy, name: str) -> Drain:
    """Time for which a node forwards after its last aggregate went: packets may still be under way to it."""
    return drain(snapshot, policy, NOTHING_STOPPED, ("gateway", name), f"{name} to end as a gateway")


def _is_ready(member: Member, snapshot: Snapshot) -> bool:
    """Whether an aggregate may be given to a node: its agent was told, and has said that the kernel forwards.

    The word of an agent counts for its own NodeRoute alone: before a machine of the same name it said nothing.
    """
    fit = member.node.gateway == "candidate" and member.state is State.ROUTABLE
    if not fit or member.record is None or not member.record.spec.gateway:
        return False
    runs = snapshot.instances[member.instance_id].state == "running"
    return runs and snapshot.pulse.fresh.get(member.name) == member.record.uid


def _keeps(holder: Member, route: Route, snapshot: Snapshot) -> bool:
    """Whether a holder lives, passes packets on and is still wanted.

    A source/dest check that can't be switched off drops every packet that is not for the holder itself.
    """
    silent = snapshot.pulse.judged and holder.name not in snapshot.pulse.fresh
    lives = not silent and not route.blackhole and holder.state is not State.DEAD
    drops = holder.state is State.JOINING and ("check", holder.interface_id) in snapshot.held
    return lives and not drops and holder.node.gateway == "candidate"


def goes(use: TableUse, destination: Cidr, wanted: Collection[Cidr]) -> bool:
    """Whether an aggregate is to be deleted: it is not `wanted`, and all that take its place are there."""
    return not use.managed or (destination not in wanted and use.covers_without(destination))


def _takes(gateway: Member, destination: Cidr) -> bool:
    """Whether the ENI of a gateway takes packets of that family: IPv4 takes an IPv4 address."""
    return any(cidr.family == destination.family for cidr in gateway.routed)


def _holders(
    snapshot: Snapshot,
    policy: Policy,
    tables: Mapping[str, TableUse],
    by_interface: Mapping[str, Member],
    candidates: Sequence[Member],
) -> dict[str, dict[Cidr, Member]]:
    """Keep the aggregates that can stay; give each other one to a candidate in the table's zone, the least loaded."""
    holders: dict[str, dict[Cidr, Member]] = {table_id: {} for table_id in tables}
    load: Counter[str] = Counter()
    vacant: list[tuple[str, Cidr]] = []
    wanted = frozenset(policy.aggregates)
    for table_id, use in tables.items():
        room = {family: use.room_for_aggregates(family) for family in use.families}
        for destination, route in use.aggregates.items():
            holder = by_interface.get(route.target) if route else None
            if goes(use, destination, wanted):
                continue
            if route and holder and _keeps(holder, route, snapshot) and _takes(holder, destination):
                holders[table_id][destination] = holder
                load[holder.name] += 1
            elif route or room[destination.family] > 0:
                vacant.append((table_id, destination))
                room[destination.family] -= route is None
    for table_id, destination in vacant:
        able = [candidate for candidate in candidates if _takes(candidate, destination)]
        if not able:
            continue
        zones = {subnet.zone for subnet in tables[table_id].subnets}
        best = min(able, key=lambda one: (snapshot.instances[one.instance_id].zone not in zones, load[one.name]))
        holders[table_id][destination] = best
        load[best.name] += 1
    return holders


def journals(snapshot: Snapshot, placement: Placement, uses: Mapping[str, TableUse]) -> dict[str, Journal]:
    """The journal of each table that has aggregates, as its RouteTable object shall have it.

    An entry names the node and the ENI that the route leads to, or, where the route leads to a node that has left, the
    last that were known. Without a route it is intended: agents must not believe it, since AWS may refuse the route.
    """
    result = {}
    for table_id, use in uses.items():
        last = {one.destination: one for one in journal_of(snapshot, table_id)}
        planned = placement.holders.get(table_id, {})
        seen: list[Aggregate] = []
        intended: list[Aggregate] = []
        for to, route in use.aggregates.items():
            holder = placement.by_interface.get(route.target) if route else planned.get(to)
            if holder:
                (seen if route else intended).append(Aggregate(to, holder.name, holder.interface_id))
            elif route and to in last:
                seen.append(last[to])
        if use.aggregates:
            result[table_id] = Journal(tuple(sorted(seen)), tuple(sorted(intended)))
    return result


def unwritten(snapshot: Snapshot, table_id: str, destination: Cidr, holder: Member) -> bool:
    """Whether the journal of a table does not say yet that an aggregate leads to `holder`."""
    return Aggregate(destination, holder.name, holder.interface_id) not in journal_of(snapshot, table_id)


def _no_gateway(table_id: str) -> Notice:
    words = (
        "no node that --gateway-nodes selects renews its Lease, so no gateway is in this table: see whether such nodes "
        "are Ready, and what their agents say"
    )
    return Notice("RouteTable", table_id, "", "NoGateway", words)

"""Changes of route tables: routes of members that have a slot, and deletions of our routes without one.

To native: the journal (NodeRoute) comes before the route. To overlay: the withdrawal and the drain come before the
deletion. A deletion comes before the route that needs its entry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from cloudroute.core.cluster.diff import Comparison
from cloudroute.core.cluster.draining import Drain, StoppedAgents, drain, journal
from cloudroute.core.cluster.gateways import goes, journals, unwritten
from cloudroute.core.cluster.members import Departure, Member
from cloudroute.core.cluster.model import ChangeRoute, Key, Snapshot, WriteNodeRoute, WriteRouteTableObject
from cloudroute.core.cluster.states import SHOWN, State
from cloudroute.core.cluster.tables import TableUse, reports
from cloudroute.types import Cidr, Family

Writes = Mapping[str, WriteNodeRoute]


class RouteChanges(NamedTuple):
    """Changes of all tables, and the timers of routes that drain."""

    steps: tuple[ChangeRoute, ...]
    drains: tuple[Drain, ...]


class _Aggregates(NamedTuple):
    """Changes of one table's aggregates."""

    redirected: list[ChangeRoute]
    """First in the plan: a gateway's failure costs packets until then."""
    created: list[ChangeRoute]
    removed: list[ChangeRoute]


def change_routes(
    snapshot: Snapshot, found: Comparison, agents: StoppedAgents, writes: Writes, ready: Sequence[Departure]
) -> RouteChanges:
    """Create and replace routes of members; delete those of departures that are `ready`, and those without a slot.

    `writes`: the writes of NodeRoutes in this plan, by name.
    """
    steps: list[ChangeRoute] = []
    drains: list[Drain] = []
    for table_id, use in found.uses.items():
        deletions: list[ChangeRoute] = []
        for cidr, member in _without_slot(found, use):
            name = member.name if member else ""
            if use.ours[cidr].blackhole or (member and member.state is State.DEAD):  # no packet arrives by it
                deletions.append(_delete(table_id, cidr, name, journal(writes, name)))
            elif member is None or _is_withdrawn(table_id, cidr, member):
                words = f"the route {cidr} in {table_id} to drain"
                drains.append(drain(snapshot, found.policy, agents, (table_id, cidr), words))
                if not drains[-1].wait:
                    deletions.append(_delete(table_id, cidr, name))
        deletions += _of_departures(use, ready, writes)
        aggregates = _aggregates(snapshot, found, use, deletions, ready)
        nodes = _fill(found, use, deletions, aggregates.created, writes)
        steps += [*aggregates.redirected, *deletions, *aggregates.created, *aggregates.removed, *nodes]
    return RouteChanges(tuple(steps), tuple(drains))


def write_journals(snapshot: Snapshot, found: Comparison) -> list[WriteRouteTableObject]:
    """Write the aggregates that will be created into the RouteTable objects, where they are not there yet."""
    planned = found.placement.holders
    due = {
        table_id: use
        for table_id, use in found.uses.items()
        if any(
            use.aggregates[to] is None and unwritten(snapshot, table_id, to, holder)
            for to, holder in planned.get(table_id, {}).items()
        )
    }
    wanted = reports(snapshot, due, journals(snapshot, found.placement, due))
    return [WriteRouteTableObject(snapshot.route_table_objects.get(id_), report) for id_, report in wanted.items()]


def _aggregates(
    snapshot: Snapshot, found: Comparison, use: TableUse, deletions: Sequence[ChangeRoute], ready: Sequence[Departure]
) -> _Aggregates:
    """Redirect, create and delete aggregates.

    The journal comes before the route: after a crash in between, the route could not be told from others' routes. An
    aggregate that is not wanted any more goes once all those are there that take its place.
    """
    table_id, holders = use.table.id, found.placement.holders.get(use.table.id, {})
    changes = _Aggregates([], [], [])
    complete = None not in use.aggregates.values()
    wanted = found.policy.aggregates
    leaving = {departure.record.spec.network_interface_id: departure.record.name for departure in ready}
    entries = {family: _entries(use.free(family), deletions, family) for family in (() if complete else use.families)}
    for to, route in use.aggregates.items():
        holder = holders.get(to)
        if route is None:
            if holder and entries[to.family]:
                before: tuple[Key, ...] = (("report", table_id),) if unwritten(snapshot, table_id, to, holder) else ()
                after = (*before, *entries[to.family].pop())
                changes.created.append(ChangeRoute("create", table_id, to, holder.interface_id, holder.name, after))
        elif holder:
            if route.target != holder.interface_id:
                changes.redirected.append(ChangeRoute("replace", table_id, to, holder.interface_id, holder.name))
        elif route.target in leaving or goes(use, to, wanted):
            changes.removed.append(_delete(table_id, to, leaving.get(route.target, "")))
    return changes


def _without_slot(found: Comparison, use: TableUse) -> list[tuple[Cidr, Member | None]]:
    """Our routes that no member shall have in this table, each with the member that has its CIDR."""
    membership, granted = found.membership, found.grants[use.table.id]
    if not found.gaps[use.table.id] and len(use.ours) == sum([len(member.routed) for member in granted.values()]):
        return []  # each entry is a granted one
    rightful = {cidr for member in granted.values() for cidr in member.routed}
    index_of, members = membership.index_of, membership.members
    return [
        (cidr, members[index_of[cidr]] if cidr in index_of else None)
        for cidr in use.ours
        if cidr not in rightful and cidr not in membership.held
    ]


def _is_withdrawn(table_id: str, cidr: Cidr, member: Member) -> bool:
    """Whether no agent is told to use a route."""
    return member.record is None or table_id not in member.record.spec.native_in or cidr not in member.routed


def _of_departures(use: TableUse, ready: Sequence[Departure], writes: Writes) -> list[ChangeRoute]:
    """Deletions of the routes of departures."""
    # A node that was renamed and removed at once has two NodeRoutes with the same CIDR: the first one deletes.
    names: dict[Cidr, str] = {}
    for record, _, cidrs in ready:
        for cidr in cidrs:
            if cidr in use.ours:
                names.setdefault(cidr, record.name)
    return [_delete(use.table.id, cidr, name, journal(writes, name)) for cidr, name in names.items()]


def _delete(table_id: str, cidr: Cidr, name: str, after: tuple[Key, ...] = ()) -> ChangeRoute:
    return ChangeRoute("delete", table_id, cidr, "", name, after)


def _fill(
    found: Comparison,
    use: TableUse,
    deletions: Sequence[ChangeRoute],
    aggregates: Sequence[ChangeRoute],
    writes: Writes,
) -> Iterator[ChangeRoute]:
    """Add routes to the members, in their order, as far as entries are free now or freed by a deletion before.

    `aggregates`: those that are created, which take entries first.
    """
    table_id, reserve = use.table.id, found.policy.route_reserve
    gaps = found.gaps[table_id]
    reserved = Counter(step.destination.family for step in aggregates)
    entries = {
        family: _entries(use.free(family) - reserve - reserved[family], deletions, family)
        for family in (use.families if gaps else ())
    }
    for index, gap in gaps.items():
        member = found.grants[table_id][index]
        if member.state not in SHOWN:
            continue
        # The journal comes before the route: after a crash in between, the route would count as foreign.
        before = journal(writes, member.name)
        for cidr in gap.astray:
            yield ChangeRoute("replace", table_id, cidr, member.interface_id, member.name, before)
        if all(entries[cidr.family] for cidr in gap.missing):
            for cidr in gap.missing:
                after = (*before, *entries[cidr.family].pop())
                yield ChangeRoute("create", table_id, cidr, member.interface_id, member.name, after)


def _entries(free: int, deletions: Sequence[ChangeRoute], family: Family) -> list[tuple[Key, ...]]:
    """Entries that new routes of a family can take, the last one first, each with the deletions that come before it.

    `free`: entries that are free now; below 0 when the table holds more than it should: that many deletions come first.
    """
    freed = [step.key for step in deletions if step.destination.family == family]
    over = max(0, -free)
    return [*[(*freed[:over], key) for key in reversed(freed[over:])], *[()] * free]

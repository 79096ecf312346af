"""Route tables: the managed ones, the routes in them that are ours, and their free entries.

A route is ours if its destination is a node-sized part of a cluster CIDR and its target is an ENI of a known node or of
a NodeRoute, or a deleted ENI (a blackhole). A blackhole to a stopped instance that is no node of ours is not ours. The
destination may also be an aggregate that is wanted, or is in the journal of the table's RouteTable object; of these, a
blackhole is ours only if the journal names its ENI. All other routes are foreign: counted, never touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping, Set
from dataclasses import replace
from itertools import chain
from operator import attrgetter
from typing import NamedTuple, cast

from cloudroute.core.cluster.ipam import NodeSized
from cloudroute.core.cluster.model import Policy, Snapshot
from cloudroute.types import (
    CLUSTER_TAG,
    Aggregate,
    Cidr,
    Family,
    FamilyUse,
    Notice,
    Route,
    RouteTable,
    RouteTableObject,
    Subnet,
)

_FAMILY = attrgetter("family")


class TableUse(NamedTuple):
    """A route table that cloudroute fills (`managed`), or only removes its own routes from."""

    table: RouteTable
    managed: bool
    subnets: tuple[Subnet, ...]
    """The subnets that use the table, sorted by id."""
    ours: Mapping[Cidr, Route]
    foreign: tuple[Cidr, ...]
    """Destinations of foreign routes, without prefix lists."""
    families: Mapping[Family, FamilyUse]
    aggregates: Mapping[Cidr, Route | None] = {}
    """Our routes to gateways by destination, None for one that is wanted and missing."""

    def limit(self, family: Family) -> int:
        """Entries that the table can hold."""
        return self.families[family].capacity

    def free(self, family: Family) -> int:
        """Entries that can be added now."""
        return self.limit(family) - self.families[family].used

    def room_for_ours(self, family: Family) -> int:
        """Entries that routes to nodes may take in total: aggregates come first."""
        aggregates = sum([destination.family == family for destination in self.aggregates])
        return self.limit(family) - self.families[family].foreign - aggregates

    def room_for_aggregates(self, family: Family) -> int:
        """Entries that more aggregates may take: all that foreign routes and present aggregates leave."""
        present = sum([route is not None and to.family == family for to, route in self.aggregates.items()])
        return self.limit(family) - self.families[family].foreign - present

    def covers_without(self, aggregate: Cidr) -> bool:
        """Whether all aggregates are there that take the place of one that is not wanted any more."""
        return None not in [route for to, route in self.aggregates.items() if to.overlaps(aggregate)]

    @property
    def only_subnet(self) -> str:
        """The subnet that is the only one to use this table, else ""."""
        return self.subnets[0].id if len(self.subnets) == 1 else ""


class Journal(NamedTuple):
    """What the RouteTable object of a table shall say of its aggregates, each by destination."""

    seen: tuple[Aggregate, ...]
    intended: tuple[Aggregate, ...]
    """Those without a route yet."""


class Selection(NamedTuple):
    """The route tables of a plan, and how routes of ours are recognised in them."""

    table_ids: Collection[str]
    managed: Collection[str]
    """Ids of the tables to fill. Other tables only lose our routes."""
    table_of: Mapping[str, str]
    """Table id by subnet id."""
    known: Collection[str]
    """ENIs whose routes are ours."""
    unknown: Container[str]
    """ENIs of instances that are no nodes of ours, or have an owner that EC2 did not tell."""


def select(snapshot: Snapshot, policy: Policy) -> Selection:
    """Choose the tables to fill: named by --route-table, else tagged for the cluster, else used by the nodes' subnets.

    A table that was found by its nodes stays managed; otherwise a zone whose nodes are all replaced at once would lose
    and regain every route.
    """
    table_of = table_by_subnet(snapshot)
    shown = snapshot.instances
    instances = [shown[node.instance_id] for node in snapshot.nodes.values() if node.instance_id in shown]
    interfaces = [interface for instance in instances for interface in instance.interfaces]
    specs = [record.spec for record in snapshot.node_routes.values()]
    # Tables that have, or had, routes of ours. `native_in` has few distinct values.
    former = {*snapshot.route_table_objects, *chain.from_iterable({spec.native_in for spec in specs})}
    tag = CLUSTER_TAG + policy.cluster_name
    chosen: Iterable[str] = policy.table_ids or {table.id for table in snapshot.tables.values() if tag in table.tags}
    if not chosen:
        subnets = {interface.subnet_id for interface in interfaces if interface.device_index == 0}
        chosen = former.union([table_of.get(subnet, "") for subnet in subnets], [spec.route_table_id for spec in specs])
    managed = snapshot.tables.keys() & chosen
    return Selection(
        managed | (snapshot.tables.keys() & former),
        frozenset() if policy.leave else managed,
        table_of,
        {*[interface.id for interface in interfaces], *[spec.network_interface_id for spec in specs]} - {""},
        snapshot.unknown_owners,
    )


def table_by_subnet(snapshot: Snapshot) -> dict[str, str]:
    """Table id by subnet id. A subnet without an explicit association uses the VPC's main table."""
    main = next((t.id for t in snapshot.tables.values() if t.main), "")
    explicit = {subnet: t.id for t in snapshot.tables.values() for subnet in t.subnet_ids}
    return {subnet: explicit.get(subnet, main) for subnet in {*snapshot.subnets, *explicit}}


def table_uses(
    snapshot: Snapshot, policy: Policy, selection: Selection, before: Mapping[str, TableUse] | None = None
) -> dict[str, TableUse]:
    """The use of the selected tables, by id, in the order of ids.

    `before`: their use as found earlier for the same selection. Tables that have not changed since, which are the same
    objects, are not searched again.
    """
    users: dict[str, list[Subnet]] = {}
    for subnet_id, table_id in selection.table_of.items():
        if subnet := snapshot.subnets.get(subnet_id):
            users.setdefault(table_id, []).append(subnet)
    seen: set[Cidr] = set()
    """Destinations known to be node-sized: all tables have mostly the same ones."""
    result = {}
    node_sized, wanted = NodeSized(policy.pools, policy.node_mask), policy.aggregates
    for table_id in sorted(set(selection.table_ids) & set(snapshot.tables)):
        table, old = snapshot.tables[table_id], before.get(table_id) if before else None
        managed = table_id in selection.managed
        if old and old.table is table:
            ours, others, aggregates = old.ours, old.foreign, old.aggregates
            entries = {family: (fill.ours, fill.foreign) for family, fill in old.families.items()}
        else:
            journal = {one.destination: one for one in journal_of(snapshot, table_id)}
            present = _aggregates(table, dict.fromkeys(wanted) | journal, node_sized, selection)
            ours, foreign = _split(table, node_sized, seen, selection, present.keys())
            seen.update(ours)
            others = tuple([destination for destination in foreign if isinstance(destination, Cidr)])
            aggregates = {to: present.get(to) for to in wanted if managed and to not in others} | present
            mine, taken = list(map(_FAMILY, (*ours, *present))), _entries(table, foreign, snapshot.prefix_lists)
            entries = {family: (mine.count(family), taken[family]) for family in policy.families}
        families = {family: _use(snapshot, table_id, family, *counted) for family, counted in entries.items()}
        subnets = tuple(sorted(users.get(table_id, ()), key=attrgetter("id")))
        result[table_id] = TableUse(table, managed, subnets, ours, others, families, aggregates)
    return result


def journal_of(snapshot: Snapshot, table_id: str) -> tuple[Aggregate, ...]:
    """The aggregates of a table as its RouteTable object has them."""
    report = snapshot.route_table_objects.get(table_id)
    return tuple([one for use in report.families.values() for one in use.journal]) if report else ()


def _aggregates(
    table: RouteTable, journal: Mapping[Cidr, Aggregate | None], node_sized: NodeSized, selection: Selection
) -> dict[Cidr, Route]:
    """Our routes to gateways. `journal`: the aggregates that are wanted or journaled, None for one that is not."""
    return {
        to: table.routes[to]
        for to in sorted(journal.keys() & table.routes.keys())
        if to not in node_sized and _leads_to_gateway(table.routes[to], journal[to], selection)
    }


def _leads_to_gateway(route: Route, entry: Aggregate | None, selection: Selection) -> bool:
    """Whether the route of an aggregate is ours: to a known ENI, or a blackhole to the one that the journal names."""
    if route.propagated:
        return False
    if route.target in selection.known:
        return True
    if entry and entry.interface:
        return route.blackhole and route.target == entry.interface
    return entry is not None and _leads_nowhere(route, selection)


def _leads_nowhere(route: Route, selection: Selection) -> bool:
    """Whether a route leads to a deleted ENI: it is a blackhole, and no instance is known to have the ENI."""
    return route.blackhole and route.target[:4] in ("", "eni-") and route.target not in selection.unknown


def _split(
    table: RouteTable, node_sized: NodeSized, seen: Set[Cidr], selection: Selection, aggregates: Set[Cidr]
) -> tuple[Mapping[Cidr, Route], list[Cidr | str]]:
    """Our routes to nodes by destination, and the destinations of all foreign routes.

    `seen`: destinations already found to be `node_sized`. `aggregates`: those of our routes to gateways.
    """
    known = selection.known
    foreign = [
        destination
        for destination, (_, target, _, propagated) in table.routes.items()
        if propagated or (target not in known and not _leads_nowhere(table.routes[destination], selection))
    ]
    # Sets of all destinations: they know their hashes, which would be computed anew to look each one up.
    unsized = set(table.routes).difference(seen, foreign, aggregates)
    unsized = {to for to in unsized if isinstance(to, str) or to not in node_sized}
    ours = dict(table.routes)  # nearly all of a large table is ours
    for aggregate in aggregates:
        del ours[aggregate]
    foreign = [destination for destination in foreign if destination not in aggregates]
    if unsized:
        unsized.update(foreign)
        foreign = [destination for destination in table.routes if destination in unsized]
    for destination in foreign:
        del ours[destination]
    return cast("dict[Cidr, Route]", ours), foreign


def _entries(
    table: RouteTable, foreign: Iterable[Cidr | str], prefix_lists: Mapping[str, tuple[Family, int]]
) -> Counter[Family]:
    """Number of entries of each family that foreign routes take. Propagated routes have a quota of their own."""
    entries: Counter[Family] = Counter()
    for destination in foreign:
        if isinstance(destination, str):
            family, size = prefix_lists.get(destination, ("ipv4", 1))
            entries[family] += size
        elif not table.routes[destination].propagated:
            entries[destination.family] += 1
    return entries


def _use(snapshot: Snapshot, table_id: str, family: Family, ours: int, foreign: int) -> FamilyUse:
    used = ours + foreign
    return FamilyUse(snapshot.limit, _learned(snapshot, table_id, family, used, foreign), used, ours, foreign)


def _learned(snapshot: Snapshot, table_id: str, family: Family, used: int, foreign: int) -> int | None:
    """The limit that AWS showed by a refusal, None if it showed none.

    It holds until the configured limit changes, the table holds more entries, or foreign entries disappear: one of them
    may have counted for more than we knew (as a prefix list does), so that another attempt may succeed.
    """
    if (table_id, family) in snapshot.refused:
        learned: int | None = used
    else:
        learned = snapshot.carryover.learned.get((table_id, family))
        report = snapshot.route_table_objects.get(table_id)
        reported = report.families.get(family) if report else None
        if learned is None and reported and reported.limit == snapshot.limit and foreign >= reported.foreign:
            learned = reported.learned_limit
    if learned is None:
        return None
    learned = max(learned, used)
    return learned if learned < snapshot.limit else None


def excluded_ranges(policy: Policy, uses: Mapping[str, TableUse]) -> list[Cidr]:
    """CIDRs that no node may get: reserved ranges, the VPC's own (its local routes), destinations of foreign routes.

    A route to an aggregate bars none, whoever made it: the routes to nodes are more specific.
    """
    barred = {cidr for use in uses.values() for cidr in use.foreign}
    return [*policy.reserved, *barred.difference(policy.aggregates)]


def reports(
    snapshot: Snapshot, uses: Mapping[str, TableUse], journals: Mapping[str, Journal]
) -> dict[str, RouteTableObject]:
    """RouteTable objects, by table id, of the tables that are managed or still have routes of ours.

    `journals`: the aggregates of each table that has any, by destination.
    """
    result = {}
    for table_id, use in uses.items():
        if use.managed or any(fill.ours for fill in use.families.values()):
            old = snapshot.route_table_objects.get(table_id)
            version, created = (old.version, old.created) if old else ("", "")
            families = use.families
            if journal := journals.get(table_id):
                families = {
                    family: replace(fill, gateways=_of(family, journal.seen), intended=_of(family, journal.intended))
                    for family, fill in families.items()
                }
            result[table_id] = RouteTableObject(table_id, version, use.table.vpc_id, use.subnets, families, created)
    return result


def _of(family: Family, aggregates: Iterable[Aggregate]) -> tuple[Aggregate, ...]:
    return tuple([one for one in aggregates if one.destination.family == family])


def notices(policy: Policy, uses: Mapping[str, TableUse], refused: frozenset[tuple[str, Family]]) -> list[Notice]:
    """Notices for people about the tables: one for each table and reason, with the families joined."""
    aggregates = policy.aggregates
    result = []
    for table_id, use in uses.items():
        said: dict[str, list[str]] = {}

        def say(reason: str, message: str, said: dict[str, list[str]] = said) -> None:
            said.setdefault(reason, []).append(message)

        if taken := [str(cidr) for cidr in use.foreign if cidr in aggregates]:
            say("GatewayRouteTaken", f"{', '.join(taken)}: routed by somebody else, so not by a gateway; left alone")
        inside = sorted(
            cidr
            for cidr in use.foreign
            if cidr not in aggregates and any(pool.covers(cidr) and pool != cidr for pool in policy.pools)
        )
        if inside:
            names = ", ".join(map(str, inside[:5])) + (f" and {len(inside) - 5} more" if len(inside) > 5 else "")
            say("ForeignRoute", f"{names}: inside the cluster CIDR but not ours; left alone, and no node gets it")
        for family, fill in use.families.items():
            if (table_id, family) in refused:
                say(
                    "RouteLimitLearned",
                    f"AWS refuses more than {fill.used} {family} routes, --route-limit says {fill.limit}",
                )
            if use.managed and use.room_for_ours(family) <= 0:
                say(
                    "NoFreeEntry",
                    f"{fill.foreign} foreign {family} routes leave no entry for a node (limit {use.limit(family)})",
                )
        result += [Notice("RouteTable", table_id, "", why, "; ".join(words)) for why, words in said.items()]
    return result

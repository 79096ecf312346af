"""Route tables: which are ours to fill, what in them is ours, and how full they are.

Ours is a route whose destination is a node-sized part of a cluster CIDR and whose target is an ENI of a known node
or of a NodeRoute, or an ENI that is gone (a blackhole). All else is foreign: counted, never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cloudroute.core.model import Notice, Policy, Snapshot
from cloudroute.types import Cidr, Family, FamilyUse, Route, RouteTable, Subnet, TableReport


class TableUse(NamedTuple):
    """A route table of ours to fill, or (not `managed`) of ours to empty."""

    table: RouteTable
    managed: bool
    subnets: tuple[Subnet, ...]
    """Those that use it, sorted by id."""
    ours: Mapping[Cidr, Route]
    families: Mapping[Family, FamilyUse]

    def limit(self, family: Family) -> int:
        """Entries it can hold: the configured limit, or the lower one that AWS showed."""
        use = self.families[family]
        return use.limit if use.learned_limit is None else min(use.limit, use.learned_limit)

    def free(self, family: Family) -> int:
        """Entries that can be added now."""
        return self.limit(family) - self.families[family].used

    def room_for_ours(self, family: Family) -> int:
        """Entries that routes of ours may take in all."""
        return self.limit(family) - self.families[family].foreign

    @property
    def only_subnet(self) -> str:
        """The subnet that alone sends by this table, else ""."""
        return self.subnets[0].id if len(self.subnets) == 1 else ""


def table_by_subnet(snapshot: Snapshot) -> dict[str, str]:
    """Table id by subnet id. A subnet without an explicit association uses the VPC's main table."""
    main = next((t.id for t in snapshot.tables.values() if t.main), "")
    explicit = {subnet: t.id for t in snapshot.tables.values() for subnet in t.subnet_ids}
    return {subnet: explicit.get(subnet, main) for subnet in {*snapshot.subnets, *explicit}}


def managed_tables(snapshot: Snapshot, policy: Policy, table_of: Mapping[str, str]) -> set[str]:
    """Ids of the tables to fill: those named, else those tagged for the cluster, else those of the nodes' subnets.

    A table once found by its nodes stays, or a zone whose nodes are all replaced at once would lose and regain
    every route.
    """
    if policy.table_ids:
        return set(policy.table_ids) & set(snapshot.tables)
    tag = f"kubernetes.io/cluster/{policy.cluster_name}"
    if tagged := {table.id for table in snapshot.tables.values() if tag in table.tags}:
        return tagged
    subnets = {
        instance.primary.subnet_id
        for node in snapshot.nodes.values()
        if (instance := snapshot.instances.get(node.instance_id)) and instance.primary
    }
    found = {table_of[subnet] for subnet in subnets if table_of.get(subnet)}
    return (found | set(snapshot.table_reports)) & set(snapshot.tables)


def known_interfaces(snapshot: Snapshot) -> set[str]:
    """ENIs whose routes are ours: all of the nodes' instances, and those that NodeRoutes name."""
    known = {record.spec.network_interface_id for record in snapshot.node_routes.values()}
    for node in snapshot.nodes.values():
        if instance := snapshot.instances.get(node.instance_id):
            known.update(interface.id for interface in instance.interfaces)
    known.discard("")
    return known


def survey(snapshot: Snapshot, policy: Policy, managed: set[str], table_of: Mapping[str, str]) -> dict[str, TableUse]:
    """Every table that is ours to fill or to empty, by id, in the order of ids."""
    users: dict[str, list[Subnet]] = {}
    for subnet_id, table_id in table_of.items():
        if subnet := snapshot.subnets.get(subnet_id):
            users.setdefault(table_id, []).append(subnet)
    known = known_interfaces(snapshot)
    result = {}
    for table_id in sorted(managed | (set(snapshot.table_reports) & set(snapshot.tables))):
        table = snapshot.tables[table_id]
        ours, foreign = _split(table, policy, known, snapshot.prefix_lists)
        families = {f: _use(snapshot, table_id, f, ours, foreign.get(f, 0)) for f in policy.families}
        subnets = tuple(sorted(users.get(table_id, ()), key=lambda s: s.id))
        result[table_id] = TableUse(table, table_id in managed, subnets, ours, families)
    return result


def _split(
    table: RouteTable, policy: Policy, known: set[str], prefix_lists: Mapping[str, tuple[Family, int]]
) -> tuple[dict[Cidr, Route], dict[Family, int]]:
    """Our routes by destination, and how many entries all others count for, by family."""
    pools = [(pool.family, policy.node_length[pool.family], pool.base, pool.end) for pool in policy.pools]
    ours: dict[Cidr, Route] = {}
    foreign: dict[Family, int] = {}
    for route in table:
        destination = route.destination
        if route.propagated:
            continue
        if isinstance(destination, str):
            family, entries = prefix_lists.get(destination, ("ipv4", 1))
            foreign[family] = foreign.get(family, 0) + entries
        elif (route.target in known or (route.blackhole and route.target[:4] in ("", "eni-"))) and any(
            destination.family == f and destination.length == length and base <= destination.base < end
            for f, length, base, end in pools
        ):
            ours[destination] = route
        else:
            foreign[destination.family] = foreign.get(destination.family, 0) + 1
    return ours, foreign


def _use(snapshot: Snapshot, table_id: str, family: Family, ours: Iterable[Cidr], foreign: int) -> FamilyUse:
    count = sum(1 for cidr in ours if cidr.family == family)
    used = count + foreign
    return FamilyUse(snapshot.limit, _learned(snapshot, table_id, family, used), used, count, foreign)


def _learned(snapshot: Snapshot, table_id: str, family: Family, used: int) -> int | None:
    """The limit that AWS showed by refusing. It holds until the configured one changes or the table holds more."""
    if (table_id, family) in snapshot.refused:
        learned: int | None = used
    else:
        learned = snapshot.memory.learned.get((table_id, family))
        report = snapshot.table_reports.get(table_id)
        reported = report.families.get(family) if report else None
        if learned is None and reported and reported.limit == snapshot.limit:
            learned = reported.learned_limit
    if learned is None:
        return None
    learned = max(learned, used)
    return learned if learned < snapshot.limit else None


def excluded_ranges(policy: Policy, uses: Mapping[str, TableUse]) -> list[Cidr]:
    """What no node may get: reserved ranges, the VPC's own (its local routes) and destinations of foreign routes."""
    ranges = set(policy.reserved)
    for use in uses.values():
        for route in use.table:
            if isinstance(route.destination, Cidr) and route.destination not in use.ours:
                ranges.add(route.destination)
    return list(ranges)


def reports(snapshot: Snapshot, uses: Mapping[str, TableUse]) -> dict[str, TableReport]:
    """What to say of each managed table."""
    result = {}
    for table_id, use in uses.items():
        if use.managed or use.ours:
            old = snapshot.table_reports.get(table_id)
            version, created = (old.version, old.created) if old else ("", "")
            result[table_id] = TableReport(table_id, version, use.table.vpc_id, use.subnets, use.families, created)
    return result


def notices(policy: Policy, uses: Mapping[str, TableUse], refused: frozenset[tuple[str, Family]]) -> list[Notice]:
    """What a person should know of the tables."""
    result = []
    for table_id, use in uses.items():

        def say(reason: str, message: str, table_id: str = table_id) -> None:
            result.append(Notice("RouteTable", table_id, "", True, reason, message))

        inside = sorted(
            route.destination
            for route in use.table
            if isinstance(route.destination, Cidr)
            and route.destination not in use.ours
            and any(pool.covers(route.destination) and pool != route.destination for pool in policy.pools)
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
    return result

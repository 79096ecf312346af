"""Route tables: which are ours to fill, what in them is ours, and how full they are.

Ours is a route whose destination is a node-sized part of a cluster CIDR and whose target is an ENI of a known node
or of a NodeRoute, or an ENI that is gone (a blackhole). The ENI of a stopped instance that is no node of ours is not
gone. All else is foreign: counted, never touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping
from operator import attrgetter
from typing import NamedTuple, cast

from cloudroute.core.cluster.ipam import NodeSized
from cloudroute.core.cluster.model import Notice, Policy, Snapshot
from cloudroute.types import CLUSTER_TAG, Cidr, Family, FamilyUse, Instance, Route, RouteTable, RouteTableObject, Subnet


class TableUse(NamedTuple):
    """A route table of ours to fill, or (not `managed`) of ours to empty."""

    table: RouteTable
    managed: bool
    subnets: tuple[Subnet, ...]
    """Those that use it, sorted by id."""
    ours: Mapping[Cidr, Route]
    foreign: tuple[Cidr, ...]
    """Destinations of all others, prefix lists aside."""
    families: Mapping[Family, FamilyUse]

    def limit(self, family: Family) -> int:
        """Entries that it can hold."""
        return self.families[family].capacity

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
    tag = CLUSTER_TAG + policy.cluster_name
    if tagged := {table.id for table in snapshot.tables.values() if tag in table.tags}:
        return tagged
    subnets = {primary.subnet_id for instance in _instances(snapshot) if (primary := instance.primary)}
    found = {table_of.get(subnet, "") for subnet in subnets}
    found.update([record.spec.route_table_id for record in snapshot.node_routes.values()])
    return (found | known_tables(snapshot)) & set(snapshot.tables)


def known_tables(snapshot: Snapshot) -> set[str]:
    """Ids of tables that have, or had, routes of ours: they have a RouteTable object, or the journal names them."""
    published = {record.spec.native_in for record in snapshot.node_routes.values()}  # few differ
    return {*snapshot.route_table_objects, *(table_id for table_ids in published for table_id in table_ids)}


def _instances(snapshot: Snapshot) -> list[Instance]:
    """The nodes' instances, as far as EC2 showed them."""
    known = snapshot.instances
    return [known[node.instance_id] for node in snapshot.nodes.values() if node.instance_id in known]


def known_interfaces(snapshot: Snapshot) -> frozenset[str]:
    """ENIs whose routes are ours: all of the nodes' instances, and those that NodeRoutes name."""
    known = {interface.id for instance in _instances(snapshot) for interface in instance.interfaces}
    known.update([record.spec.network_interface_id for record in snapshot.node_routes.values()])
    known.discard("")
    return frozenset(known)


def survey(
    snapshot: Snapshot,
    policy: Policy,
    table_ids: Collection[str],
    managed: Collection[str],
    table_of: Mapping[str, str],
    known: Collection[str],
) -> dict[str, TableUse]:
    """Look at tables that are ours to fill (`managed`) or to empty, by id, in the order of ids.

    `known` are the ENIs whose routes are ours (`known_interfaces`).
    """
    users: dict[str, list[Subnet]] = {}
    for subnet_id, table_id in table_of.items():
        if subnet := snapshot.subnets.get(subnet_id):
            users.setdefault(table_id, []).append(subnet)
    seen: set[Cidr] = set()
    """Ten tables have the same destinations."""
    result = {}
    node_sized = NodeSized(policy.pools, policy.node_length)
    for table_id in sorted(set(table_ids) & set(snapshot.tables)):
        table = snapshot.tables[table_id]
        ours, foreign = _split(table, node_sized, seen, known, snapshot.unknown_owners)
        seen.update(ours)
        entries = _entries(table, foreign, snapshot.prefix_lists)
        counts = Counter([cidr.family for cidr in ours])
        families = {f: _use(snapshot, table_id, f, counts[f], entries[f]) for f in policy.families}
        subnets = tuple(sorted(users.get(table_id, ()), key=attrgetter("id")))
        others = tuple([destination for destination in foreign if isinstance(destination, Cidr)])
        result[table_id] = TableUse(table, table_id in managed, subnets, ours, others, families)
    return result


def _split(
    table: RouteTable, node_sized: NodeSized, seen: Collection[Cidr], known: Collection[str], others: Container[str]
) -> tuple[dict[Cidr, Route], list[Cidr | str]]:
    """Our routes by destination, and the destinations of all others.

    `seen` are some that are `node_sized`, `others` ENIs of instances that are none of ours.
    """
    foreign = [
        destination
        for destination, (_, target, blackhole, propagated) in table.routes.items()
        if not (target in known or (blackhole and target[:4] in ("", "eni-") and target not in others))
        or propagated
        or (destination not in seen and (isinstance(destination, str) or destination not in node_sized))
    ]
    ours = dict(table.routes)  # nearly all of a large table is ours
    for destination in foreign:
        del ours[destination]
    return cast("dict[Cidr, Route]", ours), foreign


def _entries(
    table: RouteTable, foreign: Iterable[Cidr | str], prefix_lists: Mapping[str, tuple[Family, int]]
) -> Counter[Family]:
    """How many entries others take of each family. Propagated routes have a quota of their own."""
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
    """The limit that AWS showed by refusing.

    It holds until the configured one changes, the table holds more, or entries of others go: one of them may have
    counted for more than we knew (a prefix list does), so that AWS may be asked once more.
    """
    if (table_id, family) in snapshot.refused:
        learned: int | None = used
    else:
        learned = snapshot.memory.learned.get((table_id, family))
        report = snapshot.route_table_objects.get(table_id)
        reported = report.families.get(family) if report else None
        if learned is None and reported and reported.limit == snapshot.limit and foreign >= reported.foreign:
            learned = reported.learned_limit
    if learned is None:
        return None
    learned = max(learned, used)
    return learned if learned < snapshot.limit else None


def excluded_ranges(policy: Policy, uses: Mapping[str, TableUse]) -> list[Cidr]:
    """What no node may get: reserved ranges, the VPC's own (its local routes) and destinations of foreign routes."""
    return [*policy.reserved, *{cidr for use in uses.values() for cidr in use.foreign}]


def reports(snapshot: Snapshot, uses: Mapping[str, TableUse]) -> dict[str, RouteTableObject]:
    """What to say of each table that is ours to fill, or not empty of ours yet."""
    result = {}
    for table_id, use in uses.items():
        if use.managed or any(fill.ours for fill in use.families.values()):
            old = snapshot.route_table_objects.get(table_id)
            version, created = (old.version, old.created) if old else ("", "")
            result[table_id] = RouteTableObject(table_id, version, use.table.vpc_id, use.subnets, use.families, created)
    return result


def notices(policy: Policy, uses: Mapping[str, TableUse], refused: frozenset[tuple[str, Family]]) -> list[Notice]:
    """What a person should know of the tables: once for a table and reason, whichever families it is about."""
    result = []
    for table_id, use in uses.items():
        said: dict[str, list[str]] = {}

        def say(reason: str, message: str, said: dict[str, list[str]] = said) -> None:
            said.setdefault(reason, []).append(message)

        inside = sorted(
            cidr for cidr in use.foreign if any(pool.covers(cidr) and pool != cidr for pool in policy.pools)
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
        result += [Notice("RouteTable", table_id, "", True, why, "; ".join(words)) for why, words in said.items()]
    return result

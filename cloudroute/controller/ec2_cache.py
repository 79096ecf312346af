"""EC2 as this process knows it: read as seldom as can be, and kept right by the answers to its own writes.

A resync reads tables and instances, one more node its instance alone, an idle hour the subnets too. A surprise (a lost
race, no answer, a full table) makes the tables be read again before anything else is decided.

A read may take longer than the pause after it, so pauses and ages count from its end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import structlog

from cloudroute.core.cluster.model import ChangeRoute, DisableSourceDestCheck, Step
from cloudroute.errors import ApiError
from cloudroute.ports import Clock, Ec2
from cloudroute.telemetry import ChangeLog
from cloudroute.types import Cidr, Family, Instance, InterfaceOwner, Route, RouteTable, RouteTableObject, Subnet

log = structlog.get_logger()

HOUR = 3600.0
FALLBACK_LIMIT = 50
"""Routes per table where Service Quotas can't be asked: what every account has always had."""
UNKNOWN_RETRY = 1.0
"""Seconds until an instance that EC2 did not know is asked for again; doubled up to the resync."""
UNRESOLVED = InterfaceOwner("", frozenset())
"""Stands for the instance of an interface while EC2 does not say which it is."""


class Ec2Cache:
    """What was read of EC2, by id. `limit` None means `auto`; `own_vpc` tells the VPC of this machine, if any."""

    def __init__(
        self,
        ec2: Ec2,
        clock: Clock,
        vpc_id: str,
        limit: int | None,
        resync_seconds: float,
        own_vpc: Callable[[], str] = lambda: "",
    ) -> None:
        self._ec2, self._clock, self._own_vpc = ec2, clock, own_vpc
        self._resync_seconds = resync_seconds
        self._fixed_limit, self._fixed_vpc = limit, vpc_id
        self.vpc_id = vpc_id
        self._voted = False
        """Whether nodes' instances have told it: once its tables are read it stays."""
        self.limit = limit or FALLBACK_LIMIT
        self.instances: dict[str, Instance] = {}
        self.tables: dict[str, RouteTable] = {}
        self.subnets: Mapping[str, Subnet] = {}
        self.prefix_lists: dict[str, tuple[Family, int]] = {}
        self.refused: set[tuple[str, Family]] = set()
        self.unknown_owners: dict[str, InterfaceOwner] = {}
        """By ENI: instances that are none of ours, though a route in our cluster CIDR leads there; or UNRESOLVED."""
        self._changes = ChangeLog()
        self._doubted: set[str] = set()
        """Instances that were asked for again since the last resync, since another has their Node's name."""
        self._resolved: set[str] = set()
        """ENIs whose instance was asked for since the last resync."""
        self.next_resync = 0.0
        self.tables_read = 0.0
        """When the last reading of the tables ended, monotonic seconds."""
        self.reading = 0
        """How often the tables were read."""
        self._next_hourly = 0.0
        self._next_quota = 0.0
        self._quota_known = limit is not None
        self.surprised = False
        """Whether the tables must be read again before anything is decided."""
        self._unknown: dict[str, tuple[float, float]] = {}
        """Instance id -> when to ask again, and the pause after that."""
        self._named: set[str] = set()
        """Subnets that tables and instances name, as of when these were read."""
        self._next_subnets, self._subnet_pause = 0.0, UNKNOWN_RETRY
        """When to ask again for subnets that EC2 did not show, and the pause after that."""

    # --- reading ----------------------------------------------------------------------------

    def refresh(self, wanted: Collection[str], reports: Collection[RouteTableObject] = ()) -> None:
        """Read what is due. Raises ApiError, half-done at worst.

        `wanted` are the ids of all instances that matter. `reports` tell the VPC where no node is left, and the limit
        where Service Quotas can't be asked.
        """
        now = self._clock.monotonic()
        resync = now >= self.next_resync
        changed = self._read_instances(wanted, resync, now)
        if not self._fixed_vpc and not (self._voted and self.tables):
            self._find_vpc(next((report.vpc_id for report in reports), ""), not wanted)
        if self.vpc_id:
            if resync or self.surprised or not self.tables:
                self.tables = {table.id: table for table in self._ec2.route_tables(self.vpc_id)}
                self.tables_read = self._clock.monotonic()
                self.reading += 1
                self.surprised = False
                changed = True
            if changed:
                self._named = self._named_subnets()
            self._read_prefix_lists(resync)
            self._read_subnets(now)
            self._read_quota(reports, now)
        if resync:
            self.unknown_owners.clear()
            self._resolved.clear()
            self._doubted.clear()
            self.next_resync = self._clock.monotonic() + self._resync_seconds

    def resolve_owners(self, interface_ids: Collection[str]) -> None:
        """Learn whose these ENIs are; each is asked for once a resync, whatever comes of it."""
        due = set(interface_ids) - self._resolved
        if not due:
            return
        try:
            self.unknown_owners |= self._ec2.owners(due)
            self._changes.forget("owners")
        except ApiError as error:
            # Nobody must go without a network for it. Of an unknown owner a route is foreign: it is left alone.
            self.unknown_owners |= dict.fromkeys(due, UNRESOLVED)
            self._changes.say("owners", "owners of interfaces", warning=True, problem=str(error))
        self._resolved |= due

    def doubt(self, instance_ids: Collection[str]) -> None:
        """Mark instances to be read again, once a resync: they may be gone, and their routes dead."""
        due = set(instance_ids) - self._doubted
        self.surprised = self.surprised or bool(due)
        for id_ in due:
            self.instances.pop(id_, None)
        self._doubted |= due

    def _find_vpc(self, reported: str, no_nodes: bool) -> None:
        """The VPC of most nodes: one stray node must not lead the cluster elsewhere.

        The machine's own is believed only before the first node: a controller may run in a management VPC.
        """
        votes = Counter(i.vpc_id for i in self.instances.values() if i.vpc_id).most_common(1)
        told = ((votes[0][0] if votes else "", "the nodes' instances"), (reported, "the RouteTable objects"))
        vpc_id, by = next((one for one in told if one[0]), ("", ""))
        if not vpc_id and no_nodes:
            vpc_id, by = self._own_vpc(), "the metadata service"
        if vpc_id and vpc_id != self.vpc_id:
            log.info("vpc", found=vpc_id, by=by)
            self.vpc_id, self.tables, self.subnets, self._next_hourly = vpc_id, {}, {}, 0.0
        self._voted = bool(votes)

    def _read_instances(self, wanted: Collection[str], resync: bool, now: float) -> bool:
        """Whether any was asked for."""
        due = [
            id_
            for id_ in sorted(wanted)
            if resync or (id_ not in self.instances and now >= self._unknown.get(id_, (0.0, 0.0))[0])
        ]
        found = self._ec2.instances(due) if due else {}
        asked = self._clock.monotonic()
        for id_ in due:
            if id_ in found:
                self._unknown.pop(id_, None)
            else:
                pause = self._unknown.get(id_, (0.0, UNKNOWN_RETRY))[1]
                self._unknown[id_] = (asked + pause, min(pause * 2, self._resync_seconds))
        self.instances = dict(found) if resync else {**self.instances, **found}
        self._unknown = {id_: times for id_, times in self._unknown.items() if id_ in wanted}
        return bool(due)

    def _read_prefix_lists(self, resync: bool) -> None:
        routed = {d for table in self.tables.values() for d in table.routes if isinstance(d, str)}
        if not routed or not (resync or not routed <= self.prefix_lists.keys()):
            return
        try:
            self.prefix_lists |= self._ec2.prefix_list_entries(sorted(routed))
        except ApiError as error:
            # Nobody must go without a network because a list's size is not known: at least one entry it has.
            log.warning("prefix lists", problem=str(error))
            self.prefix_lists = {**dict.fromkeys(routed, ("ipv4", 1)), **self.prefix_lists}

    def _named_subnets(self) -> set[str]:
        """Those that tables and instances of the VPC name."""
        named = {subnet for table in self.tables.values() for subnet in table.subnet_ids}
        named |= {i.primary.subnet_id for i in self.instances.values() if i.primary and i.vpc_id == self.vpc_id}
        return named

    def _read_subnets(self, now: float) -> None:
        hourly = now >= self._next_hourly
        if hourly or (not self._named <= self.subnets.keys() and now >= self._next_subnets):
            self.subnets = self._ec2.subnets(self.vpc_id)
            asked = self._clock.monotonic()
            self._next_hourly = asked + HOUR if hourly else self._next_hourly
            self._next_subnets = asked + self._subnet_pause
            self._subnet_pause = min(self._subnet_pause * 2, self._resync_seconds)
        if self._named <= self.subnets.keys():
            self._next_subnets, self._subnet_pause = 0.0, UNKNOWN_RETRY

    def _read_quota(self, reports: Collection[RouteTableObject], now: float) -> None:
        if self._fixed_limit is not None or now < self._next_quota:
            return
        try:
            self.limit = self._ec2.route_quota()
            self._quota_known, self._next_quota = True, self._clock.monotonic() + HOUR
        except ApiError as error:
            self._next_quota = self._clock.monotonic() + self._resync_seconds
            if not self._quota_known:
                # What was in force before the restart, and never less than what a table holds: no route must go.
                reported = [use.limit for report in reports for use in report.families.values()]
                held = [len(table.routes) for table in self.tables.values()]
                self.limit = max([*(reported or [FALLBACK_LIMIT]), *held])
            log.warning("route limit", problem=str(error), used=self.limit)

    @property
    def next_due(self) -> float:
        """When something is to be read again, monotonic seconds."""
        subnets = [self._next_subnets] if self._next_subnets else []
        return min([self.next_resync, *subnets, *(at for at, _ in self._unknown.values())])

    @property
    def complete(self) -> bool:
        """Whether enough was read to decide anything."""
        return bool(self.tables)

    def local_cidrs(self) -> list[Cidr]:
        """The VPC's own ranges, as its route tables show them."""
        return sorted(
            {
                route.destination
                for table in self.tables.values()
                for route in table
                if route.target == "local" and isinstance(route.destination, Cidr)
            }
        )

    # --- writing ----------------------------------------------------------------------------

    def note(self, step: Step) -> None:
        """Take over what a write of ours has done."""
        if isinstance(step, DisableSourceDestCheck):
            instance = self.instances.get(step.instance_id)
            primary = instance.primary if instance else None
            if instance and primary and primary.id == step.interface_id:
                off = (replace(primary, source_dest_check=False), *instance.interfaces[1:])
                self.instances[instance.id] = replace(instance, interfaces=off)
        if isinstance(step, ChangeRoute):
            table = self.tables.get(step.table_id)
            if table is None:
                return
            routes = dict(table.routes)
            routes.pop(step.destination, None)
            if step.verb != "delete":
                routes[step.destination] = Route(step.destination, step.interface_id)
            self.tables[step.table_id] = replace(table, routes=routes)

    def surprise(self, instance_id: str = "") -> None:
        """The world is not as read: read the tables again, and the instance too if one is named."""
        self.surprised = True
        self.instances.pop(instance_id, None)

    def refuse(self, table_id: str, family: Family) -> None:
        """AWS says that a table is full: read how full it is, then learn from that."""
        self.refused.add((table_id, family))
        self.surprised = True

"""The last known state of EC2: read as seldom as possible, and updated by the process's own writes.

A resync reads tables and instances, a new node only its instance; subnets are read hourly. After a surprise (a lost
race, no answer, a full table) the tables are read again before anything else is decided.

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
"""Routes per table where Service Quotas can't be asked: the quota that every account has always had."""
UNKNOWN_RETRY = 1.0
"""Seconds until an instance that EC2 did not know is asked for again; doubled up to the resync."""
UNRESOLVED = InterfaceOwner("", frozenset())
"""Placeholder for the owner of an interface that EC2 has not told."""


class Ec2Cache:
    """EC2 resources by id. `limit` None means `auto`; `own_vpc` returns the VPC of this machine, "" if none."""

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
        """Whether `vpc_id` comes from the nodes' instances: it then stays once its tables are read."""
        self.limit = limit or FALLBACK_LIMIT
        self.instances: dict[str, Instance] = {}
        self.tables: dict[str, RouteTable] = {}
        self.subnets: Mapping[str, Subnet] = {}
        self.prefix_lists: dict[str, tuple[Family, int]] = {}
        self.refused: set[tuple[str, Family]] = set()
        self.unknown_owners: dict[str, InterfaceOwner] = {}
        """By ENI: its instance, none of ours though a route in our cluster CIDR leads there; or UNRESOLVED."""
        self._changes = ChangeLog()
        self._doubted: set[str] = set()
        """Instances read again since the last resync, because another instance has their Node's name."""
        self._resolved: set[str] = set()
        """ENIs whose instance was looked up since the last resync."""
        self.next_resync = 0.0
        self.tables_read = 0.0
        """End of the last read of the tables, monotonic seconds."""
        self.reading = 0
        """Number of reads of the tables so far."""
        self._next_hourly = 0.0
        self._next_quota = 0.0
        self._quota_known = limit is not None
        self.surprised = False
        """Whether the tables must be read again before anything is decided."""
        self._unknown: dict[str, tuple[float, float]] = {}
        """Id of an instance that EC2 did not know -> when to ask again, monotonic seconds, and the pause after that."""
        self._named: set[str] = set()
        """Subnets that tables and instances refer to, as of their last read."""
        self._next_subnets, self._subnet_pause = 0.0, UNKNOWN_RETRY
        """Time of the next read for subnets that EC2 did not show (0: none is missing), and the pause after that."""

    # --- reading ----------------------------------------------------------------------------

    def refresh(self, wanted: Collection[str], reports: Collection[RouteTableObject] = ()) -> None:
        """Do the reads that are due. Raises ApiError; results of earlier reads are then kept.

        `wanted` are the ids of the instances to know. `reports` give the VPC where no node is left, and the limit where
        Service Quotas can't be asked.
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
        """Look up the instances of these ENIs, each once per resync even if that fails."""
        due = set(interface_ids) - self._resolved
        if not due:
            return
        try:
            self.unknown_owners |= self._ec2.owners(due)
            self._changes.forget("owners")
        except ApiError as error:
            # New nodes must not wait for this. A route to an unknown owner counts as foreign and is left alone.
            self.unknown_owners |= dict.fromkeys(due, UNRESOLVED)
            self._changes.say("owners", "owners of interfaces", warning=True, problem=str(error))
        self._resolved |= due

    def doubt(self, instance_ids: Collection[str]) -> None:
        """Mark instances to be read again, once per resync: they may be gone, and their routes dead."""
        due = set(instance_ids) - self._doubted
        self.surprised = self.surprised or bool(due)
        for id_ in due:
            self.instances.pop(id_, None)
        self._doubted |= due

    def _find_vpc(self, reported: str, no_nodes: bool) -> None:
        """Take the VPC of most nodes: one stray node must not move the cluster to another VPC.

        The machine's own VPC counts only before the first node: a controller may run in a management VPC.
        """
        votes = Counter(i.vpc_id for i in self.instances.values() if i.vpc_id).most_common(1)
        if votes:
            vpc_id, by = votes[0][0], "the nodes' instances"
        elif reported:
            vpc_id, by = reported, "the RouteTable objects"
        else:
            vpc_id, by = self._own_vpc() if no_nodes else "", "the metadata service"
        if vpc_id and vpc_id != self.vpc_id:
            log.info("vpc", found=vpc_id, by=by)
            self.vpc_id, self.tables, self.subnets, self._next_hourly = vpc_id, {}, {}, 0.0
        self._voted = bool(votes)

    def _read_instances(self, wanted: Collection[str], resync: bool, now: float) -> bool:
        """Read the instances that are due. Returns whether there were any."""
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
            # Nodes must not wait because a list's size is not known: it has at least one entry.
            log.warning("prefix lists", problem=str(error))
            self.prefix_lists = {**dict.fromkeys(routed, ("ipv4", 1)), **self.prefix_lists}

    def _named_subnets(self) -> set[str]:
        """Subnets that tables and instances of the VPC refer to."""
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
                # The limit in force before the restart, and never less than a table holds, so that no route is removed.
                reported = [use.limit for report in reports for use in report.families.values()]
                held = [len(table.routes) for table in self.tables.values()]
                self.limit = max([*(reported or [FALLBACK_LIMIT]), *held])
            log.warning("route limit", problem=str(error), used=self.limit)

    @property
    def next_due(self) -> float:
        """Time of the next read, monotonic seconds."""
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
        """Apply a successful write of our own."""
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
        """Have the tables read again, because EC2 differs from our last read; the instance too if one is named."""
        self.surprised = True
        self.instances.pop(instance_id, None)

    def refuse(self, table_id: str, family: Family) -> None:
        """Note that AWS reports a full table, and have it read again: its size then shows the limit."""
        self.refused.add((table_id, family))
        self.surprised = True

"""The last known state of EC2: read as seldom as possible, with the process's own writes (`core.cluster.pending`).

A resync reads tables and instances, a new node only its instance; subnets are read hourly. After an unexpected result
(a lost race, no answer, a full table) the tables are read again before anything else is decided.

A read may take longer than the pause after it, so pauses and ages count from its end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Set

import structlog

from cloudroute.controller.lookups import Lookups
from cloudroute.core.cluster.model import FALLBACK_LIMIT, ChangeRoute, DisableSourceDestCheck, Step
from cloudroute.core.cluster.pending import KnownInstances, KnownTables
from cloudroute.errors import ApiError, LimitExceeded, LostRace
from cloudroute.ports import Clock, Ec2
from cloudroute.telemetry import ChangeLog
from cloudroute.types import Cidr, Family, Instance, InterfaceOwner, RouteTable, RouteTableObject, Subnet

log = structlog.get_logger()

HOUR = 3600.0
RETRY_SECONDS = 1.0
"""Seconds until an instance or subnet that EC2 did not show is asked for again; doubled up to the resync."""
UNRESOLVED = InterfaceOwner("", frozenset())
"""Placeholder for the owner of an interface that EC2 has not told."""
BY_NODES = "the nodes' instances"


def vpc_of(
    instances: Iterable[Instance],
    table_objects: Iterable[RouteTableObject],
    own_vpc: Callable[[], str],
    *,
    alone: bool,
) -> tuple[str, str]:
    """Return the id of the cluster's VPC, "" if it is unknown, and its source in words.

    It is the VPC of most nodes: one stray node must not move the cluster to another VPC. Without instances it is that
    of the RouteTable objects. The machine's own VPC counts only before the first node (`alone`): a controller may run
    in a management VPC.
    """
    votes = Counter(instance.vpc_id for instance in instances if instance.vpc_id)
    if votes:
        return votes.most_common(1)[0][0], BY_NODES
    if reported := next((one.vpc_id for one in table_objects), ""):
        return reported, "the RouteTable objects"
    return own_vpc() if alone else "", "the metadata service"


class Ec2Cache:
    """EC2 resources by id. `limit` None means `auto`; `own_vpc` returns the VPC of this machine, "" if none."""

    def __init__(
        self,
        ec2: Ec2,
        clock: Clock,
        *,
        vpc_id: str,
        limit: int | None,
        resync_seconds: float,
        own_vpc: Callable[[], str],
    ) -> None:
        self._ec2, self._clock, self._own_vpc = ec2, clock, own_vpc
        self._resync_seconds = resync_seconds
        self._fixed_limit, self._fixed_vpc = limit, vpc_id
        self.vpc_id = vpc_id
        self._voted = False
        """Whether `vpc_id` comes from the nodes' instances: it then stays once its tables are read."""
        self.limit = limit or FALLBACK_LIMIT
        self._instances, self._tables = KnownInstances(), KnownTables()
        self.subnets: Mapping[str, Subnet] = {}
        self.prefix_lists: dict[str, tuple[Family, int]] = {}
        self.refused: set[tuple[str, Family]] = set()
        self.unknown_owners: dict[str, InterfaceOwner] = {}
        """By ENI: its instance, none of ours though a route in our cluster CIDR leads there; or UNRESOLVED."""
        self._changes = ChangeLog()

        self.tables_read = 0.0
        """End of the last read of the tables, monotonic seconds."""
        self.reading = 0
        """Number of reads of the tables so far."""
        self.tables_stale = False
        """Whether the tables must be read again before anything is decided."""
        self.next_resync = self._next_subnets = self._next_quota = 0.0
        self._quota_known = limit is not None
        self._referenced: set[str] = set()
        """Subnets that tables and instances refer to, as of their last read."""

        self._missing_instances = Lookups(RETRY_SECONDS, resync_seconds)
        self._missing_subnets = Lookups(RETRY_SECONDS, resync_seconds)
        self._doubted = Lookups()
        """Instances read again since the last resync, because another instance has their Node's name."""
        self._resolved = Lookups()
        """ENIs whose instance was looked up since the last resync."""

    @property
    def instances(self) -> Mapping[str, Instance]:
        """Instances of our nodes, by id."""
        return self._instances.current

    @property
    def tables(self) -> Mapping[str, RouteTable]:
        """All route tables of the VPC, by id."""
        return self._tables.current

    @property
    def complete(self) -> bool:
        """Whether enough was read to decide anything."""
        return bool(self.tables)

    @property
    def next_due(self) -> float:
        """Time of the next read, monotonic seconds."""
        return min(self.next_resync, self._missing_instances.next_due, self._missing_subnets.next_due)

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

    # --- reading ----------------------------------------------------------------------------

    def refresh(self, wanted: Set[str], table_objects: Collection[RouteTableObject] = ()) -> None:
        """Do the reads that are due. Raises ApiError; results of earlier reads are then kept.

        `wanted` are the ids of the instances to know. `table_objects` give the VPC where no node is left, and the limit
        where Service Quotas can't be asked.
        """
        now = self._clock.monotonic()
        resync = now >= self.next_resync
        changed = self._read_instances(wanted, now, resync=resync)
        if not self._fixed_vpc and not (self._voted and self.tables):
            self._find_vpc(table_objects, alone=not wanted)
        if self.vpc_id:
            if resync or self.tables_stale or not self.tables:
                self._read_tables()
                changed = True
            if changed:
                self._referenced = self._referenced_subnets()
            self._read_prefix_lists(resync=resync)
            self._read_subnets(now)
            self._read_quota(table_objects, now)
        if resync:
            self.unknown_owners.clear()
            self._resolved.keep(())
            self._doubted.keep(())
            self.next_resync = self._clock.monotonic() + self._resync_seconds

    def resolve_owners(self, interface_ids: Collection[str]) -> None:
        """Look up the instances of these ENIs, each once per resync even if that fails."""
        now = self._clock.monotonic()
        due = self._resolved.due(interface_ids, now)
        if not due:
            return
        try:
            self.unknown_owners |= self._ec2.owners(due)
            self._changes.forget("owners")
        except ApiError as error:
            # New nodes must not wait for this. A route to an unknown owner counts as foreign and is left alone.
            self.unknown_owners |= dict.fromkeys(due, UNRESOLVED)
            self._changes.say("owners", "owners of interfaces", warning=True, problem=str(error))
        self._resolved.asked(due, now)

    def doubt(self, instance_ids: Collection[str]) -> None:
        """Mark instances to be read again, once per resync: they may be gone, and their routes dead."""
        now = self._clock.monotonic()
        due = self._doubted.due(instance_ids, now)
        self.tables_stale = self.tables_stale or bool(due)
        self._instances.forget(due)
        self._doubted.asked(due, now)

    def _find_vpc(self, table_objects: Collection[RouteTableObject], *, alone: bool) -> None:
        vpc_id, source = vpc_of(self.instances.values(), table_objects, self._own_vpc, alone=alone)
        if vpc_id and vpc_id != self.vpc_id:
            log.info("vpc", found=vpc_id, by=source)
            self.vpc_id, self.subnets, self._next_subnets = vpc_id, {}, 0.0
            self._tables.describe((), self._clock.monotonic())
        self._voted = source == BY_NODES

    def _read_tables(self) -> None:
        tables = self._ec2.route_tables(self.vpc_id)
        self.tables_read = self._clock.monotonic()
        self._tables.describe(tables, self.tables_read)
        self.reading += 1
        self.tables_stale = False

    def _read_instances(self, wanted: Set[str], now: float, *, resync: bool) -> bool:
        """Read the instances that are due. Returns whether there were any."""
        due = set(wanted) if resync else self._missing_instances.due(wanted - self.instances.keys(), now)
        found = self._ec2.instances(due) if due else {}
        asked = self._clock.monotonic()
        if resync:
            self._instances.forget(self.instances.keys() - found.keys())
        self._instances.describe(found, asked)
        self._missing_instances.asked(due - found.keys(), asked)
        self._missing_instances.keep(wanted - self.instances.keys())
        return bool(due)

    def _read_prefix_lists(self, *, resync: bool) -> None:
        routed = {d for table in self.tables.values() for d in table.routes if isinstance(d, str)}
        if not routed or not (resync or not routed <= self.prefix_lists.keys()):
            return
        try:
            self.prefix_lists |= self._ec2.prefix_list_entries(sorted(routed))
        except ApiError as error:
            # Nodes must not wait because a list's size is not known: it has at least one entry.
            log.warning("prefix lists", problem=str(error))
            self.prefix_lists = {**dict.fromkeys(routed, ("ipv4", 1)), **self.prefix_lists}

    def _referenced_subnets(self) -> set[str]:
        """Subnets that tables and instances of the VPC refer to."""
        found = {subnet for table in self.tables.values() for subnet in table.subnet_ids}
        return found | {i.primary.subnet_id for i in self.instances.values() if i.primary and i.vpc_id == self.vpc_id}

    def _read_subnets(self, now: float) -> None:
        """Read the subnets hourly, and for one that is referred to but was not shown."""
        missing = self._referenced - self.subnets.keys()
        hourly = now >= self._next_subnets
        if hourly or self._missing_subnets.due(missing, now):
            self.subnets = self._ec2.subnets(self.vpc_id)
            asked = self._clock.monotonic()
            self._next_subnets = asked + HOUR if hourly else self._next_subnets
            missing = self._referenced - self.subnets.keys()
            self._missing_subnets.asked(missing, asked)
        self._missing_subnets.keep(missing)

    def _read_quota(self, table_objects: Collection[RouteTableObject], now: float) -> None:
        if self._fixed_limit is not None or now < self._next_quota:
            return
        try:
            self.limit = self._ec2.route_quota()
            self._quota_known, self._next_quota = True, self._clock.monotonic() + HOUR
        except ApiError as error:
            self._next_quota = self._clock.monotonic() + self._resync_seconds
            if not self._quota_known:
                # The limit in force before the restart, and never less than a table holds, so that no route is removed.
                before = [use.limit for one in table_objects for use in one.families.values()]
                held = [len(table.routes) for table in self.tables.values()]
                self.limit = max([*(before or [FALLBACK_LIMIT]), *held])
            log.warning("route limit", problem=str(error), used=self.limit)

    # --- writing ----------------------------------------------------------------------------

    def succeeded(self, step: Step) -> None:
        """Take the result of a step of ours, if it is one of EC2."""
        now = self._clock.monotonic()
        if isinstance(step, DisableSourceDestCheck):
            self._instances.disable_check(step.instance_id, step.interface_id, now)
        elif isinstance(step, ChangeRoute):
            self._tables.write(step.table_id, step.destination, step.interface_id or None, now)

    def failed(self, step: ChangeRoute | DisableSourceDestCheck, error: ApiError, instance_id: str) -> None:
        """Have the tables read again, because a step shows that EC2 differs from our last read, or may differ.

        The node's instance (`instance_id`, "" if it has none) is read again, too; not because a table is full, whose
        size will then show the limit.
        """
        self.tables_stale = True
        if isinstance(step, ChangeRoute) and isinstance(error, LimitExceeded):
            self.refused.add((step.table_id, step.destination.family))
            return
        if isinstance(step, ChangeRoute) and isinstance(error, LostRace):
            possible = step.interface_id if step.verb == "create" else None
            self._tables.contradict(step.table_id, step.destination, possible)
        self._instances.forget([instance_id])

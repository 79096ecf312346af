"""EC2 as this process knows it: read as seldom as can be, and kept right by the answers to its own writes.

A resync reads tables and instances, one more node its instance alone, an idle hour the subnets too. A surprise (a lost
race, no answer, a full table) makes the tables be read again before anything else is decided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace

import structlog

from cloudroute.core.model import ChangeRoute, DisableSourceDestCheck, Step
from cloudroute.errors import ApiError
from cloudroute.ports import Clock, Ec2
from cloudroute.types import Cidr, Family, Instance, Route, RouteTable, Subnet

log = structlog.get_logger()

HOUR = 3600.0
FALLBACK_LIMIT = 50
"""Routes per table where Service Quotas can't be asked: what every account has always had."""
UNKNOWN_RETRY = 1.0
"""Seconds until an instance that EC2 did not know is asked for again; doubled up to the resync."""


class View:
    """What was read of EC2, by id. `limit` None means `auto`."""

    def __init__(self, ec2: Ec2, clock: Clock, vpc_id: str, limit: int | None, resync_seconds: float) -> None:
        self._ec2, self._clock = ec2, clock
        self._resync_seconds = resync_seconds
        self._fixed_limit, self._fixed_vpc = limit, vpc_id
        self.vpc_id = vpc_id
        self.limit = limit or FALLBACK_LIMIT
        self.instances: dict[str, Instance] = {}
        self.tables: dict[str, RouteTable] = {}
        self.subnets: Mapping[str, Subnet] = {}
        self.prefix_lists: dict[str, tuple[Family, int]] = {}
        self.refused: set[tuple[str, Family]] = set()
        self.next_resync = 0.0
        self._next_hourly = 0.0
        self.surprised = False
        """Whether the tables must be read again before anything is decided."""
        self._unknown: dict[str, tuple[float, float]] = {}
        """Instance id -> when to ask again, and the pause after that."""
        self._asked_subnets: set[str] = set()

    # --- reading ----------------------------------------------------------------------------

    def refresh(self, wanted: Collection[str], reported_vpc: str = "") -> None:
        """Read what is due. Raises ApiError, half-done at worst.

        `wanted` are the ids of all instances that matter; `reported_vpc` is the VPC of the RouteTable objects: where
        no node is left, that is where its routes are.
        """
        now = self._clock.monotonic()
        resync = now >= self.next_resync
        self._read_instances(wanted, resync, now)
        if not self.tables:
            self._find_vpc(reported_vpc)
        if self.vpc_id:
            if resync or self.surprised or not self.tables:
                self.tables = {table.id: table for table in self._ec2.route_tables(self.vpc_id)}
                self.surprised = False
                self._read_prefix_lists(resync)
            self._read_subnets(now)
        if resync:
            self.next_resync = now + self._resync_seconds

    def _find_vpc(self, reported: str) -> None:
        """The VPC of most nodes: one stray node must not lead the cluster elsewhere."""
        if self._fixed_vpc:
            return
        found = Counter(i.vpc_id for i in self.instances.values() if i.vpc_id).most_common(1)
        vpc_id = found[0][0] if found else reported
        if vpc_id != self.vpc_id:
            log.info("vpc", found=vpc_id, by="the nodes' instances" if found else "the RouteTable objects")
        self.vpc_id = vpc_id

    def _read_instances(self, wanted: Collection[str], resync: bool, now: float) -> None:
        due = [
            id_
            for id_ in sorted(wanted)
            if resync or (id_ not in self.instances and now >= self._unknown.get(id_, (0.0, 0.0))[0])
        ]
        found = self._ec2.instances(due) if due else {}
        for id_ in due:
            if id_ in found:
                self._unknown.pop(id_, None)
            else:
                pause = self._unknown.get(id_, (0.0, UNKNOWN_RETRY))[1]
                self._unknown[id_] = (now + pause, min(pause * 2, self._resync_seconds))
        if resync:
            self.instances = dict(found)
            self._unknown = {id_: times for id_, times in self._unknown.items() if id_ in wanted}
        else:
            self.instances.update(found)

    def _read_prefix_lists(self, resync: bool) -> None:
        routed = {d for table in self.tables.values() for d in table.routes if isinstance(d, str)}
        if routed and (resync or not routed <= self.prefix_lists.keys()):
            self.prefix_lists = dict(self._ec2.prefix_list_entries(sorted(routed)))

    def _read_subnets(self, now: float) -> None:
        named = {subnet for table in self.tables.values() for subnet in table.subnet_ids}
        named |= {i.primary.subnet_id for i in self.instances.values() if i.primary and i.vpc_id == self.vpc_id}
        if now >= self._next_hourly or not named <= self._asked_subnets:
            self.subnets = self._ec2.subnets(self.vpc_id)
            self._asked_subnets = named | set(self.subnets)
            if now >= self._next_hourly:
                self._read_quota()
                self._next_hourly = now + HOUR

    def _read_quota(self) -> None:
        if self._fixed_limit is not None:
            return
        try:
            self.limit = self._ec2.route_quota()
        except ApiError as error:
            log.warning("route limit", problem=str(error), used=self.limit)

    @property
    def next_due(self) -> float:
        """When something is to be read again, monotonic seconds."""
        return min([self.next_resync, *(at for at, _ in self._unknown.values())])

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
            for instance in list(self.instances.values()):
                primary = instance.primary
                if primary and primary.id == step.interface_id:
                    off = (replace(primary, source_dest_check=False), *instance.interfaces[1:])
                    self.instances[instance.id] = replace(instance, interfaces=off)
                    return
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

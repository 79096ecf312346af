"""Route tables and instances as last described, with our own writes that no describe has shown yet.

EC2 is eventually consistent: after a write, a describe may answer an older state for seconds to minutes (Amazon EC2
Developer Guide, "Eventual consistency"). So a write is pending, and counts more than a describe, until one of these:

    a describe shows the written value        from then on a change by another program is seen at once
    a describe shows any other, later value   neither written by us nor there before: it can only be newer
    a minute has passed

A refused creation shows that a route exists: ours, if the answer to an earlier attempt was lost, or that of another
program. A refused replacement shows that none exists. From then on a describe that shows our target, or no route,
counts as later even if the same was there before the write; any other value from before may still be stale.

Describes of one resource are assumed to go forward in time. A write of a value that was there before (absent, created,
deleted: which "absent" is shown?) stays pending for its minute even if a describe shows the value.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

from cloudroute.core.cluster.effects import with_check_off, with_routes
from cloudroute.types import Cidr, Instance, RouteTable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

PENDING_SECONDS = 60.0


class _Write(NamedTuple, Generic[V]):
    value: V
    at: float
    earlier: frozenset[V]
    """Values that a describe may still show: those before this write, and before the pending ones that it replaced."""


class PendingWrites(Generic[K, V]):
    """Values that we wrote and that no describe has shown yet, by resource. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._writes: dict[K, _Write[V]] = {}  # in the order of `at`: the oldest come first

    def add(self, key: K, value: V, *, before: V, now: float) -> None:
        """Record a write that replaced the value `before`."""
        self._expire(now)
        old = self._writes.pop(key, None)
        earlier = old.earlier if old else frozenset[V]()
        self._writes[key] = _Write(value, now, earlier if before == value else earlier | {before})

    def expect(self, key: K, value: V) -> None:
        """Count a describe that shows `value` as later than the pending write, if there is one."""
        if write := self._writes.get(key):
            self._writes[key] = write._replace(earlier=write.earlier - {value})

    def keys(self, now: float) -> tuple[K, ...]:
        """Resources with a pending write."""
        self._expire(now)
        return tuple(self._writes)

    def merge(self, key: K, shown: V) -> V:
        """Return the value of `key`, one of `keys`, now that a describe has shown `shown`."""
        write = self._writes[key]
        if shown in write.earlier:
            return write.value
        del self._writes[key]
        return shown

    def _expire(self, now: float) -> None:
        while self._writes:
            oldest = next(iter(self._writes))
            if now - self._writes[oldest].at < PENDING_SECONDS:
                return
            del self._writes[oldest]


class KnownTables:
    """Route tables by id: `current` is the last describe with our pending writes."""

    def __init__(self) -> None:
        self.current: dict[str, RouteTable] = {}
        self._pending: PendingWrites[tuple[str, Cidr], str | None] = PendingWrites()
        """(table id, destination) -> the target; None means no route."""

    def describe(self, tables: Iterable[RouteTable], now: float) -> None:
        """Take a describe of all tables."""
        self.current = {table.id: table for table in tables}
        hidden: dict[str, dict[Cidr, str | None]] = {}
        for table_id, destination in self._pending.keys(now):
            if table := self.current.get(table_id):
                shown = _target(table, destination)
                target = self._pending.merge((table_id, destination), shown)
                if target != shown:  # else the route keeps the state that is shown: it may be a blackhole
                    hidden.setdefault(table_id, {})[destination] = target
        for table_id, targets in hidden.items():
            self.current[table_id] = with_routes(self.current[table_id], targets)

    def write(self, table_id: str, destination: Cidr, target: str | None, now: float) -> None:
        """Take a write of ours to a described table that succeeded, or a deletion that found nothing to delete."""
        table = self.current[table_id]
        self._pending.add((table_id, destination), target, before=_target(table, destination), now=now)
        self.current[table_id] = with_routes(table, {destination: target})

    def contradict(self, table_id: str, destination: Cidr, possible: str | None) -> None:
        """Take a refusal of a write: from now on a describe that shows `possible` counts; None means no route."""
        self._pending.expect((table_id, destination), possible)


class KnownInstances:
    """Instances by id: `current` is the last describe of each with our pending writes."""

    def __init__(self) -> None:
        self.current: dict[str, Instance] = {}
        self._pending: PendingWrites[tuple[str, str], bool] = PendingWrites()
        """(instance id, ENI) -> its source/dest check."""

    def describe(self, instances: Mapping[str, Instance], now: float) -> None:
        """Take a describe of some instances."""
        self.current |= instances
        for instance_id, interface_id in self._pending.keys(now):
            for interface in instances[instance_id].interfaces if instance_id in instances else ():
                key = instance_id, interface_id
                if interface.id == interface_id and not self._pending.merge(key, interface.source_dest_check):
                    self._switch_off(*key)

    def disable_check(self, instance_id: str, interface_id: str, now: float) -> None:
        """Take a source/dest check that we switched off."""
        self._pending.add((instance_id, interface_id), value=False, before=True, now=now)
        self._switch_off(instance_id, interface_id)

    def forget(self, instance_ids: Iterable[str]) -> None:
        """Drop what was described of these."""
        for id_ in instance_ids:
            self.current.pop(id_, None)

    def _switch_off(self, instance_id: str, interface_id: str) -> None:
        if instance := self.current.get(instance_id):
            self.current[instance_id] = with_check_off(instance, interface_id)


def _target(table: RouteTable, destination: Cidr) -> str | None:
    route = table.routes.get(destination)
    return route.target if route else None

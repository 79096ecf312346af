"""Own writes, remembered until the API shows them: EC2 is eventually consistent.

The idea: after a write, a describe may answer an older state for seconds to minutes (Amazon EC2 Developer Guide,
"Eventual consistency"). Until an answer has shown the write, we return the written value; from then on the API's, so
that later changes by others are seen at once. A value that is neither the written one nor an earlier one can only be
newer, and is returned, too. After a minute the API's value is returned in any case.

Answers about one resource are assumed to go forward in time. Two writes to one resource that both wait to be shown
can't be told from the state before them (absent, created, deleted: which "absent" is shown?), so the second is returned
for its minute.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

from cloudroute.types import Cidr, Instance, Interface, Route, RouteTable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

REMEMBER_SECONDS = 60.0


class _Written(NamedTuple, Generic[V]):
    at: float
    value: V
    alone: bool
    """Whether no other write to the same key waited to be shown: then an answer that shows this one proves it."""
    before: frozenset[V] | None
    """Earlier values that the API may still show: its last answer, and own writes since. None where unknown."""


class Memory(Generic[K, V]):
    """Values that we wrote and that the API has not shown yet, by key. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._written: dict[K, _Written[V]] = {}  # in the order of `at`: the oldest come first

    def wrote(self, key: K, value: V, now: float, before: frozenset[V] | None = None) -> None:
        """Remember a write that replaced one of the values `before`; None where these are unknown."""
        self._expire(now)
        old = self._written.pop(key, None)
        alone = old is None or (old.alone and old.value == value)
        if old is not None:
            before = None if before is None or old.before is None else before | old.before | {old.value}
        self._written[key] = _Written(now, value, alone, before)

    def forget(self, key: K) -> None:
        """Forget a write because the API has contradicted it."""
        self._written.pop(key, None)

    def unseen(self, now: float) -> Collection[K]:
        """Keys whose last write the API has not shown yet."""
        self._expire(now)
        return tuple(self._written)

    def settle(self, key: K, shown: V) -> V:
        """Return the value to use for `key`, one of `unseen`, when the API shows `shown`."""
        written = self._written[key]
        if written.value == shown:
            if written.alone:
                del self._written[key]
        elif written.before is not None and shown not in written.before:
            del self._written[key]
            return shown
        return written.value

    def _expire(self, now: float) -> None:
        while self._written:
            oldest = next(iter(self._written))
            if now - self._written[oldest].at < REMEMBER_SECONDS:
                return
            del self._written[oldest]


class OwnWrites:
    """Our writes to EC2: routes and source/dest checks. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._targets: Memory[tuple[str, Cidr], str | None] = Memory()
        """(table id, destination) -> the target; None means no route."""
        self._checks: Memory[str, bool] = Memory()
        self._last: Mapping[str, Sequence[RouteTable]] = {}
        """Tables as last described, and as corrected by own writes: they hold the values that a write replaces."""

    def created(self, table_id: str, destination: Cidr, target: str, now: float) -> None:
        """Record a successful CreateRoute."""
        with self._lock:
            before = self._before(table_id, destination) or frozenset()
            self._targets.wrote((table_id, destination), target, now, before | {None})

    def replaced(self, table_id: str, destination: Cidr, target: str, now: float) -> None:
        """Record a successful ReplaceRoute."""
        with self._lock:
            self._targets.wrote((table_id, destination), target, now, self._before(table_id, destination))

    def deleted(self, table_id: str, destination: Cidr, now: float) -> None:
        """Record a DeleteRoute that succeeded or found nothing to delete."""
        with self._lock:
            self._targets.wrote((table_id, destination), None, now, self._before(table_id, destination))

    def contradicted(self, table_id: str, destination: Cidr) -> None:
        """Forget writes to a route because EC2 refused one as contradicting its state: the next describe tells it."""
        with self._lock:
            self._targets.forget((table_id, destination))

    def check_disabled(self, interface_id: str, now: float) -> None:
        """Record that the source/dest check of the interface was switched off."""
        with self._lock:
            self._checks.wrote(interface_id, False, now)

    def over_tables(self, tables: Sequence[RouteTable], now: float) -> Sequence[RouteTable]:
        """Return the tables as described, with the writes that they do not show yet."""
        with self._lock:
            unseen: dict[str, list[Cidr]] = {}
            for table_id, destination in self._targets.unseen(now):
                unseen.setdefault(table_id, []).append(destination)
            believed = [self._over_table(table, unseen.get(table.id, ())) for table in tables]
            self._last = {shown.id: (shown, table) for shown, table in zip(tables, believed, strict=True)}
            return believed

    def over_instances(self, instances: Mapping[str, Instance], now: float) -> Mapping[str, Instance]:
        """Return the instances as described, with those source/dest checks off that they do not show off yet."""
        with self._lock:
            unseen = frozenset(self._checks.unseen(now))
            if not unseen:
                return instances
            return {
                id_: replace(instance, interfaces=tuple(self._over_interface(i, unseen) for i in instance.interfaces))
                for id_, instance in instances.items()
            }

    def _before(self, table_id: str, destination: Cidr) -> frozenset[str | None] | None:
        """Earlier targets of a route that a describe may still show; None where its table was never described."""
        if table_id not in self._last:
            return None
        routes = [table.routes.get(destination) for table in self._last[table_id]]
        return frozenset(route.target if route else None for route in routes)

    def _over_table(self, table: RouteTable, unseen: Collection[Cidr]) -> RouteTable:
        if not unseen:
            return table
        routes = dict(table.routes)
        for destination in unseen:
            shown = routes.get(destination)
            target = self._targets.settle((table.id, destination), shown.target if shown else None)
            if target is None:
                routes.pop(destination, None)
            elif shown is None or shown.target != target:
                routes[destination] = Route(destination, target)
        return replace(table, routes=routes)

    def _over_interface(self, interface: Interface, unseen: Collection[str]) -> Interface:
        if interface.id not in unseen:
            return interface
        return replace(interface, source_dest_check=self._checks.settle(interface.id, interface.source_dest_check))

"""Brings the kernel to the desired state, kind by kind.

Entries are put in the order of `dataplane.KINDS`, in which each kind depends on earlier ones, and removed in the
opposite order, so that no entry ever refers to a missing one. A failed entry stays pending; the others go on. A kind
that is marked, because another program has changed it or because the kernel removes it along with another kind, is read
before it is compared.

A gateway's rules lead packets into the transit table. So the rule for all pods is added only when that table is
complete and the node's own pods have theirs, and is removed first.

Pods may run already, reached by the default route. So the `unreachable` route of a pool is added only when none of the
routes that it covers is missing, and removed before them: it must not drop packets that have another way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudroute.core.node.tracker import Tracker
from cloudroute.dataplane import KINDS, MAIN, TRANSIT_TABLE, VTEP, AddressKey, Kind, Route, RouteKey, Rule, written
from cloudroute.errors import KernelError
from cloudroute.ports import Kernel

_REMOVED_WITH: Mapping[Kind, tuple[Kind, ...]] = {
    "links": KINDS[1 : KINDS.index("rules")],
    "addresses": ("neighbours", "nexthops", "routes"),
    "nexthops": ("routes",),
}
"""Kinds that the kernel removes silently along with an entry of a kind: read again once the entry was put back.

Replacing an address or a nexthop removes nothing else; a device may lose entries when its MAC or state changes.
"""


@dataclass
class Done:
    """Number of entries changed in a pass, by kind."""

    put: Counter[Kind] = field(default_factory=Counter)
    dropped: Counter[Kind] = field(default_factory=Counter)

    def __add__(self, other: Done) -> Done:
        return Done(self.put + other.put, self.dropped + other.dropped)

    def __str__(self) -> str:
        """Return a summary like "put 3 routes, 3 nexthops; removed 1 route"; "" for no change."""
        parts = (("put", self.put), ("removed", self.dropped))
        return "; ".join(f"{verb} {_listed(counts)}" for verb, counts in parts if counts)


class Sync:
    """The trackers of one kernel. For one thread; only `mark` may be called by any."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.trackers: dict[Kind, Tracker[Any, Any]] = {kind: Tracker(kind) for kind in KINDS}
        self.broken: dict[Kind, str] = {}
        """Kinds that could not be read at all, and why."""
        self._marked: set[Kind] = set(KINDS)

    def mark(self, kinds: Iterable[Kind]) -> None:
        """Read these kinds before the next comparison: other programs may have changed them."""
        self._marked.update(kinds)

    def want(self, tables: Mapping[Kind, Mapping[Any, Any]]) -> None:
        """Replace the desired entries of these kinds."""
        for kind, table in tables.items():
            self.trackers[kind].want(table)

    def read(self, kind: Kind) -> Tracker[Any, Any]:
        """Return the tracker of a kind, after reading the kernel if the kind was marked."""
        tracker = self.trackers[kind]
        if kind in self._marked:
            self._marked.discard(kind)  # before the read, so that a change during it marks the kind again
            try:
                tracker.found(self._kernel.tables[kind].read(tracker.wanted.keys()))
                self.broken.pop(kind, None)
            except KernelError as error:
                self.broken[kind] = str(error)
                self.mark((kind,))
        return tracker

    def programmed(self) -> bool:
        """Whether an agent has programmed this kernel since it booted; true also if the devices can't be read."""
        link = self.read("links").actual.get(VTEP)
        return "links" in self.broken or (link is not None and link.up)

    def run(self, kinds: Collection[Kind]) -> Done:
        """Put and remove entries of these kinds until they are as desired; a failed entry stops no other."""
        done = Done()
        for kind in KINDS:
            if kind in kinds:
                self._put(kind, done)
        for kind in reversed(KINDS):
            if kind in kinds and kind not in self.broken:
                self._drop(kind, done)
        return done

    def failures(self, kinds: Collection[Kind], but: str = "") -> list[str]:
        """Return a sentence for each failure in these kinds, except those of the device `but` and its settings."""
        words: list[str] = []
        for kind in KINDS:
            if kind in kinds:
                words += filter(None, [self.broken.get(kind)])
                words += (
                    f"{describe(kind, key)}: {why}"
                    for key, why in self.trackers[kind].failed.items()
                    if not (but and isinstance(key, str) and but in key.split("/"))
                )
        return words

    def _put(self, kind: Kind, done: Done) -> None:
        tracker = self.read(kind)
        if kind in self.broken:
            return
        if kind == "routes":
            self._put_routes(tracker, tracker.puts(), done)
        elif kind == "rules":
            self._put_rules(tracker, tracker.puts(), done)
        else:
            self._make(tracker, tracker.puts(), done)

    def _put_routes(self, tracker: Tracker[RouteKey, Route], put: dict[RouteKey, Route], done: Done) -> None:
        lost = self.trackers["nexthops"].failed
        guards = {key: put.pop(key) for key in [key for key, to in put.items() if not to.nexthop]}
        without = [key for key, to in put.items() if to.nexthop in lost] if lost else []
        for key in without:
            del put[key]
        failed = self._make(tracker, put, done)
        missing = [key for key in (*without, *failed) if key not in tracker.actual]
        harmless = {key: to for key, to in guards.items() if not any(map(key.covers, missing))}
        self._make(tracker, harmless, done)

    def _put_rules(self, tracker: Tracker[Rule, None], put: dict[Rule, None], done: Done) -> None:
        failed = self._make(tracker, {rule: None for rule in put if rule.table == MAIN}, done)
        transit = {rule: None for rule in put if rule.table == TRANSIT_TABLE}
        if transit and not failed and self._transit_is_complete():
            self._make(tracker, transit, done)

    def _transit_is_complete(self) -> bool:
        missing = self.trackers["routes"].puts()
        return "routes" not in self.broken and all(key.table != TRANSIT_TABLE for key in missing)

    def _make(self, tracker: Tracker[Any, Any], put: Mapping[Any, Any], done: Done) -> Mapping[Any, str]:
        if not put:
            return {}
        kind = tracker.kind
        was_missing = kind == "links" or not put.keys() <= tracker.actual.keys()
        failed = self._write(tracker, put, ())
        if count := len(put) - len(failed):
            done.put[kind] += count
            if was_missing:
                self.mark(_REMOVED_WITH.get(kind, ()))
        return failed

    def _drop(self, kind: Kind, done: Done) -> None:
        tracker = self.trackers[kind]
        if drop := tracker.drops():
            if kind == "routes":
                drop.sort(key=lambda key: bool(tracker.actual[key].nexthop))
            if kind == "rules":
                drop.sort(key=lambda rule: rule.table == MAIN)
            failed = self._write(tracker, {}, drop)
            done.dropped[kind] += len(drop) - len(failed)

    def _write(self, tracker: Tracker[Any, Any], put: Mapping[Any, Any], drop: Collection[Any]) -> Mapping[Any, str]:
        try:
            failed = self._kernel.tables[tracker.kind].write(put, drop)
        except KernelError as error:
            failed = dict.fromkeys((*put, *drop), str(error))
            self.mark((tracker.kind,))
        tracker.wrote(put, drop, failed)
        return failed


def describe(kind: Kind, key: object) -> str:
    """Return an entry's key in its usual notation."""
    if isinstance(key, bytes):
        return f"{kind} {key.hex(':') if kind in ('fdb', 'fdb6') else written(key)}"
    if isinstance(key, AddressKey):
        return f"{written(key.address)}/{key.length} on {key.device}"
    if isinstance(key, RouteKey):
        table = "" if key.table == MAIN else f" in table {key.table}"
        return f"route {written(key.destination)}/{key.length}{table}"
    if isinstance(key, Rule):
        return f"rule {key.priority} to {written(key.destination)}/{key.length}"
    return f"{kind} {key}"


def _listed(counts: Mapping[Kind, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())

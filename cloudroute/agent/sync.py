"""The kernel made equal to what is wanted, kind by kind.

Entries are put in the order of `dataplane.KINDS`, each kind standing on those before it, and removed in the opposite
order, so that nothing ever points at what is not there. What failed stays pending; the rest goes on. A kind that is
marked, because somebody else has changed it or because it falls with another, is read before it is compared.

Pods may run already, reached by the default route. So the `unreachable` route of a pool comes when none of the routes
that it covers is missing, and goes before them: it takes no packet that has another way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudroute.core.node.tracker import Tracker
from cloudroute.dataplane import KINDS, VTEP, AddressKey, Kind, Route, RouteKey, written
from cloudroute.errors import KernelError
from cloudroute.ports import Kernel

_FALL: Mapping[Kind, tuple[Kind, ...]] = {
    "links": KINDS[1:-2],
    "addresses": ("neighbours", "nexthops", "routes"),
    "nexthops": ("routes",),
}
"""What the kernel drops without a word when an entry of a kind goes: to be read again once that was put back.

An address or a nexthop that is replaced takes nothing along; a device may, when its MAC or its state changes.
"""


@dataclass
class Done:
    """What a pass has changed: how many entries by kind."""

    put: Counter[Kind] = field(default_factory=Counter)
    dropped: Counter[Kind] = field(default_factory=Counter)

    def __add__(self, other: Done) -> Done:
        return Done(self.put + other.put, self.dropped + other.dropped)

    def __str__(self) -> str:
        """In words: "put 3 routes, 3 nexthops; removed 1 route"; "" for nothing."""
        parts = (("put", self.put), ("removed", self.dropped))
        return "; ".join(f"{verb} {_listed(counts)}" for verb, counts in parts if counts)


class Sync:
    """The trackers of one kernel. For one thread, but for `mark`, which any may call."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.trackers: dict[Kind, Tracker[Any, Any]] = {kind: Tracker(kind) for kind in KINDS}
        self.broken: dict[Kind, str] = {}
        """Kinds that could not be read or written at all, and why."""
        self._marked: set[Kind] = set(KINDS)

    def mark(self, kinds: Iterable[Kind]) -> None:
        """Look at these kinds before the next comparison: others may have changed them."""
        self._marked.update(kinds)

    def want(self, tables: Mapping[Kind, Mapping[Any, Any]]) -> None:
        """Replace what is wanted of these kinds."""
        for kind, table in tables.items():
            self.trackers[kind].want(table)

    def read(self, kind: Kind) -> Tracker[Any, Any]:
        """The tracker of a kind, read if it was marked."""
        tracker = self.trackers[kind]
        if kind in self._marked:
            self._marked.discard(kind)  # first: what changes while it is read counts
            try:
                tracker.found(self._kernel.tables[kind].read(tracker.wanted.keys()))
                self.broken.pop(kind, None)
            except KernelError as error:
                self.broken[kind] = str(error)
                self.mark((kind,))
        return tracker

    def standing(self) -> bool:
        """Whether an agent has programmed this kernel since it booted, or may have: the devices can't be read."""
        link = self.read("links").actual.get(VTEP)
        return "links" in self.broken or (link is not None and link.up)

    def run(self, kinds: Collection[Kind]) -> Done:
        """Make these kinds as they are wanted, as far as that works."""
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

    def _make(self, tracker: Tracker[Any, Any], put: Mapping[Any, Any], done: Done) -> Mapping[Any, str]:
        if not put:
            return {}
        kind = tracker.kind
        fell = kind == "links" or not put.keys() <= tracker.actual.keys()
        failed = self._write(tracker, put, ())
        if count := len(put) - len(failed):
            done.put[kind] += count
            if fell:
                self.mark(_FALL.get(kind, ()))
        return failed

    def _drop(self, kind: Kind, done: Done) -> None:
        tracker = self.trackers[kind]
        if drop := tracker.drops():
            if kind == "routes":
                drop.sort(key=lambda key: bool(tracker.actual[key].nexthop))
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
    """An entry's key, as people write it."""
    if isinstance(key, bytes):
        return f"{kind} {key.hex(':') if kind in ('fdb', 'fdb6') else written(key)}"
    if isinstance(key, AddressKey):
        return f"{written(key.address)}/{key.length} on {key.device}"
    if isinstance(key, RouteKey):
        return f"route {written(key.destination)}/{key.length}"
    return f"{kind} {key}"


def _listed(counts: Mapping[Kind, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())

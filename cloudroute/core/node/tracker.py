"""One kind of kernel table: desired entries, actual entries, and the difference to write.

A failed entry stays pending with its error text and is tried again with the rest; no other entry waits for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Generic, TypeVar

from cloudroute.dataplane import Kind

K = TypeVar("K")
V = TypeVar("V")


class Tracker(Generic[K, V]):
    """Tracks one kind. `wanted` and `actual` are replaced as a whole; identical objects cost nothing to compare."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.wanted: Mapping[K, V] = {}
        self.actual: dict[K, V] = {}
        self.failed: dict[K, str] = {}
        """By key: the reason why an entry could not be put or removed, in words."""
        self._settled: Mapping[K, V] | None = None
        """Desired map last found in sync; the same object again skips the diff."""

    def want(self, wanted: Mapping[K, V]) -> None:
        """Replace the desired entries. Drops failures of writes that are no longer needed."""
        self.wanted = wanted
        self._drop_obsolete_failures()

    def found(self, actual: dict[K, V]) -> None:
        """Replace the actual entries by those just read."""
        self.actual = actual
        self._settled = None
        self._drop_obsolete_failures()

    def puts(self) -> dict[K, V]:
        """Return the entries that are missing or different."""
        if self.wanted is self._settled:
            return {}
        if not self.actual:
            return dict(self.wanted)
        if self.wanted == self.actual:  # in C
            # Entries as read are equal but other objects, which each later diff would compare field by field.
            self.actual, self._settled = dict(self.wanted), self.wanted
            return {}
        has = self.actual.get
        return {key: value for key, value in self.wanted.items() if has(key, _ABSENT) != value}

    def drops(self) -> list[K]:
        """Return the keys of our entries that are there but not wanted."""
        if self.wanted is self._settled or self.wanted.keys() == self.actual.keys():
            return []
        return [key for key in self.actual if key not in self.wanted]

    def wrote(self, put: Mapping[K, V], drop: Collection[K], failures: Mapping[K, str]) -> None:
        """Record the result of a write: all of `put` and `drop` is done, except `failures`."""
        self._settled = None
        if not (self.failed or failures or drop):
            self.actual.update(put)
            return
        for key, value in put.items():
            self.failed.pop(key, None)
            if key not in failures:
                self.actual[key] = value
        for key in drop:
            self.failed.pop(key, None)
            if key not in failures:
                self.actual.pop(key, None)
        self.failed.update(failures)

    def _drop_obsolete_failures(self) -> None:
        """Drop failures of entries that are as desired by now, for example by another program's change."""
        has, wants = self.actual.get, self.wanted.get
        self.failed = {key: words for key, words in self.failed.items() if has(key, _ABSENT) != wants(key, _ABSENT)}


_ABSENT = object()
"""Stands for a missing entry: equal to no value, while None is one."""

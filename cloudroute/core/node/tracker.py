"""One kind of kernel table: what is wanted, what is there, and so what is to be done.

What failed stays pending with its words, and is tried again with the rest; nothing else waits for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Generic, TypeVar

from cloudroute.dataplane import Kind

K = TypeVar("K")
V = TypeVar("V")


class Tracker(Generic[K, V]):
    """`wanted` and `actual` are replaced whole; entries that are the same object cost nothing to compare."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.wanted: Mapping[K, V] = {}
        self.actual: dict[K, V] = {}
        self.failed: dict[K, str] = {}
        """Why an entry could not be put or removed, in words."""
        self._settled: Mapping[K, V] | None = None
        """What was wanted when all of it was there and nothing else: as long as that is so, nothing is compared."""

    def want(self, wanted: Mapping[K, V]) -> None:
        """Replace what is wanted. What had failed and is not to be done any more has not failed."""
        self.wanted = wanted
        self._forgive()

    def found(self, actual: dict[K, V]) -> None:
        """Take over what is there, as just read."""
        self.actual = actual
        self._settled = None
        self._forgive()

    def puts(self) -> dict[K, V]:
        """What is missing or different."""
        if self.wanted is self._settled:
            return {}
        if not self.actual:
            return dict(self.wanted)
        if self.wanted == self.actual:  # in C
            # As read, entries are equal but other objects, which each change of the table would compare field by field.
            self.actual, self._settled = dict(self.wanted), self.wanted
            return {}
        has = self.actual.get
        return {key: value for key, value in self.wanted.items() if has(key, _ABSENT) != value}

    def drops(self) -> list[K]:
        """What is there and not wanted, and ours."""
        if self.wanted is self._settled or self.wanted.keys() == self.actual.keys():
            return []
        return [key for key in self.actual if key not in self.wanted]

    def wrote(self, put: Mapping[K, V], drop: Collection[K], failures: Mapping[K, str]) -> None:
        """Note what a write has done: all of it, but for `failures`."""
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

    def _forgive(self) -> None:
        """A failed entry may have become right by itself: nothing is still to be done about it."""
        has, wants = self.actual.get, self.wanted.get
        self.failed = {key: words for key, words in self.failed.items() if has(key, _ABSENT) != wants(key, _ABSENT)}


_ABSENT = object()
"""Equal to no value: None is one."""

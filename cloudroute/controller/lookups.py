"""Ids that EC2 was asked for since the last resync: when each may be asked for again."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import inf


class Lookups:
    """Times of the next request for ids that are still unknown.

    All times are monotonic seconds. The pause after the first request is `pause`, by default until `keep` forgets the
    id; it doubles with each request up to `longest`.
    """

    def __init__(self, pause: float = inf, longest: float = inf) -> None:
        self._pause, self._longest = pause, longest
        self._asked: dict[str, tuple[float, float]] = {}
        """Id -> when to ask again, and the pause after that."""

    def due(self, ids: Iterable[str], now: float) -> set[str]:
        """Return the ids that may be asked for now."""
        return {id_ for id_ in ids if id_ not in self._asked or now >= self._asked[id_][0]}

    def asked(self, ids: Iterable[str], now: float) -> None:
        """Record a request that ended at `now`."""
        for id_ in ids:
            _, pause = self._asked.get(id_, (now, self._pause))
            self._asked[id_] = (now + pause, min(pause * 2, self._longest))

    def keep(self, ids: Collection[str]) -> None:
        """Forget all other ids: they are known by now, or no longer wanted."""
        self._asked = {id_: times for id_, times in self._asked.items() if id_ in ids}

    @property
    def next_due(self) -> float:
        """Time of the next request; infinity when none is due at a time of its own."""
        return min((at for at, _ in self._asked.values()), default=inf)

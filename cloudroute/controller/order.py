"""Order of the steps of one apply: predecessors first, and one step at a time in each lane."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from cloudroute.core.cluster.model import ChangeRoute, DisableSourceDestCheck, Key, Step


class Order:
    """Steps that have not started. `take` gives those that may; `ended` and `skip` let further ones follow.

    In a lane steps start in the plan's order, but those that are `last` behind all others.
    """

    def __init__(self, steps: Sequence[Step], *, last: Callable[[Step], bool]) -> None:
        self._last = last
        self._place = {step.key: place for place, step in enumerate(steps)}
        self._unmet: dict[Key, set[Key]] = {}
        """Unfinished predecessors of each waiting step."""
        self._followers: defaultdict[Key, list[Step]] = defaultdict(list)
        self._lanes: defaultdict[Key, list[tuple[bool, int, Step]]] = defaultdict(list)
        """A heap of ready steps per lane."""
        self._busy: set[Key] = set()
        """Lanes with a step under way."""
        self._ready: deque[Step | Key] = deque()
        """Steps without a lane that may start, and lanes that may have one."""
        for step in steps:
            if unmet := {other for other in step.after if other in self._place}:
                self._unmet[step.key] = unmet
                for other in unmet:
                    self._followers[other].append(step)
        free = [step for step in steps if step.key not in self._unmet]
        for step in sorted(free, key=lambda step: _lane(step) is not None):
            self._add(step)

    def take(self) -> Step | None:
        """Return a step that may start now; None while there is none."""
        while self._ready:
            found = self._ready.popleft()
            if not isinstance(found, tuple):
                return found
            if found not in self._busy and self._lanes[found]:
                self._busy.add(found)
                return heapq.heappop(self._lanes[found])[2]
        return None

    def ended(self, step: Step, *, done: bool) -> None:
        """Let the steps follow that waited for this one; only those of its lane if it is not `done`."""
        for follower in self._followers[step.key] if done else ():
            unmet = self._unmet[follower.key]
            unmet.discard(step.key)
            if not unmet:
                self._add(follower)
        if lane := _lane(step):
            self._busy.discard(lane)
            self._ready.append(lane)

    def skip(self, step: Step) -> None:
        """Let the next step of its lane follow: this one can't start, and no step that waits for it will."""
        if lane := _lane(step):
            self._busy.discard(lane)
            self._ready.appendleft(lane)

    def _add(self, step: Step) -> None:
        lane = _lane(step)
        if lane:
            heapq.heappush(self._lanes[lane], (self._last(step), self._place[step.key], step))
        self._ready.append(lane or step)


def _lane(step: Step) -> Key | None:
    return step.lane if isinstance(step, ChangeRoute | DisableSourceDestCheck) else None

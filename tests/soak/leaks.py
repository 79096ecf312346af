"""Whether processes grow: a line through the samples of calm moments, of all lives of a role together.

A process that is restarted begins anew, and a young one grows as any does that meets things for the first time; a
standby that takes over is one. So each life has a level of its own, its first minute does not count, and what has
levelled off in its later half is no leak.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from cloudroute.controller.apply import WORKERS

What = Literal["rss_mb", "descriptors", "threads"]
WARM_UP_SECONDS = 60.0
LEAST_SECONDS = 120.0
"""Of calm lives after the warm-up, all together: below that nothing is said."""
MOST_PER_HOUR: Mapping[What, float] = {"rss_mb": 20.0, "descriptors": 20.0, "threads": 10.0}
POOLED: Mapping[What, int] = {"descriptors": 10 + 2 * WORKERS, "threads": 8 + WORKERS}
"""Most that a leader has without a leak: threads that apply steps start when they are needed first, minutes after the
start, and each then keeps a connection to EC2 and one to the API server."""
SURE = 4.0
"""Standard errors between the line and flat: samples of one process are not independent of each other."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A process at a moment. `age`: seconds in its role; `calm`: nothing was wrong then, or being put right."""

    role: str
    process: str
    age: float
    calm: bool
    rss_mb: float
    descriptors: int
    threads: int


@dataclass(frozen=True, slots=True)
class Trend:
    """Of one figure of one role: `rate` and `error` (a standard error) per hour, `seconds` of lives looked at."""

    role: str
    what: What
    rate: float
    error: float
    later_rate: float
    """The same by the later half of each life."""
    seconds: float
    lives: int
    least: float
    most: float

    @property
    def judged(self) -> bool:
        """Whether there was enough to judge by."""
        return self.seconds >= LEAST_SECONDS

    @property
    def leaks(self) -> bool:
        """Whether it grows, surely, fast, and to the end."""
        most = MOST_PER_HOUR[self.what]
        if self.role == "leader" and self.most <= POOLED.get(self.what, 0):
            return False
        return self.judged and self.rate - SURE * self.error > 0 and min(self.rate, self.later_rate) > most


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """Of every role and figure."""
    figures: tuple[What, ...] = ("rss_mb", "descriptors", "threads")
    roles = dict.fromkeys(sample.role for sample in samples)
    return [_trend(role, what, [one for one in samples if one.role == role]) for role in roles for what in figures]


def _trend(role: str, what: What, samples: Sequence[Sample]) -> Trend:
    def value(sample: Sample) -> float:
        return float(getattr(sample, what))

    lives: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.calm and sample.age >= WARM_UP_SECONDS:
            lives.setdefault(sample.process, []).append(sample)
    whole = [life for life in lives.values() if len(life) > 2]
    rate, error = _slope(whole, value)
    later, _ = _slope([life[len(life) // 2 :] for life in whole], value)
    values = [value(sample) for life in whole for sample in life]
    seconds = sum(life[-1].age - life[0].age for life in whole)
    return Trend(
        role, what, rate, error, later, seconds, len(whole), min(values, default=0.0), max(values, default=0.0)
    )


def _slope(lives: Iterable[Sequence[Sample]], value: Callable[[Sample], float]) -> tuple[float, float]:
    """Per hour, with its standard error: least squares with one slope, and a level for each life."""
    points: list[tuple[float, float]] = []
    free = -1
    for life in lives:
        age, level = fmean(sample.age for sample in life), fmean(map(value, life))
        points += [((sample.age - age) / 3600, value(sample) - level) for sample in life]
        free -= 1
    spread = sum(x * x for x, _ in points)
    if not spread:
        return 0.0, 0.0
    slope = sum(x * y for x, y in points) / spread
    free = max(len(points) + free, 1)
    return slope, math.sqrt(sum((y - slope * x) ** 2 for x, y in points) / free / spread)

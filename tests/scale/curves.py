"""Sizes, curves and their exponents: y grows as N to the power of that, the slope of a line through it on log-log axes.

A curve must grow at most linearly: its exponent, over the sizes from its `since` up, is `MOST` at most. That AWS's
buckets start full makes a straight line look steeper than 1 where N is small: hence the margin.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SIZES, TABLES = (100, 300, 1_000, 3_000, 10_000, 20_000), (1, 3, 10)
MOST = 1.1
Figures = Mapping[str, float]
Points = Mapping[str, Figures]
"""By "NODESxTABLES"."""


@dataclass(frozen=True, slots=True)
class Curve:
    """`keys` of a point's figures are summed."""

    name: str
    title: str
    unit: str
    keys: tuple[str, ...]
    beside: str = ""
    """A key whose curve is drawn along, and its words."""
    words: str = ""
    since: int = 300
    """The smallest cluster that is judged."""


CURVES = (
    Curve("converged", "All nodes at once: until the last is published", "s", ("seconds",), "bound", "AWS's buckets"),
    Curve("calls", "EC2 calls of that", "calls", ("calls",)),
    Curve("writes", "Kubernetes writes of that", "writes", ("writes",)),
    Curve("told", "What one agent is sent meanwhile", "bytes", ("bytes", "agents_bytes")),
    Curve("cpu", "CPU of the leader for that", "s", ("cpu",), since=1_000),
    Curve("plan", "One plan, nothing to do", "ms", ("plan",)),
    Curve("memory", "Memory of a controller process", "bytes", ("rss",)),
    Curve("process", "CPU of a controller process for its first sync, full tables", "s", ("process_cpu",)),
)


def line(points: Points, keys: Sequence[str], tables: int) -> list[tuple[int, float]]:
    """(nodes, figure) by size, of the sizes that were measured."""
    named = ((nodes, points.get(f"{nodes}x{tables}")) for nodes in SIZES)
    there = [(nodes, figures) for nodes, figures in named if figures and figures.keys() >= set(keys)]
    return [(nodes, sum(figures[key] for key in keys)) for nodes, figures in there]


def exponent(values: Sequence[tuple[float, float]]) -> float | None:
    """Least squares on logarithms; None for fewer than two points, or where nothing is measured.

    >>> round(exponent([(100, 20), (1000, 2000)]) or 0, 6)
    2.0
    """
    logs = [(math.log(x), math.log(y)) for x, y in values if y > 0]
    if len(logs) < 2:
        return None
    mean_x, mean_y = (sum(axis) / len(logs) for axis in zip(*logs, strict=True))
    slope: float = sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)
    return slope


def judged(points: Points) -> Iterator[tuple[Curve, int, float, bool]]:
    """Curve, tables, exponent, and whether that is at most linear."""
    for curve in CURVES:
        for tables in TABLES:
            found = [(x, y) for x, y in line(points, curve.keys, tables) if x >= curve.since]
            if (slope := exponent(found)) is not None:
                yield curve, tables, slope, slope <= MOST


def run(*words: str) -> dict[str, Any]:
    """One measurement in a process of its own, whose memory is that measurement's."""
    done = subprocess.run([sys.executable, "-m", "tests.scale", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer

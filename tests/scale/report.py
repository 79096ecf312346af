"""The parts of docs/performance.md that `make scale` measures: sizes, growth, days, and the pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tests.measure.page import Data, load, machine_words, plain, table
from tests.measure.plots import Line, plot, short
from tests.scale import curves
from tests.scale.curves import CURVES, TABLES, Curve, line

FITTING = 990
"""Nodes that a table of 1,000 entries takes in any case."""


def _sizes(scale: Data) -> str:
    cells = []
    for key, f in scale["points"].items():
        nodes, tables = map(int, key.split("x"))
        told = f["bytes"] + f["agents_bytes"]
        cells.append(
            (
                f"{nodes:,}", str(tables), f"{f['seconds']:,.0f} s", f"{f['bound']:,.0f} s",
                f"{f['conditions'] / f['bound']:.2f}", f"{f['calls']:,}", _others(nodes, tables), f"{f['writes']:,}",
                f"{short(told)}B", f"{plain(f['cpu'])} s", f"{plain(f['plan'])} ms",
                f"{short(f['rss'])}B" if "rss" in f else "-",
            )
        )  # fmt: skip
    head = (
        "nodes", "tables", "done after", "bound", "conditions / bound", "EC2 calls", "others'", "writes",
        "to each agent", "CPU", "plan", "memory",
    )  # fmt: skip
    return f"`python -m tests.scale`, {machine_words(scale)}.\n\n" + table(head, cells)


def _others(nodes: int, tables: int) -> str:
    """Calls of a first sync, by the formulas of their code; "-" where the nodes do not fit into a table."""
    if nodes > FITTING:
        return "-"
    cloud_provider = f", cloud provider {2 + 3 * nodes:,}" if tables == 1 else ""  # it knows one table only
    return f"gardener {1 + 2 * nodes * tables:,}{cloud_provider}"


def _growth(scale: Data) -> str:
    by_curve: dict[str, list[str]] = {}
    for curve, _tables, slope, good in curves.judged(scale["points"]):
        by_curve.setdefault(curve.title, []).append(f"{slope:.2f}" + ("" if good else " (bends)"))
    cells = [(title, *(slopes + ["-"] * len(TABLES))[: len(TABLES)]) for title, slopes in by_curve.items()]
    return table(("power of N", *(_tables_words(t) for t in TABLES)), cells)


def _days(scale: Data) -> str:
    names = {"replacement": "rolling replacement", "outage": "an hour without EC2"}
    cells = [
        (
            f"{names[name]}, {int(f['nodes']):,} nodes", f"{f['seconds']:,.0f} s", f"{f['bound']:,.0f} s",
            f"{f['calls']:,}", f"{f['in_vain']:,}", f"{f['writes']:,}", str(f["throttled"]), str(f["unavailable"]),
            str(f["unreached"] + f["lost"]),
        )
        for name, f in scale["days"].items()
    ]  # fmt: skip
    head = (
        "day", "converged after", "bound", "EC2 calls", "in vain", "writes", "throttled", "made unavailable",
        "paths harmed",
    )  # fmt: skip
    return table(head, cells)


def _plots(scale: Data) -> str:
    drawn = pictures(scale)
    return "\n\n".join(
        f"![{_described(curve, scale['points'])}](performance/{curve.name}.svg)"
        for curve in CURVES
        if f"{curve.name}.svg" in drawn
    )


PARTS: Mapping[str, Callable[[Data], str]] = {"sizes": _sizes, "growth": _growth, "days": _days, "plots": _plots}


def pictures(scale: Data | None = None) -> dict[str, str]:
    """By file name."""
    points = (scale or load("scale"))["points"]
    return {
        f"{curve.name}.svg": plot(curve.title, curve.unit, _described(curve, points), lines)
        for curve in CURVES
        if (lines := list(_lines(curve, points)))
    }


def _lines(curve: Curve, points: Data) -> Iterator[Line]:
    for tables in TABLES:
        if len(values := [(x, y) for x, y in line(points, curve.keys, tables) if y > 0]) > 1:
            yield Line(_tables_words(tables), values)
    for tables in TABLES[:1] if curve.beside else ():
        if len(values := [(x, y) for x, y in line(points, (curve.beside,), tables) if y > 0]) > 1:
            yield Line(f"{curve.words}, {_tables_words(tables)}", values, thin=True)


def _described(curve: Curve, points: Data) -> str:
    """In words, for who does not see it: from where to where each line goes."""
    said = []
    for drawn in _lines(curve, points):
        (few, least), (many, most) = drawn.points[0], drawn.points[-1]
        said.append(f"{drawn.name} from {short(least)} at {few:,} nodes to {short(most)} at {many:,}")
    return f"{curve.title}, in {curve.unit}: {'; '.join(said)}."


def _tables_words(tables: int) -> str:
    return f"{tables} table" if tables == 1 else f"{tables} tables"

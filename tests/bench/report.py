"""docs/performance.md: its figures and pictures are made from the data in docs/performance/, and from nothing else.

python -m tests.bench.report            makes them anew from the data that is there
python -m tests.bench --report          measures first (bench.json); python -m tests.scale --write likewise (scale.json)

The page's prose is written by hand. What stands between `<!-- NAME -->` and `<!-- end -->` is written here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.bench.plots import Line, plot, short
from tests.docs.pages import ROOT
from tests.scale import curves
from tests.scale.curves import CURVES, TABLES, Curve, line

FOLDER = ROOT / "docs" / "performance"
PAGE = ROOT / "docs" / "performance.md"
Data = Mapping[str, Any]
FITTING = 990
"""Nodes that a table of 1,000 entries takes in any case."""
_PART = re.compile(r"(<!-- ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def load(name: str) -> Data:
    """The data of one series."""
    data: Data = json.loads((FOLDER / f"{name}.json").read_text())
    return data


def save(name: str, data: Data) -> None:
    """Write the data of one series: figures to six digits, so that a change is readable."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(_rounded(data), indent=1) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


def write() -> None:
    """Make the page's parts and all pictures."""
    PAGE.write_text(page(PAGE.read_text()))
    for name, drawn in pictures().items():
        (FOLDER / name).write_text(drawn)


def page(text: str) -> str:
    """The page with its parts as the data give them. Raises KeyError for a part that nobody makes."""
    bench, scale = load("bench"), load("scale")
    return _PART.sub(lambda found: f"{found[1]}{PARTS[found[2]](bench, scale)}\n{found[3]}", text)


# --- parts of the page ----------------------------------------------------------------------------


def _rows(bench: Data, _scale: Data) -> str:
    missed = sum(not row["met"] for row in bench["rows"])
    verdict = f"{missed} of {len(bench['rows'])} targets missed" if missed else f"all {len(bench['rows'])} targets met"
    cells = [
        (row["what"], _figure(row["measured"], row["unit"]), _figure(row["target"], row["unit"]), _peers(row))
        for row in bench["rows"]
    ]
    skipped = [f"Not measured: {reason}." for reason in bench["skipped"]]
    said = f"`make bench`, {_machine(bench)}: {verdict}."
    return "\n".join([said, "", _table(("what", "measured", "target", "others"), cells), *skipped])


def _peers(row: Data) -> str:
    return ", ".join(f"{name} {_plain(figure)}" for name, figure in row["peers"].items()) or "-"


def _sizes(_bench: Data, scale: Data) -> str:
    cells = []
    for key, f in scale["points"].items():
        nodes, tables = map(int, key.split("x"))
        told = f["bytes"] + f["agents_bytes"]
        cells.append(
            (
                f"{nodes:,}", str(tables), f"{f['seconds']:,.0f} s", f"{f['bound']:,.0f} s",
                f"{f['conditions'] / f['bound']:.2f}", f"{f['calls']:,}", _others(nodes, tables), f"{f['writes']:,}",
                f"{short(told)}B", f"{_plain(f['cpu'])} s", f"{_plain(f['plan'])} ms",
                f"{short(f['rss'])}B" if "rss" in f else "-",
            )
        )  # fmt: skip
    head = (
        "nodes", "tables", "done after", "bound", "conditions / bound", "EC2 calls", "others'", "writes",
        "to each agent", "CPU", "plan", "memory",
    )  # fmt: skip
    return f"`python -m tests.scale`, {_machine(scale)}.\n\n" + _table(head, cells)


def _others(nodes: int, tables: int) -> str:
    """Calls of a first sync, by the formulas of their code; "-" where the nodes do not fit into a table."""
    if nodes > FITTING:
        return "-"
    cloud_provider = f", cloud provider {2 + 3 * nodes:,}" if tables == 1 else ""  # it knows one table only
    return f"gardener {1 + 2 * nodes * tables:,}{cloud_provider}"


def _growth(_bench: Data, scale: Data) -> str:
    by_curve: dict[str, list[str]] = {}
    for curve, _tables, slope, good in curves.judged(scale["points"]):
        by_curve.setdefault(curve.title, []).append(f"{slope:.2f}" + ("" if good else " (bends)"))
    cells = [(title, *(slopes + ["-"] * len(TABLES))[: len(TABLES)]) for title, slopes in by_curve.items()]
    return _table(("power of N", *(_tables_words(t) for t in TABLES)), cells)


def _days(_bench: Data, scale: Data) -> str:
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
    return _table(head, cells)


def _plots(_bench: Data, scale: Data) -> str:
    drawn = pictures(scale)
    return "\n\n".join(
        f"![{_described(curve, scale['points'])}](performance/{curve.name}.svg)"
        for curve in CURVES
        if f"{curve.name}.svg" in drawn
    )


PARTS: Mapping[str, Callable[[Data, Data], str]] = {
    "rows": _rows,
    "sizes": _sizes,
    "growth": _growth,
    "days": _days,
    "plots": _plots,
}


# --- pictures -------------------------------------------------------------------------------------


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


# --- words ----------------------------------------------------------------------------------------


def _machine(data: Data) -> str:
    facts = data["machine"]
    load = f" (load {facts['load']})" if "load" in facts else ""
    return f"{facts['day']}, {facts['cores']} cores{load}, Python {facts['python']}, {facts['system']}"


def _figure(value: float, unit: str) -> str:
    return f"{_plain(value)} {unit}".rstrip()


def _plain(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _table(head: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)


if __name__ == "__main__":
    write()

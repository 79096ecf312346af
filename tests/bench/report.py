"""docs/performance.md and its pictures, made from the data in docs/performance/.

python -m tests.bench.report            makes them anew from the data that is there
python -m tests.bench --report          measures first (bench.json); python -m tests.scale --write likewise (scale.json)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from tests.measure.page import FOLDER, PAGE, Data, figure, filled, load, machine_words, plain, table
from tests.scale import report as scale_report


def write() -> None:
    """Make the page's parts and all pictures."""
    PAGE.write_text(page(PAGE.read_text()))
    for name, drawn in scale_report.pictures().items():
        (FOLDER / name).write_text(drawn)


def page(text: str) -> str:
    """The page with its parts as the data give them. Raises KeyError for a part that nobody makes."""
    return filled(text, parts())


def parts() -> Mapping[str, Callable[[], str]]:
    """The parts of the report by name, each with its function."""
    scale = load("scale")
    return {
        "rows": partial(_rows, load("bench")),
        **{k: partial(make, scale) for k, make in scale_report.PARTS.items()},
    }


def _rows(bench: Data) -> str:
    missed = sum(not row["met"] for row in bench["rows"])
    verdict = f"{missed} of {len(bench['rows'])} targets missed" if missed else f"all {len(bench['rows'])} targets met"
    cells = [
        (row["what"], figure(row["measured"], row["unit"]), figure(row["target"], row["unit"]), _peers(row))
        for row in bench["rows"]
    ]
    skipped = [f"Not measured: {reason}." for reason in bench["skipped"]]
    said = f"`make bench`, {machine_words(bench)}: {verdict}."
    return "\n".join([said, "", table(("what", "measured", "target", "others"), cells), *skipped])


def _peers(row: Data) -> str:
    return ", ".join(f"{name} {plain(figure)}" for name, figure in row["peers"].items()) or "-"


if __name__ == "__main__":
    write()

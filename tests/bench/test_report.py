"""Nobody writes a figure of docs/performance.md by hand, and its pictures can be read by all."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.bench import report
from tests.measure.page import FOLDER, PAGE, PART
from tests.measure.plots import Line, plot
from tests.scale import curves
from tests.scale import report as scale_report


def test_the_page_is_what_the_data_give() -> None:
    """Every part between markers."""
    text = PAGE.read_text()
    assert report.page(text) == text, "run python -m tests.bench.report"
    assert {found[1] for found in PART.findall(text)} == set(report.parts())


def test_the_pictures_are_what_the_data_give() -> None:
    """Each of them, and no other."""
    drawn = scale_report.pictures()
    assert {path.name: path.read_text() for path in FOLDER.glob("*.svg")} == drawn, "run python -m tests.bench.report"


def test_a_figure_that_somebody_edits_is_seen() -> None:
    """The page's own test can fail."""
    text = PAGE.read_text()
    edited = text.replace("| 1 table |", "| one table |", 1)
    assert edited != text
    assert report.page(edited) == text


@pytest.mark.parametrize("dark", [False, True])
def test_a_plot_has_words_and_both_sets_of_colours_and_tells_lines_apart_without_them(*, dark: bool) -> None:
    """Dashes and marks differ, and each line's name stands beside it."""
    lines = [Line(name, [(100, 1), (1000, 10)]) for name in ("a", "b", "c < d")]
    drawn = plot("title", "s", "words", lines)
    root = ElementTree.fromstring(drawn)
    assert root.get("role") == "img"
    assert drawn.count("stroke-dasharray") >= 3
    assert all(f">{name}</text>" in drawn for name in ("a", "b", "c &lt; d"))
    assert ("prefers-color-scheme: dark" in drawn) or not dark


def test_a_curve_that_bends_is_named() -> None:
    """Squares have the exponent 2, and that is no linear growth; a straight line passes."""
    flat = {key: 1.0 for curve in curves.CURVES for key in curve.keys}
    points = {f"{nodes}x1": {**flat, "calls": float(nodes**2), "writes": float(nodes)} for nodes in curves.SIZES}
    judged = {curve.name: (round(slope, 6), good) for curve, _, slope, good in curves.judged(points)}
    assert judged["calls"] == (2.0, False)
    assert judged["writes"] == (1.0, True)
    assert judged["cpu"] == (0.0, True)

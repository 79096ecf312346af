"""Pictures of the documentation have text for screen readers, and colours for light and dark pages."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.docs.figures import FIGURES, FOLDER, box
from tests.docs.pages import ROOT, pages

SVG = "{http://www.w3.org/2000/svg}"
RECORDED = ("demo.svg", "packets.svg")
"""Recorded terminals; the pages describe them in words."""
PICTURES = sorted(path for path in (ROOT / "docs").rglob("*.svg") if path.name not in RECORDED)


@pytest.mark.parametrize("name", FIGURES)
def test_as_drawn(name: str) -> None:
    """The file equals the drawing."""
    path = FOLDER / f"concepts-{name}.svg"
    same = path.exists() and path.read_text() == FIGURES[name]()
    assert same, f"{path.name} is out of date: run python -m tests.docs.figures"


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_says_what_it_shows(path: Path) -> None:
    """A picture has a title, and a role for screen readers."""
    root = ElementTree.parse(path).getroot()
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title")


@pytest.mark.parametrize("name", FIGURES)
def test_has_a_description_and_both_sets_of_colours(name: str) -> None:
    """A picture has a description, and colours for the reader's light or dark preference."""
    drawn = FIGURES[name]()
    assert len(ElementTree.fromstring(drawn).findtext(f"{SVG}desc") or "") > 100
    assert "prefers-color-scheme: dark" in drawn


def test_pictures_have_words_where_they_are_shown() -> None:
    """No image of a page is without alternative text."""
    assert [page.name for page in pages() if "![](" in page.text] == []


def test_words_are_escaped() -> None:
    """Text in a picture is escaped as XML."""
    assert "a &lt; b &amp; c" in box(0, 0, 1, 1, ["a < b & c"])

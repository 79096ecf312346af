"""Display of the demo: one picture, redrawn while it runs, and once more for `--record`."""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cloudroute.core.words import one_line
from cloudroute.errors import CloudrouteError
from cloudroute.lab.demo.figures import Figures, Fill
from cloudroute.lab.demo.stage import LIMIT

WIDTH = 112
BAR = 40
COLOURS = {"native": "green", "direct": "cyan", "overlay": "yellow"}
SIGNS = {"native": "━", "direct": "═", "overlay": "┄"}
"""Line styles: paths are distinguishable without colour too."""


@dataclass
class Picture:
    """Everything on the screen."""

    title: str = ""
    figures: Figures | None = None
    target: int = 0
    leader: str = ""
    told: list[str] = field(default_factory=list)
    """Lines printed so far."""
    summary: list[tuple[str, str]] = field(default_factory=list)

    def tell(self, line: str) -> None:
        """Add a line."""
        self.told.append(one_line(line))

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = [Text(self.title, style="bold")]
        if self.figures:
            parts += [Text(), _progress(self.figures, self.target, self.leader), Text()]
            parts += [_tables(self.figures), Text(), _pairs(self.figures), Text(), _legend()]
        parts += [Text(), *(Text(line, style="dim" if line.startswith(" ") else "") for line in self.told)]
        if self.summary:
            parts += [Text(), _summary(self.summary)]
        return Group(*parts)


def _progress(figures: Figures, target: int, leader: str) -> Text:
    done = sum(number for reason, number in figures.conditions.items() if reason)
    text = Text("nodes ")
    text.append("█" * (BAR * done // max(target, 1)), style="green")
    text.append("░" * (BAR - BAR * done // max(target, 1)), style="dim")
    text.append(f" {done}/{target} ready   leader: {leader or 'nobody'}")
    return text


def _tables(figures: Figures) -> RenderableType:
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("route table of zone", "", "entries", "ours", "foreign", "highest ever"):
        grid.add_column(column)
    for fill in figures.fills:
        entries = f"{fill.ours + fill.foreign}/{LIMIT}"
        grid.add_row(fill.zone, _bar(fill), entries, str(fill.ours), str(fill.foreign), str(fill.highest))
    return grid


def _bar(fill: Fill) -> Text:
    scale = BAR / LIMIT
    ours, foreign = round(fill.ours * scale), round(fill.foreign * scale)
    bar = Text("█" * ours, style="green")
    bar.append("▒" * foreign, style="magenta")
    bar.append("·" * (BAR - ours - foreign), style="dim")
    return bar


def _pairs(figures: Figures) -> RenderableType:
    total = sum(figures.paths.values())
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("pairs of zones", *COLOURS, ""):
        grid.add_column(column, justify="left" if column in ("pairs of zones", "") else "right")
    for (one, other), counts in sorted(figures.pairs.items()):
        words = f"inside {one}" if one == other else f"{one} with {other}"
        grid.add_row(words, *(str(counts[path]) for path in COLOURS), _share(counts))
    grid.add_row(f"all {total}", *(str(figures.paths[path]) for path in COLOURS), _share(figures.paths), style="bold")
    return grid


def _share(counts: Counter[str]) -> Text:
    total = sum(counts.values())
    text = Text()
    for path, colour in COLOURS.items():
        text.append(SIGNS[path] * round(BAR * counts[path] / max(total, 1)), style=colour)
    return text


def _legend() -> Text:
    text = Text()
    for sign, style, words in (("█", "green", "ours"), ("▒", "magenta", "of others"), ("·", "dim", "free")):
        text.append(sign * 2, style=style)
        text.append(f" {words}   ")
    for path, colour in COLOURS.items():
        text.append(SIGNS[path] * 2, style=colour)
        text.append(f" {path}   ")
    return text


def _summary(rows: list[tuple[str, str]]) -> RenderableType:
    grid = Table(
        box=None, pad_edge=False, title="Measured", title_justify="left", title_style="bold", show_header=False
    )
    for what, figure in rows:
        grid.add_row(what, figure)
    return grid


def record(picture: Picture, path: str) -> None:
    """Save the picture as SVG. Raises CloudrouteError."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(picture)
    image = console.export_svg(title="cloudroute demo")
    # rich's SVG loads a font from a web site; any local monospace font is good enough.
    try:
        Path(path).write_text(re.sub(r"@font-face \{.*?\}", "", image, flags=re.DOTALL), encoding="utf-8")
    except OSError as error:
        raise CloudrouteError(f"--record {path}: can't write there: {error.strerror}") from error

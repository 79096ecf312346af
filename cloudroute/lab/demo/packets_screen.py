"""Display of the packet demo: the path between each two hosts, and the packets lost on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cloudroute.lab.demo.packets_count import Exchange, Tally
from cloudroute.lab.demo.screen import BAR, COLOURS, SIGNS, Picture


@dataclass(frozen=True)
class Fill:
    """Use of a route table: entries in its fuller family, and the limit."""

    zone: str
    entries: int
    limit: int


@dataclass
class PacketPicture(Picture):
    """Everything on the screen."""

    hosts: list[tuple[str, str]] = field(default_factory=list)
    """Name and zone of each host, in the order of the matrix."""
    exchange: Exchange | None = None
    fills: list[Fill] = field(default_factory=list)
    phases: list[tuple[str, Tally]] = field(default_factory=list)

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = [Text(self.title, style="bold")]
        if self.exchange:
            parts += [Text(), _matrix(self.exchange, self.hosts), Text(), _paths(self.exchange), Text()]
            parts += [_tables(self.fills), Text(), _phases(self.exchange, self.phases)]
        return Group(*parts, Picture(told=self.told, summary=self.summary))


def _matrix(exchange: Exchange, hosts: list[tuple[str, str]]) -> RenderableType:
    grid = Table(box=None, pad_edge=False, header_style="bold")
    grid.add_column("path, lost")
    for name, zone in hosts:
        grid.add_column(f"{name} {zone[-1]}", justify="right")
    for source, zone in hosts:
        grid.add_row(f"{source} {zone[-1]}", *(_cell(exchange, source, target) for target, _ in hosts))
    return grid


def _cell(exchange: Exchange, source: str, target: str) -> Text:
    if source == target:
        return Text("·", style="dim")
    path = exchange.paths.get((min(source, target), max(source, target)))
    lost = exchange.pairs.get((source, target), Tally()).lost
    text = Text(SIGNS[path] * 4 if path else "    ", style=COLOURS[path] if path else "")
    text.append(f" {lost:>5}", style="bold red" if lost else "dim")
    return text


def _paths(exchange: Exchange) -> Text:
    counts = Counter(exchange.paths.values())
    text = Text("pairs ")
    for path, colour in COLOURS.items():
        text.append(SIGNS[path] * round(BAR * counts[path] / max(counts.total(), 1)), style=colour)  # type: ignore[index]
    for path, colour in COLOURS.items():
        text.append(f"  {counts[path]} {path}", style=colour)  # type: ignore[index]
    return text


def _tables(fills: list[Fill]) -> Text:
    return Text(
        "route tables "
        + "   ".join(f"zone {fill.zone[-1]}: {fill.entries} entries, limit {fill.limit}" for fill in fills)
    )


def _phases(exchange: Exchange, phases: list[tuple[str, Tally]]) -> RenderableType:
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("phase", "sent", "lost between living pods"):
        grid.add_column(column, justify="left" if column == "phase" else "right")
    for name, tally in phases:
        grid.add_row(name, f"{tally.sent:,}", f"{tally.lost:,}")
    grid.add_row("all", f"{exchange.total.sent:,}", f"{exchange.total.lost:,}", style="bold")
    return grid

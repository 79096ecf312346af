"""Curves on two logarithmic axes as SVG: readable on light and dark pages, without colour, and by a screen reader."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 76, 560, 56, 346
"""Of the field; what is right of it is for the curves' names."""
LEADING = 17

_LIGHT = ("fbfcfd", "14202b", "52606d", "dde3e9", "1f5fa8", "a85c12", "2c7a4b")
_DARK = ("16191d", "e8edf2", "a3b0bd", "2d343b", "7fb4f0", "f0a860", "6fcf97")
_DASHES = ("", "9 4", "2.5 3.5")


@dataclass(frozen=True, slots=True)
class Line:
    """A curve with its name, points from left to right; all figures above 0. `thin` is one to compare with."""

    name: str
    points: Sequence[tuple[float, float]]
    thin: bool = False


def plot(title: str, unit: str, description: str, lines: Sequence[Line]) -> str:
    """A whole SVG; x is the number of nodes."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    across, up = _Axis(min(xs), max(xs), LEFT + 12, RIGHT - 12), _Axis(*_decades(ys), BOTTOM, TOP)
    parts = [*_grid(across, up, sorted(set(xs)))]
    ends: list[tuple[float, float, str, str]] = []
    number = 0
    for line in lines:
        kind = "thin" if line.thin else f"line{number % 3}"
        places = [(across.at(x), up.at(y)) for x, y in line.points]
        path = " L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'  <path class="{kind}" d="M{path}"/>\n')
        if not line.thin:
            parts.extend(_mark(number, x, y) for x, y in places)
            number += 1
        ends.append((places[-1][1], places[-1][0], line.name, kind))
    parts.extend(_names(ends))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="13" role="img"\n'
        '     font-family="ui-sans-serif, system-ui, sans-serif" aria-labelledby="title description">\n'
        f'  <title id="title">{escape(title)}</title>\n  <desc id="description">{escape(description)}</desc>\n'
        f"  <style>{_style()}  </style>\n"
        f'  <rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>\n'
        f'  <text class="title" x="{LEFT}" y="28">{escape(title)}, {escape(unit)}</text>\n'
        f'  <text class="soft" x="{(LEFT + RIGHT) / 2:g}" y="{HEIGHT - 14}" text-anchor="middle">nodes</text>\n'
        f"{''.join(parts)}</svg>\n"
    )


class _Axis:
    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = low, high
        self._start, self._scale = start, (end - start) / (math.log(high / low) or 1)

    def at(self, value: float) -> float:
        return self._start + math.log(value / self.low) * self._scale


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """Whole powers of ten around all values."""
    low, high = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
    return 10.0**low, 10.0 ** max(high, low + 1)


def _grid(across: _Axis, up: _Axis, xs: Sequence[float]) -> list[str]:
    parts = []
    for power in range(round(math.log10(up.low)), round(math.log10(up.high)) + 1):
        y = up.at(10.0**power)
        parts.append(f'  <path class="grid" d="M{LEFT} {y:.1f} H{RIGHT}"/>\n')
        parts.append(
            f'  <text class="soft" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{short(10.0**power)}</text>\n'
        )
    for value in xs:
        x = across.at(value)
        parts.append(f'  <path class="grid" d="M{x:.1f} {BOTTOM} v5"/>\n')
        parts.append(f'  <text class="soft" x="{x:.1f}" y="{BOTTOM + 20}" text-anchor="middle">{int(value):,}</text>\n')
    return parts


def _names(ends: Sequence[tuple[float, float, str, str]]) -> list[str]:
    """Each curve's name beside its end, none upon another."""
    parts, last = [], -math.inf
    ordered = sorted(ends, key=lambda end: end[0])
    room = BOTTOM + 8 - LEADING * (len(ordered) - 1)
    for index, (y, x, name, kind) in enumerate(ordered):
        place = last = max(min(y, room + LEADING * index), last + LEADING)
        parts.append(f'  <path class="lead" d="M{x + 6:.1f} {y:.1f} L{RIGHT + 6} {place:.1f}"/>\n')
        parts.append(f'  <text class="{kind}" x="{RIGHT + 10}" y="{place + 4:.1f}">{escape(name)}</text>\n')
    return parts


def _mark(number: int, x: float, y: float) -> str:
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6"/>',
        f'<rect x="{x - 3.3:.1f}" y="{y - 3.3:.1f}" width="6.6" height="6.6"/>',
        f'<path d="M{x:.1f} {y - 4.6:.1f} l4.4 7.6 h-8.8 z"/>',
    )
    return f'  <g class="mark{number % 3}">{shapes[number % 3]}</g>\n'


def short(value: float) -> str:
    """A figure in few characters.

    >>> [short(v) for v in (0.01, 1, 25, 1000, 2500, 10_000_000)]
    ['0.01', '1', '25', '1 k', '2.5 k', '10 M']
    """
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _style() -> str:
    def colours(shades: Sequence[str]) -> str:
        paper, ink, soft, grid, *hues = (f"#{shade}" for shade in shades)
        rules = [
            f".paper {{ fill: {paper}; }} text {{ fill: {ink}; }} .soft, text.thin {{ fill: {soft}; }}",
            f".grid, .lead {{ stroke: {grid}; }} path.thin {{ stroke: {soft}; }}",
        ]
        for number, hue in enumerate(hues):
            rules.append(f"path.line{number} {{ stroke: {hue}; }} text.line{number}, .mark{number} {{ fill: {hue}; }}")
        return "\n    ".join(rules)

    dashes = " ".join(f"path.line{n} {{ stroke-dasharray: {dash}; }}" for n, dash in enumerate(_DASHES) if dash)
    return f"""
    {colours(_LIGHT)}
    @media (prefers-color-scheme: dark) {{
    {colours(_DARK)}
    }}
    path {{ fill: none; }} .title {{ font-size: 15px; font-weight: 600; }} g path {{ fill: inherit; }}
    path.line0, path.line1, path.line2 {{ stroke-width: 2; }} path.thin {{ stroke-width: 1.2; stroke-dasharray: 1 3; }}
    {dashes} .soft, text.thin {{ font-size: 12px; }}
"""

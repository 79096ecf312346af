"""docs/performance.md and the data beside it: figures come from docs/performance/, and from nothing else.

The page's prose is written by hand. Text between `<!-- NAME -->` and `<!-- end -->` is written here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.docs.pages import ROOT

FOLDER = ROOT / "docs" / "performance"
PAGE = ROOT / "docs" / "performance.md"
Data = Mapping[str, Any]
PART = re.compile(r"(<!-- ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
"""Opening marker, name, and closing marker."""


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


def filled(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """The page with its parts as they are made now. Raises KeyError for a part that nobody makes."""
    return PART.sub(lambda found: f"{found[1]}{parts[found[2]]()}\n{found[3]}", text)


def machine_words(data: Data) -> str:
    """The day and the machine of a series."""
    facts = data["machine"]
    load = f" (load {facts['load']})" if "load" in facts else ""
    return f"{facts['day']}, {facts['cores']} cores{load}, Python {facts['python']}, {facts['system']}"


def figure(value: float, unit: str) -> str:
    """With its unit, "" for a count."""
    return f"{plain(value)} {unit}".rstrip()


def plain(value: float) -> str:
    """To three digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(head: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)

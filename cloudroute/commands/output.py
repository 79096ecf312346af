"""Results on stdout: a table for people, JSON or YAML for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

WIDE = 10_000
"""Columns where stdout is no terminal: nothing is cut or wrapped for a pipe."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings. `note` stands below."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def write_result(
    form: Literal["table", "json", "yaml"], data: Mapping[str, object] | Sequence[object], tables: Sequence[Table]
) -> None:
    """Write `data` for programs or `tables` for people."""
    if form == "json":
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
    elif form == "yaml":
        import yaml  # only here: start-up time

        sys.stdout.write(yaml.safe_dump(data, sort_keys=False))
    else:
        _write_tables(tables)
    sys.stdout.flush()


def _write_tables(tables: Sequence[Table]) -> None:
    import rich.box  # only here: start-up time
    import rich.console
    import rich.table

    console = rich.console.Console(
        file=sys.stdout, width=None if sys.stdout.isatty() else WIDE, highlight=False, markup=False, emoji=False
    )
    for index, table in enumerate(tables):
        if index:
            console.print()
        grid = rich.table.Table(box=None, pad_edge=False, header_style="bold")
        for column in table.columns:
            grid.add_column(column, overflow="fold")
        for row in table.rows:
            grid.add_row(*(_harmless(cell) or "-" for cell in row))
        console.print(grid)
        if table.note:
            console.print(table.note)


def _harmless(cell: str) -> str:
    """The same without what steers a terminal: an agent's words can be in it.

    >>> _harmless("KernelFailed: \\x1b[2J")
    'KernelFailed: \\\\x1b[2J'
    """
    from cloudroute.telemetry.logs import one_line  # only here: start-up time

    return "\n".join(map(one_line, cell.split("\n")))

"""Results on stdout: a table or lines for people, JSON or YAML for programs.

All commands write through this module. Text for people passes `one_line` here, so that names and messages from outside
can neither forge a line nor control the terminal; text for programs stays exact.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TextIO

from cloudroute.core.words import one_line

WIDE = 10_000
"""Width if stdout is no terminal: nothing is cut or wrapped for a pipe."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings, followed by `notes`, one per line."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def write_result(
    form: Literal["table", "json", "yaml"], data: Mapping[str, object] | Sequence[object], tables: Sequence[Table]
) -> None:
    """Write `data` for programs or `tables` for people."""
    if form == "json":
        write_exactly(json.dumps(data, indent=2) + "\n")
    elif form == "yaml":
        import yaml  # only here: start-up time

        write_exactly(yaml.safe_dump(data, sort_keys=False))
    else:
        _write_tables(tables)


def write_lines(lines: Iterable[str], stream: TextIO | None = None) -> None:
    """Write lines for people to `stream` (default: stdout); each stays a single line."""
    stream = stream or sys.stdout
    stream.writelines(f"{one_line(line)}\n" for line in lines)
    stream.flush()


def write_exactly(text: str) -> None:
    """Write to stdout without escaping: text for a program, or text that is entirely our own."""
    sys.stdout.write(text)
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
        grid = rich.table.Table(box=None, pad_edge=False, header_style="bold", show_header=bool(table.columns))
        for column in table.columns:
            grid.add_column(column, overflow="fold")
        for row in table.rows:
            grid.add_row(*(one_line(cell) or "-" for cell in row))
        console.print(grid)
        for note in table.notes:
            console.print(one_line(note))
    sys.stdout.flush()

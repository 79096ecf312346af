"""Findings as lines for people: by group, at most 100 columns wide."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from cloudroute.core.explain.doctor.findings import GROUPS, Finding, Group, State, counted
from cloudroute.core.words import one_line

WIDTH = 100
_STATES: tuple[State, ...] = ("ok", "warning", "failed", "not checked")
_STATE_WIDTH = len("not checked")
_LONGEST_NAME = 24
"""Widest column of names; a longer name gets a line of its own."""


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """The table: a line for each check; a warning or failure also has its reason and remedy. Last come the counts."""
    for group in GROUPS:
        members = [finding for finding in findings if finding.group == group]
        if members:
            yield from _group(group, members)
    counts = Counter(finding.state for finding in findings)
    parts = [f"{counts[state]} {state}" for state in _STATES if counts[state]]
    yield f"{counted(len(findings), 'check')}: {', '.join(parts)}"


def _group(group: Group, findings: Sequence[Finding]) -> Iterator[str]:
    yield group
    column = 2 + _STATE_WIDTH + 2
    width = min(_LONGEST_NAME, max(len(finding.check) for finding in findings))
    for (state, found, _), same in groupby(findings, key=_line_key):
        these = list(same)
        # Checks that were not done for the same reason share a line.
        name = ", ".join(finding.check for finding in these)
        rest = these[0]
        head = f"  {state:{_STATE_WIDTH}}  "
        if len(name) > width:
            yield from textwrap.wrap(head + name, WIDTH, subsequent_indent=" " * column, break_on_hyphens=False)
            head = ""
        else:
            head += f"{name:{width}}  "
        indent = column + width + 2
        yield from _cell(found, head, indent)
        if state in ("warning", "failed"):
            yield from _cell(f"Why: {rest.why}", "", indent)
            yield from _cell(f"To do: {rest.todo}", "", indent)
    yield ""


def _line_key(finding: Finding) -> tuple[State, str, str]:
    """Key by which findings share lines: only findings that were not checked for the same reason do."""
    return finding.state, finding.found, "" if finding.state == "not checked" else finding.check


def _cell(text: str, head: str, indent: int) -> Iterator[str]:
    first = head.ljust(indent) if head else " " * indent
    # Escaped before it is wrapped: an escape is longer, and a line break in untrusted text would pass for ours.
    yield from textwrap.wrap(
        one_line(text), WIDTH, initial_indent=first, subsequent_indent=" " * indent, break_on_hyphens=False
    ) or [first.rstrip()]

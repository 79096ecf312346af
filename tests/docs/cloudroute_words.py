"""The program's own parser, applied to a command line in a page."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from unittest import mock

from cloudroute import cli
from cloudroute.errors import UsageError

_PLACEHOLDER = re.compile(r"\$|[A-Z][A-Z0-9_-]{1,}\b|<\w+>|\.\.\.")
"""Placeholder for a reader's own value: $VPC, "$(hostname)", VPC_ID."""


def problems_of(words: Sequence[str], environment: Mapping[str, str] | None) -> Iterator[str]:
    """Problems of `cloudroute WORDS`, given these variables.

    Without any (None) it is a mention within a sentence: flags and arguments may be missing.
    """
    if not words or words[0] in ("-h", "--help", "--version", "...", "COMMAND"):
        return
    command, rest = cli._find(list(words))
    if command is None:
        if words[0] not in {known.name.split()[0] for known in cli.commands()} or len(words) > 1:
            yield f"cloudroute {' '.join(words[:2])}: no such command"
        return
    if "--help" in rest:
        return
    try:
        with mock.patch.dict(os.environ, environment or {}, clear=True):
            cli._invocation(command, rest)
    except UsageError as error:
        yield from (
            f"cloudroute {command.name}: {problem}" for problem in error.problems if _counts(problem, environment)
        )


def _counts(problem: str, environment: Mapping[str, str] | None) -> bool:
    if problem.startswith("--config ") and "can't be read" in problem:
        return False
    if environment is None and ("missing" in problem or "no value" in problem or ": expected" in problem):
        return False
    return not _PLACEHOLDER.search(problem.split(": ")[0].removeprefix("CLOUDROUTE_").split("=")[-1])

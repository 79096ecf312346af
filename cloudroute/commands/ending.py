"""The end of a command: errors as lines on stderr, and the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cloudroute.commands.output import write_lines
from cloudroute.errors import CloudrouteError, UsageError

DONE, FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130


def exit_code(run: Callable[[], int]) -> int:
    """Return the exit code of `run`, or the code of its CloudrouteError, whose lines go to stderr."""
    try:
        return run()
    except UsageError as error:
        write_lines((f"cloudroute: {problem}" for problem in error.problems), sys.stderr)
        return BAD_USAGE
    except CloudrouteError as error:
        first, *more = error.lines
        write_lines((f"cloudroute: {first}", *more), sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def no_lab(missing: str) -> UsageError:
    """Return the error of a command that needs the lab where this module or package is missing."""
    return UsageError(
        [
            f"the lab is not installed here ({missing} is missing): on a machine of your own, "
            "pip install 'cloudroute[lab]', or '.[lab]' in a checkout"
        ]
    )


@contextmanager
def lab_extra() -> Iterator[None]:
    """Turn a missing part or dependency of the lab into a UsageError."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise no_lab(str(error.name)) from error

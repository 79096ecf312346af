"""The end of a command: errors as lines on stderr, and the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

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

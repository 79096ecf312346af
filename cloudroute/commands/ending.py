"""How a command ends: what went wrong as words on stderr, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from cloudroute.errors import CloudrouteError, UsageError

DONE, FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130


def exit_code(run: Callable[[], int]) -> int:
    """What `run` returns, or what its CloudrouteError amounts to."""
    try:
        return run()
    except UsageError as error:
        for problem in error.problems:
            sys.stderr.write(f"cloudroute: {problem}\n")
        return BAD_USAGE
    except CloudrouteError as error:
        sys.stderr.write(f"cloudroute: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED

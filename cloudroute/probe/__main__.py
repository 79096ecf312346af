"""`python3 -m cloudroute.probe serve|ask|count|webhook`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

_PROGRAMS = ("ask", "count", "webhook")


def main(words: Sequence[str]) -> int:
    """Run the command; returns the exit code, 2 for bad usage."""
    if words[:1] == ["serve"]:
        from cloudroute.probe import serve

        return serve.main(words[1:])
    if len(words) == 1 and words[0] in _PROGRAMS:
        program = importlib.import_module(f"cloudroute.probe.{words[0]}")
        return int(program.main())
    sys.stderr.write(
        f"usage: python3 -m cloudroute.probe serve [--port PORT] [--until-eof] | {' | '.join(_PROGRAMS)}\n"
    )
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

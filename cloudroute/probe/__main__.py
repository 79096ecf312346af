"""`python3 -m cloudroute.probe serve|ask`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(words: Sequence[str]) -> int:
    """Run the command; returns the exit code, 2 for bad usage."""
    if words[:1] == ["serve"]:
        from cloudroute.probe import serve

        return serve.main(words[1:])
    if words == ["ask"]:
        from cloudroute.probe import ask

        return ask.main()
    sys.stderr.write("usage: python3 -m cloudroute.probe serve [--port PORT] [--until-eof] | ask\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m tests.soak`: soak, print, and end with 1 if anything speaks against anything."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom
from types import FrameType

from cloudroute.commands.output import write_result
from cloudroute.errors import CloudrouteError
from tests.measure.rows import say
from tests.soak.report import Report
from tests.soak.run import Soak

NAME = "soak"
INTERRUPTED = 130
"""As shells say it."""


def main(argv: Sequence[str] | None = None) -> int:
    """0 when all was well, 1 when not, 130 when it was well until it was ended by hand."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="for how long faults come (default: 20)")
    parser.add_argument("--seed", type=int, help="of the schedule of faults (default: another one each time)")
    parser.add_argument("--out", type=Path, help="a file to write the report to, as JSON")
    asked = parser.parse_args(argv)
    seed = SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        report = soak(NAME, seed, asked.minutes)
    except CloudrouteError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    write_result("table", {}, report.tables())
    if asked.out:
        asked.out.write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")
    if not report.good:
        return 1
    return INTERRUPTED if report.record.interrupted else 0


def soak(name: str, seed: int, minutes: float) -> Report:
    """Do it. Raises CloudrouteError when the lab can't be built."""
    say(f"seed {seed}: {minutes:g} minutes")
    run = Soak(name, seed, minutes, say)
    return Report(run.run(), run.live.exchange)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

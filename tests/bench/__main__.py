"""`python -m tests.bench`: measure, print, and end with 1 if a target was missed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from cloudroute.lab.kube.real import find_assets
from cloudroute.telemetry import setup_logging
from tests.bench import burst, counts, memory, plans, reaction
from tests.bench.replicas import Replicas
from tests.bench.rows import Row, machine, print_rows, say


def main(argv: Sequence[str] | None = None) -> int:
    """0 when every target was met, 1 when one was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="for people or for programs")
    parser.add_argument("--quick", action="store_true", help="only what is counted: seconds instead of minutes")
    asked = parser.parse_args(argv)
    setup_logging("text", "error")  # the controllers of this process log, and to stdout unless told otherwise
    facts = machine()
    skipped: list[str] = []
    rows = list(counts.measure() if asked.quick else _everything(skipped))
    print_rows(rows, facts, skipped, asked.output)
    return 0 if all(row.met for row in rows) else 1


def _everything(skipped: list[str]) -> Iterator[Row]:
    yield from reaction.measure(real=False)
    if find_assets():
        yield from reaction.measure(real=True)
    else:
        skipped.append("Node created to CreateRoute on a real kube-apiserver: run `make assets` first")
        say(skipped[-1])
    yield from plans.measure()
    yield from memory.measure()
    with Replicas() as replicas:
        # Virtual time and counts: these may share the machine with two processes that have nothing to do.
        yield from burst.measure()
        yield from counts.measure()
        yield from replicas.measure()


if __name__ == "__main__":
    sys.exit(main())

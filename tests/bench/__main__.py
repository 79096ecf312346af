"""`python -m tests.bench`: measure, print, and end with 1 if a target was missed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from cloudroute.lab.kube.real import find_assets
from cloudroute.telemetry import setup_logging
from tests.bench import agents, burst, counts, gateways, memory, plans, pods, reaction, report, throughput
from tests.bench.replicas import Replicas
from tests.measure.page import save
from tests.measure.rows import Row, machine, print_rows, say


def main(argv: Sequence[str] | None = None) -> int:
    """0 when every target was met, 1 when one was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="for people or for programs")
    parser.add_argument("--quick", action="store_true", help="only what is counted: seconds instead of minutes")
    parser.add_argument("--report", action="store_true", help="write what was measured into docs/performance.md")
    asked = parser.parse_args(argv)
    setup_logging("text", "error")  # the controllers of this process log, and to stdout unless told otherwise
    facts = machine()
    skipped: list[str] = []
    rows = list(counts.measure() if asked.quick else _everything(skipped))
    print_rows(rows, facts, skipped, asked.output)
    if asked.report:
        save("bench", {"machine": facts, "rows": [row.data() for row in rows], "skipped": skipped})
        report.write()
    return 0 if all(row.met for row in rows) else 1


def _everything(skipped: list[str]) -> Iterator[Row]:
    yield from reaction.measure(real=False)
    if find_assets():
        yield from reaction.measure(real=True)
    else:
        _skip(skipped, "Node created to CreateRoute on a real kube-apiserver", "run `make assets` first")
    yield from plans.measure()
    yield from gateways.measure()
    yield from memory.measure()
    yield from _with_hosts(skipped)
    with Replicas() as replicas:
        # Virtual time and counts: these may share the machine with two processes that have nothing to do.
        yield from burst.measure()
        yield from counts.measure()
        yield from replicas.measure()


def _with_hosts(skipped: list[str]) -> Iterator[Row]:
    if reason := agents.lacking():
        _skip(skipped, "the agent beside raw netlink, its memory and CPU, throughput by each path", reason)
        return
    yield from agents.measure()
    if reason := throughput.lacking():
        _skip(skipped, "throughput by each path", reason)
        return
    yield from throughput.measure()
    yield from pods.measure()


def _skip(skipped: list[str], what: str, reason: str) -> None:
    skipped.append(f"{what}: {reason}")
    say(skipped[-1])


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.scale`: measure every size, judge the curves, and write docs/performance/scale.json with `--write`.

Ends with 1 where a curve bends or a day harms somebody. `--most 3000` leaves the larger sizes out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from cloudroute.telemetry import setup_logging
from tests.bench import report
from tests.measure.page import save
from tests.measure.rows import machine, say
from tests.scale import curves, days, joins, process

DAYS = {"replacement": days.replacement, "outage": days.outage}
ONE = {**DAYS, "process": process.measure}
HARM = ("throttled", "unavailable", "unreached", "lost")


def main(argv: Sequence[str] | None = None) -> int:
    """0 when every curve grows at most linearly and nobody is harmed."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("--most", type=int, default=curves.SIZES[-1], help="nodes of the largest cluster")
    parser.add_argument("--write", action="store_true", help="write the data of docs/performance.md, and the page")
    parser.add_argument(
        "one", nargs="*", help="one measurement: NODES TABLES, or a day or `process` and NODES; JSON to stdout"
    )
    asked = parser.parse_args(argv)
    setup_logging("text", "error")
    if asked.one:
        what, number = asked.one
        figures = ONE[what](int(number)) if what in ONE else joins.measure(int(what), int(number))
        sys.stdout.write(json.dumps(figures))
        return 0
    return _everything(asked.most, write=asked.write)


def _everything(most: int, *, write: bool) -> int:
    data: dict[str, Any] = {"machine": machine(), "points": {}, "days": {}}

    def done() -> None:
        if write:  # each as it comes: all of them take hours
            save("scale", data)
            report.write()

    for nodes in filter(lambda size: size <= most, curves.SIZES):
        for tables in curves.TABLES:
            say(f"{nodes} nodes, {tables} table(s)")
            data["points"][f"{nodes}x{tables}"] = curves.run(str(nodes), str(tables))
            done()
    for nodes in filter(lambda size: size <= most, process.SIZES):
        say(f"{nodes} nodes, a process")
        data["points"][f"{nodes}x1"] |= curves.run("process", str(nodes))
        done()
    for day in DAYS:
        say(day)
        data["days"][day] = curves.run(day, "1000")
        done()
    return _judge(data)


def _judge(data: Mapping[str, Any]) -> int:
    bad = 0
    for curve, tables, slope, good in curves.judged(data["points"]):
        bad += not good
        sys.stdout.write(f"{curve.title}, {tables} table(s): N^{slope:.2f}{'' if good else ' BENDS'}\n")
    for day, figures in data["days"].items():
        harmed = {key: figures[key] for key in HARM if figures[key]}
        bad += bool(harmed)
        sys.stdout.write(f"{day}: {figures['seconds']:.0f} s, bound {figures['bound']:.0f} s, harmed: {harmed or 0}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

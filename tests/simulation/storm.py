"""Run scenarios of random faults: python -m tests.simulation.storm [--seeds N] [--from SEED] [--seed S --trace]."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.simulation.fault_plan import FaultPlan, plan_of
from tests.simulation.mutations import MUTATIONS
from tests.simulation.runner import Runner
from tests.simulation.scenario import Result

MOST = 2000
"""Number of scenarios within which every mutation must be found."""
FOUND = ("invariant", "it does not converge")
"""First words of a violation; any other problem is an exception."""


def say(words: str) -> None:
    """Print a line and flush."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def shrink(runner: Runner, plan: FaultPlan, result: Result) -> tuple[FaultPlan, Result]:
    """Leave out one fault after the other while the scenario still fails; returns the last plan that did."""
    index = 0
    while index < len(plan.faults):
        fewer = replace(plan, faults=plan.faults[:index] + plan.faults[index + 1 :])
        now = runner.run(fewer)
        if now.problem:
            plan, result = fewer, now
        else:
            index += 1
    return plan, result


def storm(runner: Runner, seeds: Sequence[int]) -> list[tuple[FaultPlan, Result]]:
    """Run the scenarios of these seeds and return those that failed."""
    failed = []
    start = time.monotonic()
    for count, (plan, result) in enumerate(runner.run_all(map(plan_of, seeds)), 1):
        if result.problem:
            failed.append((plan, result))
            say(f"seed {plan.seed}: {result.problem}")
        if count % 100 == 0 or count == len(seeds):
            say(f"{count} of {len(seeds)} seeds, {len(failed)} failed, {time.monotonic() - start:.0f} s")
    return failed


def explain(runner: Runner, plan: FaultPlan, result: Result) -> str:
    """The shrunk plan, the end of its trace, and the command that runs it again."""
    small, _ = shrink(runner, plan, result)
    again = runner.run(small, trace=True)
    kept = ",".join(str(plan.faults.index(fault)) for fault in small.faults)
    return "\n".join(
        [
            str(small),
            *again.lines[-60:],
            again.problem,
            f"again: python -m tests.simulation.storm --seed {plan.seed} --keep '{kept}' --trace",
        ]
    )


def find(runner: Runner, bug: Callable[[], None], first: int, most: int) -> tuple[int, str]:
    """Run up to `most` scenarios with a bug until one fails: their number and the violation, or 0 and ""."""
    runner.prepare = bug
    try:
        for count, (_, result) in enumerate(runner.run_all(map(plan_of, range(first, first + most))), 1):
            if result.problem.startswith(FOUND):
                return count, result.problem
            if result.problem:
                raise RuntimeError(f"{bug.__name__} does not run, so it can't be found: {result.problem}")
        return 0, ""
    finally:
        runner.prepare = lambda: None


def find_all(runner: Runner, names: Sequence[str], first: int) -> int:
    """Print the table of mutations as Markdown; returns how many were not found."""
    say("| bug | scenarios until caught | how |\n|---|---:|---|")
    missed = 0
    for name in names:
        count, problem = find(runner, MUTATIONS[name], first, MOST)
        missed += not count
        words = " ".join((MUTATIONS[name].__doc__ or name).split())
        say(f"| {words} | {count or f'not in {MOST}'} | {problem} |")
    return missed


def main() -> int:
    """Run the command; 0 when all invariants held in every scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="number of scenarios")
    parser.add_argument("--from", type=int, default=None, dest="first", help="first seed; the clock's by default")
    parser.add_argument("--seed", type=int, help="run this scenario alone")
    parser.add_argument("--keep", help="numbers of the faults to keep of --seed, as a failure prints them")
    parser.add_argument("--trace", action="store_true", help="print each write, fault and log line of --seed")
    parser.add_argument("--mutations", nargs="*", help="put bugs in, all or these, and print how soon each is found")
    parser.add_argument("--explain", type=int, default=1, help="number of failures to shrink")
    given = parser.parse_args()
    runner = Runner()
    if given.seed is not None:
        plan = plan_of(given.seed)
        if given.keep is not None:
            kept = [int(number) for number in given.keep.split(",") if number]
            plan = replace(plan, faults=tuple(plan.faults[number] for number in kept))
        result = runner.run(plan, trace=given.trace)
        say("\n".join([str(plan), *result.lines, result.problem or "all is well", f"digest {result.digest}"]))
        return 1 if result.problem else 0
    if given.mutations is not None:
        return min(1, find_all(runner, given.mutations or list(MUTATIONS), given.first or 0))
    first = given.first if given.first is not None else int(time.time()) * 1000
    say(f"seeds {first} to {first + given.seeds - 1}")
    failed = storm(runner, range(first, first + given.seeds))
    for plan, result in failed[: given.explain]:
        say("\n" + explain(runner, plan, result))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

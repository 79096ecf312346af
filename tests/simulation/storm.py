"""Tell stories, as many as one likes: python -m tests.simulation.storm [--seeds N] [--from SEED] [--seed S --story]."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.simulation.mutations import MUTATIONS
from tests.simulation.stage import Stage
from tests.simulation.story import Result
from tests.simulation.weather import Plan, plan_of

MOST = 2000
"""Stories within which every bug must be found."""
FOUND = ("invariant", "it does not come to rest")
"""How the words of a violation begin."""


def say(words: str) -> None:
    """Print, at once."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def shrink(stage: Stage, plan: Plan, result: Result) -> tuple[Plan, Result]:
    """The fewest deeds with which it still fails."""
    index = 0
    while index < len(plan.deeds):
        fewer = replace(plan, deeds=plan.deeds[:index] + plan.deeds[index + 1 :])
        now = stage.tell(fewer)
        if now.problem:
            plan, result = fewer, now
        else:
            index += 1
    return plan, result


def storm(stage: Stage, seeds: Sequence[int], report: bool = True) -> list[tuple[Plan, Result]]:
    """Tell the stories of these seeds; those that failed, with why."""
    failed = []
    start = time.monotonic()
    for count, (plan, result) in enumerate(stage.tell_all(map(plan_of, seeds)), 1):
        if result.problem:
            failed.append((plan, result))
            if report:
                say(f"seed {plan.seed}: {result.problem}")
        if report and (count % 100 == 0 or count == len(seeds)):
            say(f"{count} of {len(seeds)} seeds, {len(failed)} failed, {time.monotonic() - start:.0f} s")
    return failed


def explain(stage: Stage, plan: Plan, result: Result) -> str:
    """The minimal story, and how to tell it again."""
    small, _ = shrink(stage, plan, result)
    told = stage.tell(small, tells=True)
    kept = ",".join(str(plan.deeds.index(deed)) for deed in small.deeds)
    return "\n".join(
        [
            str(small),
            *told.lines[-60:],
            told.problem,
            f"again: python -m tests.simulation.storm --seed {plan.seed} --keep '{kept}' --story",
        ]
    )


def hunt(stage: Stage, bug: Callable[[], None], first: int, most: int) -> tuple[int, str]:
    """How many stories it takes until one fails with this bug, and how it fails; 0 when none of `most` does."""
    stage.prepare = bug
    try:
        for count, (_, result) in enumerate(stage.tell_all(map(plan_of, range(first, first + most))), 1):
            if result.problem.startswith(FOUND):
                return count, result.problem
            if result.problem:
                raise RuntimeError(f"{bug.__name__} is no bug of ours but one of its own: {result.problem}")
        return 0, ""
    finally:
        stage.prepare = lambda: None


def hunt_all(stage: Stage, names: Sequence[str], first: int) -> int:
    """The table of mutations, as Markdown. How many were not found."""
    say("| bug | stories until caught | how |\n|---|---:|---|")
    missed = 0
    for name in names:
        count, problem = hunt(stage, MUTATIONS[name], first, MOST)
        missed += not count
        words = " ".join((MUTATIONS[name].__doc__ or name).split())
        say(f"| {words} | {count or f'not in {MOST}'} | {problem} |")
    return missed


def main() -> int:
    """0 when all invariants held in every story."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from", type=int, default=None, dest="first")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--keep", help="numbers of the deeds to keep, as a failure prints them")
    parser.add_argument("--story", action="store_true")
    parser.add_argument("--mutations", nargs="*", help="put bugs in, all or these, and tell how soon each is found")
    parser.add_argument("--explain", type=int, default=1, help="how many failures to shrink")
    given = parser.parse_args()
    stage = Stage()
    if given.seed is not None:
        plan = plan_of(given.seed)
        if given.keep is not None:
            kept = [int(number) for number in given.keep.split(",") if number]
            plan = replace(plan, deeds=tuple(plan.deeds[number] for number in kept))
        result = stage.tell(plan, given.story)
        say("\n".join([str(plan), *result.lines, result.problem or "all is well", f"digest {result.digest}"]))
        return 1 if result.problem else 0
    if given.mutations is not None:
        return min(1, hunt_all(stage, given.mutations or list(MUTATIONS), given.first or 0))
    first = given.first if given.first is not None else int(time.time()) * 1000
    say(f"seeds {first} to {first + given.seeds - 1}")
    failed = storm(stage, range(first, first + given.seeds))
    for plan, result in failed[: given.explain]:
        say("\n" + explain(stage, plan, result))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

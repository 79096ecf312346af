"""The storm in CI: fresh seeds in each run, and the same trace from the same seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEEDS = 150


def python(*arguments: str, hash_seed: str = "random") -> str:
    """Output of a process of its own, which must end with 0: the storm forks, so no other thread may run beside it."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    return done.stdout


def test_all_invariants_hold_in_fresh_scenarios() -> None:
    assert f"{SEEDS} of {SEEDS} seeds, 0 failed" in python("-m", "tests.simulation.storm", "--seeds", str(SEEDS))


def test_a_seed_gives_the_same_trace_in_any_process() -> None:
    assert python("-c", TRACES, hash_seed="1") == python("-c", TRACES, hash_seed="2")


def test_a_failure_is_shrunk_to_faults_of_which_each_is_needed_and_fails_alike_again() -> None:
    python("-c", SHRINK)


TRACES = """
from tests.simulation.fault_plan import plan_of
from tests.simulation.runner import Runner

runner = Runner()
for seed in (7, 100214, 200003):
    result = runner.run(plan_of(seed), trace=True)
    assert result.lines and not result.problem, result
    print(*result.lines, result.digest, sep="\\n")
"""
SHRINK = """
from dataclasses import replace
from tests.simulation.fault_plan import plan_of
from tests.simulation.mutations import MUTATIONS
from tests.simulation.runner import Runner
from tests.simulation.storm import shrink

runner = Runner()
runner.prepare = MUTATIONS["no_drain"]
plans = [plan_of(seed) for seed in range(1000)]
ended = runner.run_all(plan for plan in plans if len(plan.faults) > 3)
plan, result = next((plan, result) for plan, result in ended if result.problem)
small, failed = shrink(runner, plan, result)
assert 0 < len(small.faults) < len(plan.faults), small
assert runner.run(small) == failed
for fault in small.faults:
    assert not runner.run(replace(small, faults=tuple(other for other in small.faults if other is not fault))).problem
"""

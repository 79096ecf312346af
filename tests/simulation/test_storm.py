"""The storm in CI: fresh seeds each time, and that the same seed tells the same story."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEEDS = 1000


def storm(*arguments: str, hash_seed: str = "random") -> str:
    """What a storm in a process of its own prints; its stories are forks, which want no other thread beside them."""
    return python("-m", "tests.simulation.storm", *arguments, hash_seed=hash_seed)


def python(*arguments: str, hash_seed: str = "random") -> str:
    """What a program prints that ends with 0."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    return done.stdout


def test_all_invariants_hold_in_a_thousand_stories_that_nobody_has_told_before() -> None:
    assert f"{SEEDS} of {SEEDS} seeds, 0 failed" in storm("--seeds", str(SEEDS))


def test_a_seed_tells_the_same_story_in_any_process() -> None:
    for seed in ("7", "100214", "200003"):
        assert storm("--seed", seed, "--story", hash_seed="1") == storm("--seed", seed, "--story", hash_seed="2")


def test_a_failure_is_shrunk_to_deeds_of_which_each_is_needed_and_fails_alike_again() -> None:
    python("-c", SHRINK)


SHRINK = """
from dataclasses import replace
from tests.simulation.mutations import MUTATIONS
from tests.simulation.stage import Stage
from tests.simulation.storm import shrink
from tests.simulation.weather import plan_of

stage = Stage()
stage.prepare = MUTATIONS["no_drain"]
plans = [plan_of(seed) for seed in range(1000)]
plan, result = next(told for told in stage.tell_all(plan for plan in plans if len(plan.deeds) > 3) if told[1].problem)
small, failed = shrink(stage, plan, result)
assert 0 < len(small.deeds) < len(plan.deeds), small
assert stage.tell(small) == failed
for deed in small.deeds:
    assert not stage.tell(replace(small, deeds=tuple(other for other in small.deeds if other is not deed))).problem
"""

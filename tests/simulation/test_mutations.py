"""The storm finds every bug that is put in on purpose."""

from __future__ import annotations

from tests.simulation.test_storm import python


def test_every_mutation_is_found() -> None:
    """Each within 2,000 scenarios."""
    python("-c", FIND)


FIND = """
from tests.simulation.mutations import MUTATIONS
from tests.simulation.runner import Runner
from tests.simulation.storm import MOST, find

FIRST = {"fence_before_the_lookup": 220, "own_writes_forgotten": 240}  # 0 needs 230 to 250 scenarios of each
runner = Runner()
for name, bug in MUTATIONS.items():
    count, _ = find(runner, bug, FIRST.get(name, 0), MOST)
    assert count, name
"""

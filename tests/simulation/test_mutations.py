"""The storm finds every bug that is put in on purpose."""

from __future__ import annotations

from tests.simulation.test_storm import python


def test_every_mutation_is_found() -> None:
    """Each within 2,000 scenarios from the seed that found it last; `storm --mutations` searches from seed 0."""
    python("-c", FIND)


FIND = """
from tests.simulation.mutations import FOUND_BY, MUTATIONS
from tests.simulation.runner import Runner
from tests.simulation.storm import MOST, find

runner = Runner()
for name, bug in MUTATIONS.items():
    count, _ = find(runner, bug, FOUND_BY.get(name, 0), MOST)
    assert count, name
"""

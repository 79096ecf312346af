"""The storm finds every bug that is put in on purpose."""

from __future__ import annotations

from tests.simulation.mutations import MUTATIONS
from tests.simulation.test_storm import storm


def test_every_mutation_is_found() -> None:
    """The command fails where one is not found within 2,000 scenarios."""
    table = storm("--mutations", "--from", "0").splitlines()
    assert len(table) == len(MUTATIONS) + 2, "\n".join(table)

"""The capacity tables of docs/operations.md are those of the planner."""

from __future__ import annotations

import pytest

from cloudroute.core.cluster.model import DirectRouting
from cloudroute.core.paths import Class
from tests.docs_guides import capacity
from tests.docs_guides.pages import read


def test_the_page_holds_what_the_program_prints() -> None:
    """The page holds the program's output. If not: python -m tests.docs_guides.capacity"""
    assert capacity.tables() in read("operations")


@pytest.mark.parametrize("mode", capacity.MODES)
@pytest.mark.parametrize("zones", [1, 3])
def test_a_plan_is_what_comes_of_it(zones: int, mode: DirectRouting) -> None:
    """The grants of one plan equal the final state, past the limit as well."""
    for nodes in (7, 20):
        assert capacity.planned(nodes, zones, 10, mode) == capacity.settled(nodes, zones, 10, mode)


@pytest.mark.parametrize("zones", [2, 3])
def test_always_has_the_same_largest_cluster_as_auto(zones: int) -> None:
    """`always` and `auto` need the overlay from the same number of nodes on."""
    assert capacity.largest(zones, 50, "always") == capacity.largest(zones, 50, "auto")


def test_pairs_are_counted_once() -> None:
    """Of two nodes on a subnet and one elsewhere: one direct pair, two by the overlay."""
    near, far = Class("rtb-a", "subnet-a", ()), Class("rtb-b", "subnet-b", ())
    assert capacity.pairs([near, far, near]) == {"direct": 1, "overlay": 2}

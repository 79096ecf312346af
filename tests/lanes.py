"""Lanes for `make test`: a folder's tests run in one worker, in their order, so that what they share is made once.

Hosts of two folders can be up at the same time: the names of their network namespaces, cgroups and files in /run begin
with their lab's name, which no other folder has, and links are made inside the namespaces.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

SLOWEST = (
    "cluster",
    "packets",
    "lab/hosts",
    "controller",
    "deploy",
    "terraform",
    "policies",
    "soak",
    "simulation",
    "release",
    "contract",
    "page",
    "moving",
    "cli",
    "security",
)
"""Folders that begin first, by the minutes that they take; `deploy` when `cluster` has built the image."""

NICE = 2
"""By which all workers step back but the one with the longest lane: all others end before that one does."""


def lane(nodeid: str) -> str:
    """Return the group of a test.

    >>> lane("tests/packets/test_repair.py::test_x"), lane("tests/core/test_ipam.py::test_x[a/b]")
    ('packets', 'core')
    """
    return nodeid.partition("::")[0].rpartition("/")[0].removeprefix("tests/")


class Lanes(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """A lane's tests run in one worker, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        return lane(nodeid)


def sort(items: list[pytest.Item]) -> None:
    """The slowest lanes first."""
    order = {folder: place for place, folder in enumerate(SLOWEST)}
    items.sort(key=lambda item: order.get(lane(item.nodeid), len(order)))

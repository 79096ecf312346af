"""Two lanes for `make test`, side by side: what needs hosts, which takes longest and so begins first; and the rest.

Hosts have fixed names, and the images are built once: that is one lane. A folder of the rest is not torn apart, so that
what its tests share is made once.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

HOSTS = tuple(
    f"tests/{folder}/" for folder in ("packets", "moving", "cluster", "soak", "lab/hosts", "release", "deploy")
)


def lane(nodeid: str) -> str:
    """What a test goes with.

    >>> lane("tests/packets/test_repair.py::test_x"), lane("tests/core/test_ipam.py::test_x[a/b]")
    ('hosts', 'tests/core')
    """
    path = nodeid.partition("::")[0]
    return "hosts" if path.startswith(HOSTS) else path.rpartition("/")[0]


class Lanes(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """A lane's tests run in one worker, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        return lane(nodeid)


def sort(items: list[pytest.Item]) -> None:
    """Hosts first."""
    items.sort(key=lambda item: lane(item.nodeid) != "hosts")

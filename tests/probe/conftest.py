"""The hosts that all tests of questions share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudroute.types import FAMILIES, Family
from tests.hosts import require_netns, require_nftables
from tests.probe.net import Net, net


@pytest.fixture(scope="session")
def hosts() -> Iterator[Net]:
    require_netns()
    require_nftables()
    with net() as made:
        yield made


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found

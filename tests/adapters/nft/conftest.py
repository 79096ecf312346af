"""A host in a network namespace of its own, and the adapter on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudroute.adapters.nft.client import Nft
from tests.hosts import Namespace, require_netns, require_nftables


@pytest.fixture
def require_nft() -> None:
    require_netns()
    require_nftables()


@pytest.fixture
def host(require_nft: None) -> Iterator[Namespace]:
    """A namespace that this thread and the processes that it starts are in until the test ends."""
    with Namespace("crnf-") as host, host.inside():
        yield host


@pytest.fixture
def nft(host: Namespace) -> Iterator[Nft]:
    adapter = Nft()
    yield adapter
    assert adapter.dead() == ""
    adapter.close()

"""Tests here need root, network namespaces, nftables and the CNI plugins."""

from __future__ import annotations

import pytest

from tests.hosts import require_cni, require_netns, require_nftables


@pytest.fixture(scope="session", autouse=True)
def _parts() -> None:
    require_netns()
    require_nftables()
    require_cni()

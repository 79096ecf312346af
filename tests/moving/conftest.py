"""Tests here need root, network namespaces, nftables, iptables and the CNI plugins, where they send packets."""

from __future__ import annotations

import shutil

import pytest

from tests.hosts import require_cni, require_netns, require_nftables
from tests.required import lacking


@pytest.fixture(scope="session")
def parts() -> None:
    require_netns()
    require_nftables()
    require_cni()
    if shutil.which("iptables") is None:
        lacking("nftables")

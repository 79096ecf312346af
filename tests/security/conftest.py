"""Fixtures and settings shared with other tests: Hypothesis profiles, a real API server, a host with nftables."""

from __future__ import annotations

from tests.adapters.nft.conftest import host, nft, require_nft
from tests.core import conftest as hypothesis_profiles
from tests.deploy.conftest import cluster
from tests.deploy.test_admission import policed

__all__ = ["cluster", "host", "hypothesis_profiles", "nft", "policed", "require_nft"]

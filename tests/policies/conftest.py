"""One lab for all tests of network policies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from cloudroute.lab.kube.real import find_assets
from tests.deploy.conftest import CHART, VALUES, Run, helm
from tests.hosts import require_cni, require_netns, require_nftables
from tests.policies.lab import PolicyLab, populated
from tests.required import lacking

__all__ = ["helm"]


@pytest.fixture(scope="session")
def lab(helm: Run) -> Iterator[PolicyLab]:
    """All policies are enforced by the chart's enforcers, and all servers answer."""
    require_netns()
    require_nftables()
    require_cni()
    assets = find_assets(["netpol"])
    if assets is None:
        lacking("policies")
    if find_assets() is None:
        lacking("apiserver")
    answer = helm(
        "template",
        "cloudroute",
        str(CHART),
        "--namespace",
        "cloudroute",
        *VALUES,
        "--set",
        "networkPolicies.enabled=true",
    )
    assert answer.returncode == 0, answer.stderr
    chart = [one for one in yaml.safe_load_all(answer.stdout) if one]
    with populated("policies", chart, assets / "netpol") as lab:
        yield lab

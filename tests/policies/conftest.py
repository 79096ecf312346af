"""One lab for all tests of network policies, with the chart's enforcers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudroute.lab.kube.real import find_assets
from tests.deploy.conftest import CHART, VALUES, Run, helm
from tests.hosts import require_cni, require_netns, require_nftables
from tests.policies.lab import PolicyLab, populated
from tests.required import lacking

__all__ = ["helm"]

Chart = Callable[..., list[Any]]
"""Documents of the chart with network policies switched on and these values."""


@pytest.fixture(scope="session")
def program() -> Path:
    """The enforcer."""
    require_netns()
    require_nftables()
    assets = find_assets(["netpol"])
    if assets is None:
        lacking("policies")
    return assets / "netpol"


@pytest.fixture(scope="session")
def chart(helm: Run) -> Chart:
    """The chart, rendered."""

    def render(*values: str) -> list[Any]:
        words = [word for value in ("networkPolicies.enabled=true", *values) for word in ("--set", value)]
        answer = helm("template", "cloudroute", str(CHART), "--namespace", "cloudroute", *VALUES, *words)
        assert answer.returncode == 0, answer.stderr
        return [one for one in yaml.safe_load_all(answer.stdout) if one]

    return render


@pytest.fixture(scope="session")
def lab(chart: Chart, program: Path) -> Iterator[PolicyLab]:
    """All policies are enforced by the chart's enforcers, and all servers answer."""
    require_cni()
    if find_assets() is None:
        lacking("apiserver")
    with populated("policies", chart(), program) as lab:
        yield lab

"""A short soak, as `make soak` does a long one; needs what the tests with packets need, and a real kube-apiserver."""

from __future__ import annotations

import subprocess

import pytest

from cloudroute.lab.hosts.netns import leftovers
from cloudroute.lab.hosts.teardown import folder_of, prefix_of
from cloudroute.lab.kube.real import find_assets
from tests.hosts import require_cni, require_netns, require_nftables
from tests.required import lacking
from tests.soak.__main__ import soak
from tests.soak.report import Report
from tests.soak.run import FEWEST

SEED, MINUTES = 4, 0.5
NAME = "soaktest"


@pytest.fixture(scope="module", autouse=True)
def _parts() -> None:
    require_netns()
    require_nftables()
    require_cni()
    if find_assets() is None:
        lacking("apiserver")


@pytest.fixture(scope="module")
def report() -> Report:
    """Of half a minute."""
    return soak(NAME, SEED, MINUTES)


def test_nothing_speaks_against_anything(report: Report) -> None:
    assert report.good, [(verdict.claim, verdict.against) for verdict in report.verdicts if not verdict.good]


def test_it_has_shown_something(report: Report) -> None:
    """Faults came, paths changed, and packets of every class were under way."""
    assert len(report.record.bills) > FEWEST  # the last puts all back
    assert report.exchange.sent.total() > 25_000
    assert {family for family, _ in report.exchange.sent} == {"ipv4", "ipv6"}
    assert report.exchange.tcp_bytes > 0
    assert {"agent", "leader", "standby"} == {sample.role for sample in report.record.samples}


def test_nothing_is_left(report: Report) -> None:
    assert report.record.left_on_machine == []
    assert not leftovers(prefix_of(NAME))
    assert not folder_of(NAME).exists()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(folder_of(NAME)) not in running

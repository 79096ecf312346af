"""The real systemd-networkd takes away what it has not made itself: it is back within a second, and stays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudroute.adapters import networkd
from cloudroute.core.explain.doctor import facts
from tests.packets.networkd import AL2023, BINARY, DEFAULTS, Networkd, require_networkd
from tests.packets.peers import back, kept, ready, with_peers
from tests.packets.solo import Solo

AWAY_SECONDS = 5.0
CALM_SECONDS = 2.0
"""Within which a program that undoes repairs would have done so."""
NEXTHOPS, ROUTES = {"nexthop id"}, {"route dst"}


@pytest.fixture(autouse=True)
def _parts() -> None:
    require_networkd()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Solo]:
    with with_peers(tmp_path) as host:
        yield host


@pytest.mark.parametrize(
    ("settings", "taken"), [(DEFAULTS, NEXTHOPS | ROUTES), (AL2023, NEXTHOPS)], ids=["defaults", "AL2023"]
)
def test_a_restart_is_repaired_within_a_second(host: Solo, tmp_path: Path, settings: str, taken: set[str]) -> None:
    """It removes the nexthops of its NIC, and by its defaults the routes, once: it does not undo the repair."""
    with Networkd(host.namespace, settings, tmp_path / "networkd.log") as networkd, host.agent():
        before = ready(host)
        networkd.stop()
        networkd.start()
        back(host, before)
        removed = networkd.removed()
        assert {one.split(":")[0] for one in removed} == taken
        time.sleep(CALM_SECONDS)
        assert (kept(host), networkd.removed()) == (before, removed)


@pytest.mark.parametrize(
    ("settings", "off"), [(DEFAULTS, set()), (AL2023, {"ManageForeignRoutes", "ManageForeignRoutingPolicyRules"})]
)
def test_doctor_reads_its_version_and_settings(host: Solo, tmp_path: Path, settings: str, off: set[str]) -> None:
    """Of the one that is at work in this network, as it sees its own files."""
    with host.namespace.inside():
        assert not isinstance(networkd.look(), facts.Networkd)
    with Networkd(host.namespace, settings, tmp_path / "networkd.log"), host.namespace.inside():
        found = networkd.look()
        assert isinstance(found, facts.Networkd)
        assert host.namespace.run(BINARY, "--version").startswith(f"systemd {found.version} ")
        assert found.off == off


def test_a_carrier_that_returns(host: Solo, tmp_path: Path) -> None:
    """It takes the NIC's addresses and default routes away with the carrier, and gives them back with it."""
    with Networkd(host.namespace, AL2023, tmp_path / "networkd.log"), host.agent():
        before = ready(host)
        host.namespace.run("ip", "link", "set", "vpc0", "down")
        host.wait(lambda: host.status().get("reason") == "Interface")
        time.sleep(AWAY_SECONDS)
        host.namespace.run("ip", "link", "set", "vpc0", "up")
        back(host, before)
        host.wait(lambda: bool(host.status().get("ready")))

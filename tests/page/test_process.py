"""Real controller processes serve the page, the leader and the standby, and with --status-page off neither does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.controller.servers import Controller, servers
from tests.page.chrome import chrome
from tests.waiting import eventually


def status_of(process: Controller) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(process.get("/api/status")[1])
    return status


def test_leader_and_standby_show_who_they_are(tmp_path: Path) -> None:
    """The leader's page shows nodes as they join, the standby's the leader's identity."""
    with servers(tmp_path) as world, chrome() as tab:
        leader, standby = world.pair()
        tab.go(leader.url)
        machines = [world.join(f"node-{number}", number % 2) for number in range(4)]
        eventually(lambda: world.routed(*machines), "the nodes are routed")
        tab.until(lambda: tab.text("#found") == "4 nodes", "the nodes")
        holder = world.lease["holderIdentity"]
        status = status_of(leader)
        assert (status["leader"], status["identity"], status["holder"]) == (True, holder, holder)
        status = status_of(standby)
        assert (status["leader"], status["holder"]) == (False, holder)
        assert status["identity"] != holder
        tab.go(standby.url)
        assert f"{holder} leads" in tab.text("#standby")
        assert tab.complaints == []


def test_off_switches_both_off(tmp_path: Path) -> None:
    """With --status-page off page and JSON answer 404; probes and metrics stay."""
    with servers(tmp_path) as world:
        process = world.start("--status-page=off")
        eventually(lambda: process.leads, "the process leads")
        assert [process.get(path)[0] for path in ("/", "/api/status", "/healthz", "/metrics")] == [404, 404, 200, 200]

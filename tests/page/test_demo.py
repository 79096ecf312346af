"""The page of the demo's leader, in a real browser: controller processes, and nothing of them is a test's."""

from __future__ import annotations

import time
from collections.abc import Callable

from cloudroute.lab.demo.stage import Replica, Stage
from tests.page.chrome import Tab

PATIENCE_SECONDS = 60


def eventually(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def leader(stage: Stage) -> Replica:
    eventually(stage.leader, "nobody leads")
    found = stage.leader()
    assert found
    return found


def test_the_leader_shows_what_happens_and_so_does_its_heir(tab: Tab) -> None:
    with Stage() as stage:
        first = leader(stage)
        tab.go(first.page)
        for zone in stage.vpc.zones:
            stage.join(zone, 4)
        eventually(lambda: tab.text("#found") == "12 nodes", "the nodes are not on the page, which is not loaded again")
        assert tab.count("#tables-body tbody tr") == len(stage.vpc.zones)
        tab.call("Page.navigate", url="about:blank")  # what it says of a leader that is gone is another test's
        stage.kill(first)
        second = leader(stage)
        assert second.page != first.page
        tab.go(second.page)
        eventually(lambda: tab.text("#found") == "12 nodes", "the heir does not show them")

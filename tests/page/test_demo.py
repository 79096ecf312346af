"""The page of the demo's leader in a real browser, served by controller processes."""

from __future__ import annotations

from cloudroute.lab.demo.stage import Stage
from cloudroute.lab.replica import Replica
from tests.page.chrome import Tab
from tests.waiting import eventually


def leader(stage: Stage) -> Replica:
    found = eventually(stage.leader, "one leads")
    assert found
    return found


def twelve(tab: Tab) -> bool:
    return tab.text("#found") == "12 nodes"


def test_the_leader_shows_what_happens_and_so_does_its_heir(tab: Tab) -> None:
    with Stage() as stage:
        first = leader(stage)
        tab.go(first.page)
        for zone in stage.vpc.zones:
            stage.join(zone, 4)
        eventually(lambda: twelve(tab), "the nodes are on the page, which is not loaded again")
        assert tab.count("#tables-body tbody tr") == len(stage.vpc.zones)
        tab.leave()  # its message about a leader that is gone is covered by another test
        stage.kill(first)
        second = leader(stage)
        assert second.page != first.page
        tab.go(second.page)
        eventually(lambda: twelve(tab), "the heir shows them")

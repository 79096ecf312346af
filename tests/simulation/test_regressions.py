"""Stories in which something of cloudroute, or of what judges it, was once wrong: told again, they end well.

The same seed tells another story once something asks for chance at another moment. So what was wrong in cloudroute has
a test of its own beside what it was in, too.
"""

from __future__ import annotations

from tests.simulation.test_storm import python

STORIES = {
    # The Lease was deleted while the standby could not read: two leaders wrote at once.
    1795710487588: "0,1,2,3",
    # Somebody led a route elsewhere that we had replaced and not yet seen so: it was taken for ours, and deleted.
    1795710486989: "0,1",
    1795710487385: "4,5",
    1795710489860: "0,1,2",
    # Judged wrongly: a CIDR that was claimed while its owner's write was on its way; a standby that was started with
    # another --route-limit; EC2 that shows, or has just shown, what was long ago; a check that somebody switched on,
    # or a route that somebody removed, just after we had written it; a node that registers anew after its CIDR was
    # claimed.
    1795705620789: "1,2,3,5",
    1795710486396: "0,1,2",
    1795710488062: "2,3",
    1795711445718: "0,1,2",
    1795718461965: "0,2,3",
    1795729996818: "0,1",
    1795738668607: "0,1,2,3,4,5",
    1795738669205: "0,1,2,3,4,5",
    1795738972983: "0,1",
}


def test_they_end_well() -> None:
    python("-c", TELL.format(stories=STORIES))


TELL = """
from dataclasses import replace
from tests.simulation.stage import Stage
from tests.simulation.weather import plan_of

stage = Stage()
for seed, kept in {stories}.items():
    plan = plan_of(seed)
    plan = replace(plan, deeds=tuple(plan.deeds[int(number)] for number in kept.split(",")))
    result = stage.tell(plan)
    assert not result.problem, (seed, result.problem)
"""

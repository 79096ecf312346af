"""The Deployment is rolled with another pool while other things go wrong, too: no story loses a packet."""

from __future__ import annotations

from tests.simulation.test_storm import python


def test_controllers_with_another_pool_write_nothing_and_the_right_ones_go_on() -> None:
    """They end with 2 as often as they are started, the Lease is not theirs, and all comes to rest afterwards."""
    assert "ends with 2" in python("-c", TELL)


TELL = """
from tests.simulation.setup import Setup
from tests.simulation.stage import Stage
from tests.simulation.weather import Deed, Plan

POOL = Deed(10, "pool", seconds=25)
OTHERS = (
    (), (Deed(15, "join", 0.3),), (Deed(12, "crash", 0.2),), (Deed(9, "api down", seconds=10),),
    (Deed(20, "re-register", 0.5, 3),), (Deed(20, "reboot", 0.5),),
)
stage = Stage()
for seed, others in enumerate(OTHERS):
    for layout in ("zones", "dual"):
        result = stage.tell(Plan(seed, Setup(layout), (POOL, *others)), tells=True)
        assert not result.problem, (seed, layout, result.problem)
        refused = [line for line in result.lines if "ends with 2" in line]
        assert len(refused) > 2, (seed, layout, refused)
        print(refused[0])
"""

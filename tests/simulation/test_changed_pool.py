"""The Deployment is rolled with another pool, beside one other fault: no scenario loses a packet."""

from __future__ import annotations

from tests.simulation.test_storm import python


def test_controllers_with_another_pool_write_nothing_and_the_right_ones_go_on() -> None:
    """They exit with 2 at each start and never hold the Lease, and the cluster converges afterwards."""
    assert "ends with 2" in python("-c", RUN)


RUN = """
from tests.simulation.fault_plan import FaultPlan, PlannedFault
from tests.simulation.runner import Runner
from tests.simulation.setup import Setup

POOL = PlannedFault(10, "pool", seconds=25)
OTHERS = (
    (), (PlannedFault(15, "join", 0.3),), (PlannedFault(12, "crash", 0.2),), (PlannedFault(9, "api down", seconds=10),),
    (PlannedFault(20, "re-register", 0.5, 3),), (PlannedFault(20, "reboot", 0.5),),
)
runner = Runner()
for seed, others in enumerate(OTHERS):
    for layout in ("zones", "dual"):
        result = runner.run(FaultPlan(seed, Setup(layout), (POOL, *others)), trace=True)
        assert not result.problem, (seed, layout, result.problem)
        refused = [line for line in result.lines if "ends with 2" in line]
        assert len(refused) > 2, (seed, layout, refused)
        print(refused[0])
"""

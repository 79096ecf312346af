"""EC2 answers late: nodes are served all the same, and no route is taken by an old reading."""

from __future__ import annotations

import pytest

from tests.controller.ends import NATIVE
from tests.controller.lab import Lab, lab

DESCRIBES = ("DescribeInstances", "DescribeRouteTables", "DescribeSubnets", "DescribeManagedPrefixLists")


def reads(world: Lab) -> int:
    """Describes since the last look."""
    return sum(number for action, number in world.calls().items() if action.startswith("Describe"))


@pytest.mark.parametrize("unknown_owners", [False, True], ids=["", "and unknown owners"])
def test_describes_of_six_seconds(*, unknown_owners: bool) -> None:
    """A dead node's routes go and a joiner is served within five reads that take 6 s each."""
    with lab(zones=2) as world:
        names = world.join_many(2)
        world.run()
        (dead,) = world.pod_cidrs(names[0])
        if unknown_owners:
            other = world.aws.scene.launch(world.vpc.zones[0])[0].interface_id
            world.foreign(world.tables()[0], "100.64.99.0/24", NetworkInterfaceId=other)
        for action in DESCRIBES:
            world.aws.faults.delay(action, 6)
        world.clock.time += 61
        world.terminate(names[0])
        young = world.join(0)
        world.calls()
        asked = 0
        while any(dead in world.routes(table) for table in world.tables()) or world.condition(young) != NATIVE:
            world.clock.time = max(world.clock.time, world.turn().next_at)
            asked += reads(world)
            assert asked <= 5


def test_what_takes_no_route_does_not_wait_for_the_next_reading() -> None:
    """A deletion waits until the tables have been read again; what a joiner needs is done in the turn that finds it."""
    with lab(zones=1, one_table=True) as world:
        names = world.join_many(2)
        world.run()
        world.kube.delete("nodes", names[0])
        world.turn()  # withdraws
        world.turn()  # begins to drain
        world.clock.time += world.settings.drain_seconds
        young = world.join(0)
        world.calls()
        turn = world.turn()
        assert world.calls() == {"DescribeInstances": 1, "CreateRoute": 1, "ModifyNetworkInterfaceAttribute": 1}
        assert (turn.settled, turn.stuck, turn.next_at) == (False, False, world.clock.time)
        assert world.pod_cidrs(young) != ()
        world.turn()
        assert world.calls() == {"DescribeRouteTables": 1, "DeleteRoute": 1}


def test_what_takes_a_route_waits_for_a_reading_and_not_for_the_resync() -> None:
    """Nothing else is left to do then that would have the loop look again."""
    with lab(1) as world:
        names = world.join_many(2)
        world.run()
        world.pass_seconds(20)
        world.kube.delete("nodes", names[0])
        world.pass_seconds(11)
        assert len(world.routes(world.table())) == 1

"""EC2 answers late, or an old state: nodes are served all the same, and no route is taken or used by an old reading."""

from __future__ import annotations

import pytest

from cloudroute.core.cluster.staleness import INHERITED_SECONDS
from tests.controller.ends import NATIVE, OVERLAY
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


def test_steps_that_take_no_route_do_not_wait_for_the_next_read() -> None:
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


def test_a_deletion_waits_for_a_read_and_not_for_the_resync() -> None:
    """Nothing else is left to do then that would have the loop look again."""
    with lab(1) as world:
        names = world.join_many(2)
        world.run()
        world.pass_seconds(20)
        world.kube.delete("nodes", names[0])
        world.pass_seconds(11)
        assert len(world.routes(world.table())) == 1


def test_a_route_that_the_former_leader_has_just_deleted_is_not_used() -> None:
    """A successor with a higher limit is shown the table of before: the node gets a route first; no packet is lost."""
    with lab(2, one_table=True, route_limit=4, traffic=True) as world:
        names = world.join_many(3)
        world.run()
        world.start(route_limit=3)
        world.run()
        assert len(world.native(world.table())) == len(world.routes(world.table())) == 2
        world.aws.faults.stale(8, "DescribeRouteTables")
        world.start(route_limit=4)
        world.calls()
        world.turn()
        assert list(world.conditions().values()).count(OVERLAY) == 1
        world.run()
        assert world.native(world.table()) == names
        assert world.changes() == {"CreateRoute": 1}


@pytest.mark.parametrize(("overlay", "seconds", "reads"), [(True, INHERITED_SECONDS, 2), (False, 2, 1)])
def test_a_route_that_the_former_leader_has_just_made_is_used(*, overlay: bool, seconds: float, reads: int) -> None:
    """One more read is enough, half a minute later, whatever the resync. Without the overlay no node waits for it."""
    with lab(1, one_table=True, resync_seconds=600, overlay=overlay) as world:
        names = world.join_many(2)
        while len(world.routes(world.table())) < 2:
            world.turn()
        world.start()
        world.calls()
        start = world.clock.time
        world.run()
        assert world.native(world.table()) == names
        assert world.calls() == {"DescribeInstances": 1, "DescribeSubnets": 1, "DescribeRouteTables": reads}
        assert world.clock.time - start == seconds


def test_a_first_leader_uses_the_routes_that_are_there_once_they_have_settled() -> None:
    """Another program made them, for nodes that no NodeRoute lists: nobody can have begun to take them away."""
    with lab(1, one_table=True) as world:
        machine = world.aws.scene.launch(world.vpc.zones[0])[0]
        world.foreign(world.table(), "100.64.7.0/24", NetworkInterfaceId=machine.interface_id)
        name = world.join(machine=machine, pod_cidrs=("100.64.7.0/24",))
        start = world.clock.time
        world.run()
        assert world.native(world.table()) == [name]
        assert world.clock.time - start == world.settings.settle_seconds

"""A node is its instance, whatever becomes of its name, its Node object and its CIDR."""

from __future__ import annotations

from functools import partial

import pytest

from tests.controller.lab import NATIVE, POOL
from tests.controller.lab import lab as any_lab
from tests.controller.state import assert_nothing_else, state_of

lab = partial(any_lab, traffic=True, tagged=True)
"""Every zone's table is filled, whether nodes stand there or not, and no packet may be lost."""
HOURS = 2 * 3600.0
REFUSED = ("True", "NoPodCIDR")


# --- Nodes that go ------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", ["lives on", "terminated", "forgotten"])
def test_deleted_while_the_controller_is_down(fate: str) -> None:
    """A Node deleted while no controller runs leaves nothing behind, whether its instance lives on or not."""
    with lab() as world:
        names = world.join_many(4)
        world.run()
        before = state_of(world, names[1:])
        world.stop()
        if fate != "lives on":
            world.aws.scene.terminate(world.instance(names[0]))
        world.kube.delete("nodes", names[0])
        if fate == "forgotten":
            world.clock.time += HOURS
        world.start()
        world.calls()
        world.run()
        assert state_of(world, names[1:]) == before
        assert_nothing_else(world, names[1:])
        assert world.calls()["DeleteRoute"] == 3


def test_an_instance_that_is_gone_for_longer_than_its_node() -> None:
    """A Node whose instance EC2 has forgotten holds no entry, and the next node gets it."""
    with lab(one_table=True, route_limit=4) as world:
        names = world.join_many(4)
        world.run()
        assert world.native(world.table()) == names[:3]
        world.stop()
        world.aws.scene.terminate(world.instance(names[0]))
        world.clock.time += HOURS
        world.start()
        world.run()
        assert world.native(world.table()) == names[1:]
        assert len(world.routes(world.table())) == 3
        assert world.condition(names[3]) == NATIVE


def test_terminated_before_its_node_is_deleted() -> None:
    """A terminated instance loses its routes at the next resync; its NodeRoute goes with its Node."""
    with lab() as world:
        names = world.join_many(4)
        world.run()
        before = state_of(world, names[1:])
        world.aws.scene.terminate(world.instance(names[0]))
        world.pass_seconds(61)
        assert state_of(world, names[1:]) == before
        assert all(len(world.routes(table)) == 3 for table in world.tables())
        assert world.published()[names[0]].spec.native_in == ()
        world.kube.delete("nodes", names[0])
        world.run()
        assert_nothing_else(world, names[1:])


# --- Nodes that come back -----------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
def test_deleted_by_mistake(*, restarted: bool) -> None:
    """A Node that its kubelet registers again while it drains gets its CIDR back, and no route was touched."""
    with lab() as world:
        names = world.join_many(3)
        world.run()
        cidrs, machine = world.pod_cidrs(names[0]), world.machine(names[0])
        before = state_of(world, names)
        world.calls()
        world.kube.delete("nodes", names[0])
        world.pass_seconds(5)
        if restarted:
            world.start()
        world.join(machine=machine, name=names[0])
        world.run()
        assert world.pod_cidrs(names[0]) == cidrs
        assert state_of(world, names) == before
        assert world.changes() == {}


def test_deleted_by_mistake_while_the_controller_is_down() -> None:
    """Not even the NodeRoute is touched of a Node that went while no controller saw it."""
    with lab() as world:
        names = world.join_many(3)
        world.run()
        before, journal = state_of(world, names), world.published()
        machine = world.machine(names[0])
        world.stop()
        world.kube.delete("nodes", names[0])
        world.join(machine=machine, name=names[0])
        world.start()
        world.calls()
        world.writes()
        world.run()
        assert state_of(world, names) == before
        assert world.published() == journal
        assert world.calls() == {"DescribeInstances": 1, "DescribeRouteTables": 1, "DescribeSubnets": 1}
        assert world.writes() == {("patch", "nodes"): 1, ("patch", "nodes/status"): 1}


def test_registered_again_after_it_left() -> None:
    """A Node that comes back after its routes went is new: its old CIDR rests."""
    with lab() as world:
        names = world.join_many(3)
        world.run()
        machine, old = world.machine(names[0]), world.pod_cidrs(names[0])
        world.kube.delete("nodes", names[0])
        world.run()
        world.join(machine=machine, name=names[0])
        world.run()
        assert world.pod_cidrs(names[0]) != old
        assert set(world.conditions().values()) == {NATIVE}
        assert_nothing_else(world, names)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("old_lives", [False, True])
def test_recreated_with_another_instance(*, old_lives: bool, down: bool) -> None:
    """A Node recreated under its name with another instance gets a new CIDR, and the old instance's routes go."""
    with lab() as world:
        names = world.join_many(3)
        world.run()
        old = world.pod_cidrs(names[0])
        before = state_of(world, names[1:])
        if down:
            world.stop()
        if not old_lives:
            world.aws.scene.terminate(world.instance(names[0]))
        world.kube.delete("nodes", names[0])
        world.join(1, name=names[0])
        if down:
            world.start()
        world.run()
        assert world.pod_cidrs(names[0]) != old
        assert world.published()[names[0]].spec.instance_id == world.instance(names[0])
        assert state_of(world, names[1:]) == before
        assert set(world.conditions().values()) == {NATIVE}
        assert_nothing_else(world, names)


def test_an_instance_whose_node_is_another_one_is_read_again_once() -> None:
    """It may be gone. However many cycles its routes drain for, it is not asked for again before the resync."""
    with any_lab(1) as world:
        name = world.join(0)
        world.run()
        world.kube.delete("nodes", name)
        world.join(0, name=name)
        world.calls()
        for _ in range(5):
            world.turn()
        calls = world.calls()
        assert (calls["DescribeInstances"], calls["DescribeRouteTables"]) == (1, 1)


@pytest.mark.parametrize("down", [False, True])
def test_same_instance_under_another_name(*, down: bool) -> None:
    """An instance that registers under another name keeps its CIDR and its routes; the NodeRoute follows the name."""
    with lab() as world:
        names = world.join_many(3)
        world.run()
        machine, cidrs = world.machine(names[0]), world.pod_cidrs(names[0])
        routes = [world.routes(table) for table in world.tables()]
        world.calls()
        if down:
            world.stop()
        world.kube.delete("nodes", names[0])
        world.join(machine=machine, name="renamed")
        if down:
            world.start()
        world.run()
        assert world.pod_cidrs("renamed") == cidrs
        assert [world.routes(table) for table in world.tables()] == routes
        assert world.changes() == {}
        assert set(world.conditions().values()) == {NATIVE}
        assert_nothing_else(world, ["renamed", *names[1:]])


def test_two_names_for_one_instance() -> None:
    """Of two Nodes with one instance the known one stays; the other is told so once, and follows it when it goes."""
    with lab() as world:
        names = world.join_many(3)
        world.run()
        before = state_of(world, names)
        world.join(machine=world.machine(names[0]), name="a-second-name")
        world.pass_seconds(200)
        assert state_of(world, names) == before
        assert [event[:3] for event in world.events("DuplicateInstance")] == [
            ("Warning", "a-second-name", "DuplicateInstance"),
        ]  # fmt: skip
        assert world.condition("a-second-name") is None
        world.kube.delete("nodes", names[0])
        world.run()
        assert set(world.conditions().values()) == {NATIVE}
        assert_nothing_else(world, ["a-second-name", *names[1:]])


# --- pod CIDRs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("known_first", [False, True])
def test_two_nodes_with_one_cidr(*, known_first: bool) -> None:
    """Of two Nodes with one pod CIDR the older keeps it; the younger is told so, and can't harm it, come or go."""
    with lab() as world:
        older = world.join(0, name="z-older", pod_cidrs=("100.64.9.0/24",))
        if known_first:
            world.run()
        world.clock.time += 5
        younger = world.join(1, name="a-younger", pod_cidrs=("100.64.9.0/24",))
        world.join(2)
        world.run()
        assert world.conditions() == {older: NATIVE, younger: REFUSED, "node-003": NATIVE}
        assert younger not in world.published()
        assert [event[:2] for event in world.events("NoPodCIDR")] == [("Warning", younger)]
        before = state_of(world, [older, "node-003"])
        world.calls()
        world.kube.delete("nodes", younger)
        world.pass_seconds(200)
        assert state_of(world, [older, "node-003"]) == before
        assert_nothing_else(world, [older, "node-003"])
        assert world.changes() == {}


def test_the_younger_inherits_the_cidr() -> None:
    """Once the older of two Nodes with one pod CIDR has gone and drained, the younger has it."""
    with lab() as world:
        world.join(0, name="older", pod_cidrs=("100.64.9.0/24",))
        world.clock.time += 5
        world.join(1, name="younger", pod_cidrs=("100.64.9.0/24",))
        world.run()
        world.terminate("older")
        world.run()
        assert world.conditions() == {"younger": NATIVE}
        assert_nothing_else(world, ["younger"])


def test_cidrs_set_by_somebody_else() -> None:
    """podCIDRs that a Node comes with are adopted, kept out of IPAM, and refused where they are not of a pool."""
    with lab() as world:
        adopted = world.join(0, pod_cidrs=("100.64.0.0/24",))
        outside = world.join(1, pod_cidrs=("192.168.7.0/24",))
        longer = world.join(2, pod_cidrs=("100.64.7.0/25",))
        plain = world.join(0)
        world.run()
        assert world.conditions() == {adopted: NATIVE, outside: REFUSED, longer: REFUSED, plain: NATIVE}
        assert world.pod_cidrs(plain) == ("100.64.1.0/24",)
        assert [(event[1], "192.168.7.0/24" in event[3], POOL in event[3]) for event in world.events("NoPodCIDR")] == [
            (outside, True, True), (longer, False, True),
        ]  # fmt: skip
        assert_nothing_else(world, [adopted, plain])


def test_a_pool_that_is_used_up() -> None:
    """A node that no pod CIDR is left for says so, and gets one when another has gone."""
    with lab(cluster_cidr=("100.64.0.0/23",)) as world:
        names = world.join_many(3)
        world.run()
        assert world.conditions() == {names[0]: NATIVE, names[1]: NATIVE, names[2]: REFUSED}
        world.terminate(names[0])
        world.run()
        assert world.conditions() == {names[1]: NATIVE, names[2]: NATIVE}
        assert_nothing_else(world, names[1:])


def test_a_freed_cidr_rests() -> None:
    """A CIDR is given again only when all others have been, after a restart too."""
    with lab(1, cluster_cidr=("100.64.0.0/22",)) as world:
        given = []
        for _ in range(6):
            name = world.join(0)
            world.run()
            given.append(world.pod_cidrs(name)[0])
            world.terminate(name)
            world.run()
        assert given == [f"100.64.{number % 4}.0/24" for number in range(6)]

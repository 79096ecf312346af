"""The VPC is that of the nodes, wherever the controller itself may run."""

from __future__ import annotations

from tests.controller.lab import NATIVE, lab
from tests.controller.state import assert_nothing_else, state_of


def test_a_controller_in_another_vpc_changes_nothing() -> None:
    """A restart in a management VPC, with --vpc-id left out: the nodes' instances outvote its own machine."""
    with lab(traffic=True) as world:
        names = world.join_many(3)
        world.run()
        before = state_of(world, names)
        world.writes()
        world.calls()
        world.start(own_vpc=world.aws.scene.vpc("10.50.0.0/16", zones=1).id)
        world.run()
        world.pass_seconds(200)
        assert state_of(world, names) == before
        assert (world.writes(), world.changes()) == ({}, {})


def test_the_first_node_says_another_vpc() -> None:
    """Before it the machine's own VPC is looked at; from then on that of the node, its subnets and tables included."""
    with lab() as world:
        other = world.aws.scene.vpc("10.50.0.0/16", zones=1)
        world.start(own_vpc=other.id)
        world.run()
        assert world.loop.reader.cache.vpc_id == other.id
        names = world.join_many(3)
        world.run()
        assert world.loop.reader.cache.vpc_id == world.vpc.id
        assert world.conditions() == dict.fromkeys(names, NATIVE)
        assert_nothing_else(world, names)


def test_nodes_that_ec2_does_not_know_leave_it_open() -> None:
    """The machine's own VPC is not taken for theirs: nothing is decided until one of them is found."""
    with lab() as world:
        world.join(0, provider_id="aws:///eu-central-1a/i-00000000000000000")
        world.start(own_vpc=world.vpc.id)
        world.pass_seconds(200)
        assert world.loop.reader.cache.vpc_id == ""
        assert world.pod_cidrs("node-001") == ()

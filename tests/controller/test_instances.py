"""A node's instance and interface: several, stopped, unknown, elsewhere, and in both families."""

from __future__ import annotations

from functools import partial

import pytest
from structlog.testing import capture_logs

from tests.controller.lab import NATIVE, POOL, POOL6
from tests.controller.lab import lab as any_lab
from tests.controller.state import assert_nothing_else, checks_of, state_of

lab = partial(any_lab, traffic=True, tagged=True)
"""Every zone's table is filled, whether nodes stand there or not, and no packet may be lost."""


# --- interfaces and instances -------------------------------------------------------------------


def test_another_interface_of_the_node() -> None:
    """A route that leads to another interface of its node is turned to the primary one by one ReplaceRoute."""
    with lab() as world:
        machine = world.aws.scene.launch(world.vpc.zones[0], interfaces=2)[0]
        names = [world.join(machine=machine), world.join(1)]
        world.run()
        before = state_of(world, names)
        turned = {"DestinationCidrBlock": world.pod_cidrs(names[0])[0], "NetworkInterfaceId": machine.interface_ids[1]}
        world.traffic = None  # until the resync those packets go to the wrong interface
        world.aws.scene.ec2.replace_route(RouteTableId=world.tables()[0], **turned)
        world.calls()
        world.pass_seconds(100)
        assert state_of(world, names) == before
        assert world.changes() == {"ReplaceRoute": 1}


def test_another_interface_of_a_new_node() -> None:
    """All interfaces stay known when the check of the first is switched off: a second attempt can follow at once."""
    with any_lab(1) as world:
        machine = world.aws.scene.launch(world.vpc.zones[0], interfaces=2)[0]
        world.foreign(world.table(), "100.64.0.0/24", NetworkInterfaceId=machine.interface_ids[1])
        world.aws.faults.fail("ReplaceRoute", "RequestLimitExceeded", times=1, status=503)
        world.join(machine=machine, pod_cidrs=("100.64.0.0/24",))
        world.pass_seconds(30)
        assert world.routes(world.table()) == {"100.64.0.0/24": machine.interface_id}


def test_an_instance_that_ends_before_its_route_is_made_is_read_again() -> None:
    """The refusal of the create shows it, and no second one is sent."""
    with any_lab(1) as world:
        world.join(0)
        world.run()
        name = world.join(0)
        world.aws.faults.fail("CreateRoute", "RequestLimitExceeded", times=1, status=503)
        world.turn()
        world.aws.scene.terminate(world.instance(name))
        world.calls()
        world.pass_seconds(30)
        assert world.calls()["CreateRoute"] == 1


def test_routes_of_the_instance_before() -> None:
    """A node that takes over the CIDR of one whose routes are still there costs one ReplaceRoute per table."""
    with lab() as world:
        name, other = world.join(0), world.join(1)
        world.run()
        cidrs = world.pod_cidrs(name)
        world.stop()
        world.terminate(name)
        world.kube.delete("noderoutes", name)
        world.join(0, name=name, pod_cidrs=cidrs)
        world.start()
        world.calls()
        world.run()
        assert world.changes() == {"ReplaceRoute": 3, "ModifyNetworkInterfaceAttribute": 1}
        assert world.conditions() == {name: NATIVE, other: NATIVE}
        assert_nothing_else(world, [name, other])


def test_a_node_replaced_under_its_name_and_cidr() -> None:
    """A new instance with the name and the CIDR of one that was terminated costs one ReplaceRoute per table."""
    with lab() as world:
        name, other = world.join(0), world.join(1)
        world.run()
        cidrs = world.pod_cidrs(name)
        world.terminate(name)
        world.join(0, name=name, pod_cidrs=cidrs)
        world.calls()
        world.writes()
        with capture_logs() as logs:
            world.run()
        assert [line for line in logs if line["log_level"] != "info"] == []
        assert world.calls() == {
            "DescribeInstances": 1, "DescribeRouteTables": 1, "ReplaceRoute": 3, "ModifyNetworkInterfaceAttribute": 1,
        }  # fmt: skip
        assert world.writes() == {
            ("delete", "noderoutes"): 1, ("create", "noderoutes"): 1, ("patch", "noderoutes"): 1,
            ("patch", "nodes/status"): 1,
        }  # fmt: skip
        assert world.conditions() == {name: NATIVE, other: NATIVE}
        assert_nothing_else(world, [name, other])


def test_several_interfaces() -> None:
    """Of an instance with several interfaces the primary one is the target, and its check alone is switched off."""
    with lab() as world:
        machine = world.aws.scene.launch(world.vpc.zones[0], interfaces=3)[0]
        name = world.join(machine=machine)
        world.run()
        assert [world.routes(table) for table in world.tables()] == [
            {world.pod_cidrs(name)[0]: machine.interface_id}
        ] * 3
        assert checks_of(world, machine.id) == [False, True, True]
        assert world.calls()["ModifyNetworkInterfaceAttribute"] == 1


def test_stopped_and_started() -> None:
    """An instance that is stopped and started keeps CIDR, routes and condition; neither changes anything in EC2."""
    with lab() as world:
        names = world.join_many(3)
        world.run()
        before = state_of(world, names)
        world.calls()
        world.writes()
        world.aws.scene.stop(world.instance(names[0]))
        world.pass_seconds(200)
        assert state_of(world, names[1:]) == {name: before[name] for name in names[1:]}
        world.aws.scene.start(world.instance(names[0]))
        world.pass_seconds(200)
        assert state_of(world, names) == before
        assert world.changes() == {}
        assert world.writes() == {("patch", "noderoutes"): 2}  # not native while its routes lead nowhere


def test_a_check_that_somebody_switches_on() -> None:
    """A source/dest check that is on again is switched off at the next resync."""
    with lab() as world:
        names = world.join_many(3)
        world.run()
        before = state_of(world, names)
        machine = world.machine(names[0])
        world.traffic = None  # until the resync its packets are dropped
        on = {"NetworkInterfaceId": machine.interface_id, "SourceDestCheck": {"Value": True}}
        world.aws.scene.ec2.modify_network_interface_attribute(**on)
        world.calls()
        world.pass_seconds(100)
        assert checks_of(world, machine.id) == [False]
        assert world.calls()["ModifyNetworkInterfaceAttribute"] == 1
        assert state_of(world, names) == before


# --- providerID ---------------------------------------------------------------------------------


@pytest.mark.parametrize("provider_id", ["", "gce://project/zone/name", "aws:///eu-central-1a/i-x"])
def test_provider_id_missing_or_malformed(provider_id: str) -> None:
    """A Node whose providerID names no instance is reported once; the others are served as ever."""
    with lab() as world:
        names = world.join_many(2)
        odd = world.join(0, provider_id=provider_id)
        world.run()
        world.pass_seconds(200)
        assert world.conditions() == {names[0]: NATIVE, names[1]: NATIVE, odd: None}
        assert world.pod_cidrs(odd) == ()
        assert [event[:3] for event in world.events("InvalidNode")] == [("Warning", odd, "InvalidNode")]
        assert_nothing_else(world, names)


def test_provider_id_set_later() -> None:
    """A Node that gets its providerID after it registered is a node from then on."""
    with lab() as world:
        machine = world.aws.scene.launch(world.vpc.zones[0])[0]
        late, other = world.join(machine=machine, provider_id=""), world.join(1)
        world.run()
        assert world.conditions() == {late: None, other: NATIVE}
        world.kube.patch("nodes", late, {"spec": {"providerID": machine.provider_id}})
        world.run()
        assert world.conditions() == {late: NATIVE, other: NATIVE}
        assert_nothing_else(world, [late, other])


def test_unknown_to_ec2_at_first() -> None:
    """An instance that EC2 does not show yet is asked for again soon, and its node has no condition until then."""
    with lab() as world:
        first = world.join(0)
        world.run()
        world.clock.time += 100
        world.run()
        world.aws.faults.stale(20, "DescribeInstances")
        name = world.join(1)
        world.pass_seconds(15)
        assert world.conditions() == {first: NATIVE, name: None}
        assert name not in world.published()
        world.pass_seconds(20)
        assert world.conditions() == {first: NATIVE, name: NATIVE}
        assert_nothing_else(world, [first, name])


def test_the_first_node_is_unknown_to_ec2() -> None:
    """Even the VPC is found as soon as EC2 shows the first node's instance."""
    with lab() as world:
        world.clock.time += 100
        world.aws.faults.stale(20, "DescribeInstances")
        name = world.join(1)
        world.pass_seconds(15)
        assert world.condition(name) is None
        world.pass_seconds(20)
        assert world.condition(name) == NATIVE
        assert_nothing_else(world, [name])


def test_unknown_to_ec2_for_good() -> None:
    """An instance that never was is soon asked for by the resync alone, and costs nobody else anything."""
    with lab() as world:
        names = world.join_many(2)
        odd = world.join(0, provider_id="aws:///eu-central-1a/i-00000000000000bad")
        world.pass_seconds(300)
        assert world.conditions() == {names[0]: NATIVE, names[1]: NATIVE, odd: None}
        world.calls()
        world.pass_seconds(600)
        assert world.calls() == {"DescribeRouteTables": 10, "DescribeInstances": 10}
        assert_nothing_else(world, names)


def test_no_node_is_ever_known() -> None:
    """Without any instance that EC2 knows there is no VPC: it is asked ever less often, until `--once` gives up."""
    with lab() as world:
        world.join(0, provider_id="aws:///eu-central-1a/i-00000000000000bad")
        turns = [world.turn()]
        while not turns[-1].stuck:
            world.clock.time = turns[-1].next_at
            turns.append(world.turn())
        assert [turn.settled for turn in turns] == [False] * 5
        assert world.calls() == {"DescribeInstances": 5}
        world.pass_seconds(600)
        assert world.calls()["DescribeInstances"] <= 12


def test_another_vpc() -> None:
    """A node in another VPC is reported once and gets nothing; the VPC of most nodes is the cluster's."""
    with lab() as world:
        elsewhere = world.aws.scene.vpc("10.50.0.0/16", zones=1)
        stray = world.join(elsewhere.zones[0])
        names = world.join_many(2)
        world.run()
        world.pass_seconds(200)
        assert world.conditions() == {stray: None, names[0]: NATIVE, names[1]: NATIVE}
        assert [event[:3] for event in world.events("OtherVPC")] == [("Warning", stray, "OtherVPC")]
        assert world.aws.scene.routes(elsewhere.zones[0].route_table_id).keys() == {"10.50.0.0/16"}
        assert_nothing_else(world, names)


# --- families -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pools", [(POOL, POOL6), (POOL6, POOL), (POOL6,)])
def test_families(pools: tuple[str, ...]) -> None:
    """Two families at once, in either order, and IPv6 alone: all come and go together."""
    with lab(ipv6=True, cluster_cidr=pools) as world:
        names = world.join_many(3)
        world.run()
        assert set(world.conditions().values()) == {NATIVE}
        for name in names:
            families = [POOL6 if ":" in cidr else POOL for cidr in world.pod_cidrs(name)]
            assert tuple(families) == pools
        assert world.calls()["CreateRoute"] == 3 * 3 * len(pools)
        assert_nothing_else(world, names)
        world.terminate(names[0])
        world.run()
        assert_nothing_else(world, names[1:])


def test_a_second_family_later() -> None:
    """Nodes keep the families that they came with; those that come after a change of the pools have both."""
    with lab(ipv6=True) as world:
        old = world.join(0)
        world.run()
        before = state_of(world, [old])
        world.start(cluster_cidr=(POOL, POOL6))
        new = world.join(1)
        world.run()
        assert state_of(world, [old]) == before
        assert len(world.pod_cidrs(new)) == 2
        assert world.conditions() == {old: NATIVE, new: NATIVE}
        assert_nothing_else(world, [old, new])

"""The exact number of the controller's calls. Nothing goes wrong here, so every call is one that had to be made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.controller.lab import NATIVE, Lab, lab

SETTLED = {"DescribeInstances": 1, "DescribeRouteTables": 1, "DescribeSubnets": 1}


@pytest.mark.parametrize(("one_table", "tables"), [(True, 1), (False, 3)])
def test_first_sync(*, one_table: bool, tables: int) -> None:
    """N nodes, T tables and M checks that are on take 3 describes, N times T creates, M modifies and 4N + 2T writes."""
    with lab(one_table=one_table) as world:
        nodes = len(world.join_many(6))
        world.run()
        assert world.calls() == {
            **SETTLED, "CreateRoute": nodes * tables, "ModifyNetworkInterfaceAttribute": nodes,
        }  # fmt: skip
        assert world.writes() == {
            ("patch", "nodes"): nodes,
            ("create", "noderoutes"): nodes,
            ("patch", "nodes/status"): nodes,
            ("patch", "noderoutes"): nodes,
            ("create", "routetables"): tables,
            ("patch", "routetables/status"): tables,
        }
        assert all(len(world.routes(table)) == nodes for table in world.tables())
        assert set(world.conditions().values()) == {NATIVE}


def test_checks_that_are_off_already() -> None:
    """An interface whose source/dest check is off already costs no modify."""
    with lab(1) as world:
        machines = world.aws.scene.launch(world.vpc.zones[0], 3)
        for machine in machines:
            world.join(machine=machine)
        off = {"NetworkInterfaceId": machines[0].interface_id, "SourceDestCheck": {"Value": False}}
        world.aws.scene.ec2.modify_network_interface_attribute(**off)
        world.run()
        assert world.calls() == {**SETTLED, "CreateRoute": 3, "ModifyNetworkInterfaceAttribute": 2}


@pytest.mark.parametrize(("one_table", "tables"), [(True, 1), (False, 3)])
def test_one_node_more(*, one_table: bool, tables: int) -> None:
    """One node more takes one describe, a create per table and one modify; 4 writes for it and one per table."""
    with _settled(6, one_table=one_table) as world:
        world.join(1)
        world.run()
        assert world.calls() == {"DescribeInstances": 1, "CreateRoute": tables, "ModifyNetworkInterfaceAttribute": 1}
        assert world.writes() == {
            ("patch", "nodes"): 1,
            ("create", "noderoutes"): 1,
            ("patch", "nodes/status"): 1,
            ("patch", "noderoutes"): 1,
            ("patch", "routetables/status"): tables,
        }


def test_one_node_less() -> None:
    """A node that leaves takes one describe, a delete per table, two writes to its NodeRoute and one per table."""
    with _settled(6) as world:
        world.terminate("node-002")
        world.run()
        assert world.calls() == {"DescribeRouteTables": 1, "DeleteRoute": 3}
        assert world.writes() == {
            ("patch", "noderoutes"): 1,
            ("delete", "noderoutes"): 1,
            ("patch", "routetables/status"): 3,
        }
        assert "node-002" not in world.published()
        assert all(len(world.routes(table)) == 5 for table in world.tables())


def test_idle() -> None:
    """An idle cluster takes two describes per resync and no write at all."""
    with _settled(6) as world:
        world.pass_seconds(600)
        assert world.calls() == {"DescribeInstances": 10, "DescribeRouteTables": 10}
        assert world.writes() == {}


def test_idle_past_the_limit() -> None:
    """Nodes that found no entry cost nothing more: two describes per resync."""
    with _settled(9, one_table=True, route_limit=5) as world:
        world.pass_seconds(600)
        assert world.calls() == {"DescribeInstances": 10, "DescribeRouteTables": 10}
        assert world.writes() == {}


def test_an_idle_hour() -> None:
    """The subnets are described once more in an hour, and no quota is asked for with a fixed limit."""
    with _settled(1, resync_seconds=600) as world:
        world.pass_seconds(3600)
        assert world.calls() == {"DescribeInstances": 6, "DescribeRouteTables": 6, "DescribeSubnets": 1}


def test_a_new_subnet() -> None:
    """A subnet that nobody knew, associated with a table, is described at the next resync: one call more."""
    with _settled(2, zones=1) as world:
        ec2 = world.aws.scene.ec2
        subnet = ec2.create_subnet(VpcId=world.vpc.id, CidrBlock="10.0.128.0/20")["Subnet"]["SubnetId"]
        ec2.associate_route_table(RouteTableId=world.table(), SubnetId=subnet)
        world.pass_seconds(120)
        assert world.calls() == {"DescribeInstances": 2, "DescribeRouteTables": 2, "DescribeSubnets": 1}
        listed = world.kube.get("routetables", world.table())["spec"]["subnets"]
        assert [item["cidrs"] for item in listed if item["id"] == subnet] == [["10.0.128.0/20"]]


@pytest.mark.parametrize("one_table", [True, False])
def test_restart(*, one_table: bool) -> None:
    """A restarted controller finds a settled world: three describes, and no write to EC2 or Kubernetes."""
    with _settled(6, one_table=one_table) as world:
        world.start()
        world.run()
        assert world.calls() == SETTLED
        assert world.writes() == {}


def test_restart_past_the_limit() -> None:
    """A restart with nodes in the overlay changes nothing either."""
    with _settled(9, route_limit=5) as world:
        world.start()
        world.run()
        assert world.calls() == SETTLED
        assert world.writes() == {}


def test_direct_routing_always() -> None:
    """With a table per zone and direct routing `always`, a node has no route in its own table: N(T-1) creates."""
    with lab(direct_routing="always") as world:
        world.join_many(6)
        world.run()
        assert world.calls() == {**SETTLED, "CreateRoute": 6 * 2, "ModifyNetworkInterfaceAttribute": 6}
        for zone in world.vpc.zones:
            others = [r.spec for r in world.published().values() if r.spec.subnet_id != zone.subnet_id]
            want = {str(spec.pod_cidrs[0]): spec.network_interface_id for spec in others}
            assert world.routes(zone.route_table_id) == want
        assert set(world.conditions().values()) == {NATIVE}
        assert sum(world.writes().values()) == 4 * 6 + 2 * 3


def test_churn_stays_within_the_budget_of_writes() -> None:
    """Each cycle of a change makes at most 4 writes per node that it concerns and 2 per table."""
    with _settled(6) as world:
        world.terminate("node-001")
        world.join(0)
        world.join(2)
        for _ in range(60):
            turn = world.turn()
            assert sum(world.writes().values()) <= 4 * 3 + 2 * 3
            if turn.settled:
                break
            world.clock.time = max(world.clock.time, turn.next_at)
        assert turn.settled


def test_pages_of_instances() -> None:
    """200 instances are one DescribeInstances, 201 are two."""
    with lab(1, route_limit=1) as world:
        world.join_many(201)
        world.turn()
        calls = world.calls()
        assert {action: calls[action] for action in SETTLED} == {**SETTLED, "DescribeInstances": 2}
        world.kube.delete("nodes", "node-201")
        world.kube.delete("noderoutes", "node-201")
        world.start()
        world.turn()
        assert world.calls()["DescribeInstances"] == 1


def test_pages_of_tables() -> None:
    """Tables come in pages of 100, and those that are not ours are not touched."""
    with lab(1) as world:
        for _ in range(99):  # with the main table and the zone's, 101
            world.aws.scene.ec2.create_route_table(VpcId=world.vpc.id)
        world.join(0)
        world.run()
        assert world.calls() == {
            **SETTLED, "DescribeRouteTables": 2, "CreateRoute": 1, "ModifyNetworkInterfaceAttribute": 1,
        }  # fmt: skip


def test_prefix_lists() -> None:
    """Prefix lists are described once per resync, and only where one is routed."""
    with _settled(1, zones=1) as world:
        gateway = world.gateway()
        listed = world.prefix_list(5)
        target = {"DestinationPrefixListId": listed, "GatewayId": gateway}
        world.aws.scene.ec2.create_route(RouteTableId=world.table(), **target)
        world.pass_seconds(300)
        assert world.calls() == {"DescribeInstances": 5, "DescribeRouteTables": 5, "DescribeManagedPrefixLists": 5}
        world.join(0)
        world.run()
        assert "DescribeManagedPrefixLists" not in world.calls()


def test_quota_calls() -> None:
    """`--route-limit auto` asks for the quota at the start and each hour; both calls where no value was applied."""
    with lab(1, route_limit="auto", resync_seconds=600) as world:
        world.join(0)
        world.run()
        quota = {"GetServiceQuota": 1, "GetAWSDefaultServiceQuota": 1}
        assert world.calls() == {**SETTLED, **quota, "CreateRoute": 1, "ModifyNetworkInterfaceAttribute": 1}
        world.aws.set_route_quota(100)
        world.pass_seconds(3600)
        calls = world.calls()
        assert (calls["GetServiceQuota"], calls["DescribeSubnets"]) == (1, 1)
        assert "GetAWSDefaultServiceQuota" not in calls
        assert world.use(world.tables()[0])["limit"] == 100


@contextmanager
def _settled(nodes: int, **kwargs: Any) -> Iterator[Lab]:
    with lab(**kwargs) as world:
        world.join_many(nodes)
        world.run()
        world.calls()
        world.writes()
        yield world

"""The schedule of faults, in process."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from cloudroute.lab.aws import Aws, Vpc
from tests.clock import FakeClock
from tests.lab.aws.conftest import answered, refused

POD = "100.64.1.0/24"
ONCE = Config(read_timeout=7, retries={"total_max_attempts": 1})


@pytest.fixture
def ec2(aws: Aws) -> Any:
    return aws.session().client("ec2", config=ONCE)


@pytest.fixture
def route(aws: Aws, vpc: Vpc) -> dict[str, str]:
    interface = aws.scene.launch(vpc.zones[0])[0].interface_id
    return {
        "RouteTableId": vpc.zones[0].route_table_id,
        "DestinationCidrBlock": POD,
        "NetworkInterfaceId": interface,
    }


def test_fail(aws: Aws, ec2: Any, route: dict[str, str]) -> None:
    """A fault skips the first `after` calls, fails `times` calls, which do nothing, and then calls work again."""
    aws.faults.fail("CreateRoute", "InternalError", times=2, after=1)
    ec2.create_route(**route)
    other = {**route, "DestinationCidrBlock": "100.64.2.0/24"}
    assert answered(ec2.create_route, **other)[:2] == ("InternalError", 500)
    assert answered(ec2.create_route, **other)[:2] == ("InternalError", 500)
    assert set(aws.scene.routes(route["RouteTableId"])) == {"10.0.0.0/16", POD}
    ec2.create_route(**other)
    assert aws.calls == {("CreateRoute", "OK"): 2, ("CreateRoute", "InternalError"): 2}


def test_fail_where_parameters_match(aws: Aws, ec2: Any, route: dict[str, str]) -> None:
    """A fault can be limited to one route, and last forever."""
    aws.faults.fail("CreateRoute", "Unavailable", times=None, match=lambda p: p["DestinationCidrBlock"] == POD)
    ec2.create_route(**{**route, "DestinationCidrBlock": "100.64.2.0/24"})
    for _ in range(3):
        assert answered(ec2.create_route, **route)[:2] == ("Unavailable", 503)
    aws.faults.clear()
    ec2.create_route(**route)
    assert POD in aws.scene.routes(route["RouteTableId"])


def test_fail_is_retried_by_botocore(aws: Aws) -> None:
    """botocore retries an injected throttle as it retries AWS's."""
    aws.faults.throttle("DescribeVpcs", times=1)
    client = aws.session().client("ec2", config=Config(retries={"mode": "standard", "total_max_attempts": 2}))
    assert client.describe_vpcs()["Vpcs"]
    assert aws.calls == {("DescribeVpcs", "RequestLimitExceeded"): 1, ("DescribeVpcs", "OK"): 1}


def test_drop(aws: Aws, ec2: Any, route: dict[str, str]) -> None:
    """A dropped answer is a connection cut after the change was made."""
    aws.faults.drop("CreateRoute")
    with pytest.raises(ConnectionClosedError):
        ec2.create_route(**route)
    assert POD in aws.scene.routes(route["RouteTableId"])
    assert refused(ec2.create_route, **route) == "RouteAlreadyExists"


def test_hang(aws: Aws, ec2: Any, route: dict[str, str], clock: FakeClock) -> None:
    """A hanging call takes the client's read timeout and does nothing."""
    aws.faults.hang("CreateRoute")
    began = clock.time
    with pytest.raises(ReadTimeoutError):
        ec2.create_route(**route)
    assert clock.time - began == 7
    assert POD not in aws.scene.routes(route["RouteTableId"])
    assert aws.calls == {("CreateRoute", "hang"): 1}


def test_delay(aws: Aws, ec2: Any, route: dict[str, str], clock: FakeClock) -> None:
    """A delayed answer takes that much longer; past the read timeout it is lost, though the change is made."""
    fault = aws.faults.delay("CreateRoute", 3)
    began = clock.time
    ec2.create_route(**route)
    assert clock.time - began == 3
    fault.seconds = 8
    with pytest.raises(ReadTimeoutError):
        ec2.create_route(**{**route, "DestinationCidrBlock": "100.64.2.0/24"})
    assert clock.time - began == 10
    assert "100.64.2.0/24" in aws.scene.routes(route["RouteTableId"])


def test_stale_route_tables(aws: Aws, ec2: Any, route: dict[str, str], clock: FakeClock) -> None:
    """A stale read shows the table exactly as it was `seconds` ago (eventual consistency in the EC2 API)."""
    table = {"RouteTableIds": [route["RouteTableId"]]}

    def shown() -> list[str]:
        return [r["DestinationCidrBlock"] for r in ec2.describe_route_tables(**table)["RouteTables"][0]["Routes"]]

    clock.sleep(60)
    ec2.create_route(**route)
    clock.sleep(10)
    ec2.create_route(**{**route, "DestinationCidrBlock": "100.64.2.0/24"})
    ec2.delete_route(RouteTableId=route["RouteTableId"], DestinationCidrBlock=POD)
    aws.faults.stale(30)
    assert shown() == ["10.0.0.0/16"]
    clock.sleep(20)
    assert shown() == ["10.0.0.0/16", POD]
    clock.sleep(10)
    assert shown() == ["10.0.0.0/16", "100.64.2.0/24"]
    assert refused(ec2.create_route, **{**route, "DestinationCidrBlock": "100.64.2.0/24"}) == "RouteAlreadyExists"


def test_stale_instances(aws: Aws, ec2: Any, vpc: Vpc, clock: FakeClock) -> None:
    """A stale read lacks new instances and shows old states; filters use the same old state."""
    old = aws.scene.launch(vpc.zones[0])[0]
    clock.sleep(60)
    new = aws.scene.launch(vpc.zones[0])[0]
    aws.scene.terminate(old.id)
    aws.faults.stale(30)
    assert refused(ec2.describe_instances, InstanceIds=[new.id]) == "InvalidInstanceID.NotFound"
    running = [{"Name": "instance-state-name", "Values": ["running"]}]

    def shown() -> list[str]:
        return [
            i["InstanceId"] for r in ec2.describe_instances(Filters=running)["Reservations"] for i in r["Instances"]
        ]

    assert shown() == [old.id]
    old_enis = ec2.describe_instances(InstanceIds=[old.id])["Reservations"][0]["Instances"][0]["NetworkInterfaces"]
    assert [eni["NetworkInterfaceId"] for eni in old_enis] == [old.interface_id]
    clock.sleep(30)
    assert shown() == [new.id]


def test_stale_source_dest_check(aws: Aws, ec2: Any, vpc: Vpc, clock: FakeClock) -> None:
    """A stale read shows the old source/dest check of an ENI."""
    node = aws.scene.launch(vpc.zones[0])[0]
    clock.sleep(60)
    ec2.modify_network_interface_attribute(NetworkInterfaceId=node.interface_id, SourceDestCheck={"Value": False})
    aws.faults.stale(30, "DescribeInstances")

    def checked() -> bool:
        instance = ec2.describe_instances(InstanceIds=[node.id])["Reservations"][0]["Instances"][0]
        return bool(instance["NetworkInterfaces"][0]["SourceDestCheck"])

    assert checked()
    eni = ec2.describe_network_interfaces(NetworkInterfaceIds=[node.interface_id])["NetworkInterfaces"][0]
    assert eni["SourceDestCheck"] is False
    clock.sleep(30)
    assert not checked()


def test_stale_blackhole(aws: Aws, ec2: Any, route: dict[str, str], vpc: Vpc, clock: FakeClock) -> None:
    """A delayed state change is dated with the time at which it was due, not with that of the next call."""
    slow = Aws(clock=clock, transition_seconds=10)
    zone = slow.scene.vpc(zones=1).zones[0]
    node = slow.scene.launch(zone)[0]
    clock.sleep(10)
    client = slow.session().client("ec2")
    client.create_route(
        RouteTableId=zone.route_table_id, DestinationCidrBlock=POD, NetworkInterfaceId=node.interface_id
    )
    slow.scene.stop(node.id)
    clock.sleep(39)
    slow.faults.stale(30)

    def state() -> str:
        table = client.describe_route_tables(RouteTableIds=[zone.route_table_id])["RouteTables"][0]
        return str(table["Routes"][-1]["State"])

    assert state() == "active"
    clock.sleep(1)
    assert state() == "blackhole"


def test_scene_is_spared(aws: Aws, vpc: Vpc) -> None:
    """The lab's own calls meet no fault and are not counted."""
    aws.faults.fail("*", "InternalError", times=None)
    assert aws.scene.routes(vpc.main_table_id)
    assert not aws.calls

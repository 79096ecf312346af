"""AWS's token buckets."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from cloudroute.lab.aws import Aws, Zone
from tests.clock import FakeClock
from tests.lab.aws.conftest import answered


@pytest.fixture
def aws(clock: FakeClock) -> Aws:
    return Aws(clock=clock, throttle=True, route_quota=1000)


@pytest.fixture
def ec2(aws: Aws) -> Any:
    return aws.session().client("ec2", config=Config(retries={"total_max_attempts": 1}))


def burst(call: Any, **arguments: Any) -> int:
    """Number of calls that pass before the bucket is empty."""
    for passed in range(1000):
        try:
            call(**arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] == "RequestLimitExceeded":
                return passed
    return 1000


@pytest.fixture
def zone(aws: Aws) -> Zone:
    return aws.scene.vpc(zones=1).zones[0]


def test_writes(aws: Aws, ec2: Any, zone: Zone, clock: FakeClock) -> None:
    """CreateRoute: 50 at once, then 5 a second; refused calls do nothing (EC2 API throttling)."""
    interface = aws.scene.launch(zone)[0].interface_id

    def create(number: int) -> None:
        cidr = f"100.64.{number}.0/24"
        ec2.create_route(RouteTableId=zone.route_table_id, DestinationCidrBlock=cidr, NetworkInterfaceId=interface)

    for number in range(50):
        create(number)
    assert answered(create, number=50)[:2] == ("RequestLimitExceeded", 503)
    assert len(aws.scene.routes(zone.route_table_id)) == 51
    clock.sleep(1)
    for number in range(50, 55):
        create(number)
    assert answered(create, number=55)[0] == "RequestLimitExceeded"
    assert aws.calls == {("CreateRoute", "OK"): 55, ("CreateRoute", "RequestLimitExceeded"): 2}


def test_buckets_are_per_action(ec2: Any, zone: Zone) -> None:
    """Each action has its own bucket; failed calls cost a token too (EC2 API throttling)."""
    gone = {"RouteTableId": zone.route_table_id, "DestinationCidrBlock": "100.64.1.0/24"}
    assert burst(ec2.delete_route, **gone) == 50
    assert burst(ec2.replace_route, **gone, NetworkInterfaceId="eni-0") == 50


def test_interface_attributes(aws: Aws, ec2: Any, zone: Zone, clock: FakeClock) -> None:
    """ModifyNetworkInterfaceAttribute: 100 at once, then 5 a second (EC2 API throttling)."""
    change = {"NetworkInterfaceId": aws.scene.launch(zone)[0].interface_id, "SourceDestCheck": {"Value": False}}
    assert burst(ec2.modify_network_interface_attribute, **change) == 100
    clock.sleep(2)
    assert burst(ec2.modify_network_interface_attribute, **change) == 10


def test_reads(ec2: Any, clock: FakeClock) -> None:
    """Filtered or paginated reads have 100 and 20 a second, others 50 and 10 (EC2 API throttling)."""
    by_state = [{"Name": "instance-state-name", "Values": ["running"]}]
    assert burst(ec2.describe_instances, Filters=by_state) == 100
    assert burst(ec2.describe_instances) == 50
    clock.sleep(1)
    assert burst(ec2.describe_instances, MaxResults=5) == 20
    assert burst(ec2.describe_instances) == 10
    assert burst(ec2.describe_route_tables) == 100


def test_no_throttling_by_default(clock: FakeClock) -> None:
    """An account throttles only with `throttle`."""
    ec2 = Aws(clock=clock).session().client("ec2")
    for _ in range(120):
        ec2.describe_route_tables()
    assert ec2.describe_route_tables()["RouteTables"]

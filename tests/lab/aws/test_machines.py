"""Instances come and go, and the routes to them follow."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from cloudroute.lab.aws import Aws, Vpc
from tests.clock import FakeClock
from tests.lab.aws.conftest import answered, refused

POD = "100.64.1.0/24"


def described(ec2: Any, instance_id: str) -> Any:
    return ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]


@pytest.fixture
def slow(clock: FakeClock) -> Aws:
    """An account whose instances take 30 s for each state transition."""
    return Aws(clock=clock, transition_seconds=30)


def routed(aws: Aws, **launch: Any) -> tuple[Any, str]:
    """A node and the table that has a route to it."""
    zone = aws.scene.vpc(zones=1).zones[0]
    node = aws.scene.launch(zone, **launch)[0]
    aws.scene.ec2.create_route(
        RouteTableId=zone.route_table_id, DestinationCidrBlock=POD, NetworkInterfaceId=node.interface_id
    )
    return node, zone.route_table_id


def test_stop_and_start(slow: Aws, clock: FakeClock) -> None:
    """A route is a blackhole once its instance is stopped, not while it is stopping, and active again when it is
    started (API_Route, state; Amazon EC2 instance state changes)."""
    node, table = routed(slow)
    clock.sleep(30)
    ec2 = slow.session().client("ec2")
    answer = ec2.stop_instances(InstanceIds=[node.id])["StoppingInstances"][0]
    assert (answer["PreviousState"]["Name"], answer["CurrentState"]["Name"]) == ("running", "stopping")
    assert slow.scene.routes(table)[POD]["State"] == "active"
    clock.sleep(30)
    assert described(ec2, node.id)["State"] == {"Code": 80, "Name": "stopped"}
    assert slow.scene.routes(table)[POD]["State"] == "blackhole"
    ec2.start_instances(InstanceIds=[node.id])
    assert described(ec2, node.id)["State"]["Name"] == "pending"
    assert slow.scene.routes(table)[POD]["State"] == "active"
    clock.sleep(30)
    assert described(ec2, node.id)["State"]["Name"] == "running"


def test_terminate(slow: Aws, clock: FakeClock) -> None:
    """Termination deletes the primary ENI and leaves the route behind as a blackhole (Elastic network interfaces,
    delete on termination; kubernetes#33015)."""
    node, table = routed(slow)
    clock.sleep(30)
    ec2 = slow.session().client("ec2")
    ec2.terminate_instances(InstanceIds=[node.id])
    assert described(ec2, node.id)["State"]["Name"] == "shutting-down"
    clock.sleep(30)
    gone = described(ec2, node.id)
    assert gone["State"]["Name"] == "terminated"
    assert gone["NetworkInterfaces"] == []
    assert "PrivateIpAddress" not in gone
    assert refused(ec2.describe_network_interfaces, NetworkInterfaceIds=[node.interface_id]) == (
        "InvalidNetworkInterfaceID.NotFound"
    )
    left = slow.scene.routes(table)[POD]
    assert (left["State"], left["NetworkInterfaceId"]) == ("blackhole", node.interface_id)
    assert "InstanceId" not in left


def test_terminated_instances_are_forgotten(aws: Aws, ec2: Any, vpc: Vpc, clock: FakeClock) -> None:
    """A terminated instance is described for about an hour (API_DescribeInstances)."""
    node = aws.scene.launch(vpc.zones[0])[0]
    aws.scene.terminate(node.id)
    clock.sleep(3599)
    assert described(ec2, node.id)["State"]["Name"] == "terminated"
    clock.sleep(1)
    assert refused(ec2.describe_instances, InstanceIds=[node.id]) == "InvalidInstanceID.NotFound"
    assert ec2.describe_instances()["Reservations"] == []


def test_address_is_free_after_termination(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """The deleted ENI's address can be used again, an attached one's can't (EC2 error codes)."""
    node = aws.scene.launch(vpc.zones[0])[0]
    again = {"SubnetId": vpc.zones[0].subnet_id, "PrivateIpAddress": node.addresses[0]}
    launch = {"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1}
    assert refused(ec2.run_instances, **launch, **again) == "InvalidIPAddress.InUse"
    aws.scene.terminate(node.id)
    made = ec2.run_instances(**launch, **again)["Instances"][0]
    assert made["PrivateIpAddress"] == node.addresses[0]


def test_forgotten_instances_keep_no_address(aws: Aws, ec2: Any, vpc: Vpc, clock: FakeClock) -> None:
    """An address reused by another instance stays taken when its first owner is no longer described."""
    first = aws.scene.launch(vpc.zones[0])[0]
    aws.scene.terminate(first.id)
    second = aws.scene.launch(vpc.zones[0])[0]
    assert second.addresses == first.addresses
    clock.sleep(3600)
    assert refused(ec2.describe_instances, InstanceIds=[first.id]) == "InvalidInstanceID.NotFound"
    gc.collect()
    third, fourth = aws.scene.launch(vpc.zones[0], 2)
    assert len({second.addresses, third.addresses, fourth.addresses}) == 3


def test_termination_detaches_what_was_attached_later(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """An ENI that was attached after the launch outlives the instance (Elastic network interfaces)."""
    node = aws.scene.launch(vpc.zones[0])[0]
    extra = ec2.create_network_interface(SubnetId=vpc.zones[0].subnet_id)["NetworkInterface"]["NetworkInterfaceId"]
    ec2.attach_network_interface(NetworkInterfaceId=extra, InstanceId=node.id, DeviceIndex=1)
    aws.scene.terminate(node.id)
    left = ec2.describe_network_interfaces(NetworkInterfaceIds=[extra])["NetworkInterfaces"][0]
    assert left["Status"] == "available"
    assert "Attachment" not in left


def test_terminated_is_final(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """A terminated instance can be neither started nor stopped; terminating it again is no error
    (Amazon EC2 instance state changes; API_TerminateInstances is idempotent)."""
    node = aws.scene.launch(vpc.zones[0])[0]
    aws.scene.terminate(node.id)
    assert refused(ec2.start_instances, InstanceIds=[node.id]) == "IncorrectInstanceState"
    assert refused(ec2.stop_instances, InstanceIds=[node.id]) == "IncorrectInstanceState"
    ec2.terminate_instances(InstanceIds=[node.id])
    assert described(ec2, node.id)["State"]["Name"] == "terminated"


def test_terminated_while_stopping(slow: Aws, clock: FakeClock) -> None:
    """The last call wins: an instance terminated while stopping never becomes stopped (instance state changes)."""
    node, _ = routed(slow)
    clock.sleep(30)
    slow.scene.stop(node.id)
    clock.sleep(10)
    slow.scene.terminate(node.id)
    ec2 = slow.session().client("ec2")
    clock.sleep(20)
    assert described(ec2, node.id)["State"]["Name"] == "shutting-down"
    clock.sleep(10)
    assert described(ec2, node.id)["State"]["Name"] == "terminated"


def test_unknown_instances(ec2: Any) -> None:
    """All unknown ids are named (EC2 error codes, InvalidInstanceID.NotFound)."""
    code, _, message = answered(ec2.stop_instances, InstanceIds=["i-1", "i-2"])
    assert code == "InvalidInstanceID.NotFound"
    assert message == "The instance IDs 'i-1, i-2' do not exist"


def test_launch_makes_max_count(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """RunInstances launches as many as it can up to MaxCount (API_RunInstances)."""
    made = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=3, SubnetId=vpc.zones[0].subnet_id)
    assert [i["State"]["Name"] for i in made["Instances"]] == ["pending"] * 3


def test_device_index_order(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """The ENI with device index 0 is the primary one, whatever the order of the request (API_RunInstances)."""
    subnet = vpc.zones[0].subnet_id
    nics = [{"DeviceIndex": 1, "SubnetId": subnet}, {"DeviceIndex": 0, "SubnetId": subnet}]
    made = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1, NetworkInterfaces=nics)["Instances"][0]
    shown = described(ec2, made["InstanceId"])
    for instance in (made, shown):
        assert [eni["Attachment"]["DeviceIndex"] for eni in instance["NetworkInterfaces"]] == [0, 1]
        assert instance["PrivateIpAddress"] == instance["NetworkInterfaces"][0]["PrivateIpAddress"]


def test_ipv6_addresses(aws: Aws, ec2: Any) -> None:
    """An ENI gets the requested number of IPv6 addresses (API_InstanceNetworkInterfaceSpecification)."""
    zone = aws.scene.vpc(zones=1, ipv6=True).zones[0]
    node = aws.scene.launch(zone)[0]
    assert described(ec2, node.id)["Ipv6Address"] == node.addresses[1]
    assert node.addresses[1].startswith(zone.cidrs[1].removesuffix("::/64"))


def test_ipv6_addresses_without_an_interface(aws: Aws, ec2: Any) -> None:
    """Ipv6AddressCount may be the instance's own, as Terraform sends it (API_RunInstances)."""
    zone = aws.scene.vpc(zones=1, ipv6=True).zones[0]
    launch = {"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1, "SubnetId": zone.subnet_id}
    made = ec2.run_instances(**launch, Ipv6AddressCount=1)["Instances"][0]
    shown = described(ec2, made["InstanceId"])["NetworkInterfaces"][0]["Ipv6Addresses"]
    assert [address["Ipv6Address"].startswith(zone.cidrs[1].removesuffix("::/64")) for address in shown] == [True]


def test_instance_profile(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """All instances of a launch have the profile, by its ARN and its own id (API_RunInstances, API_Instance)."""
    iam = aws.session().client("iam")
    profile = iam.create_instance_profile(InstanceProfileName="nodes")["InstanceProfile"]
    wanted = {"Arn": profile["Arn"], "Id": profile["InstanceProfileId"]}
    launch = {"ImageId": "ami-12345678", "SubnetId": vpc.zones[0].subnet_id, "IamInstanceProfile": {"Name": "nodes"}}
    made = ec2.run_instances(**launch, MinCount=2, MaxCount=2)["Instances"]
    assert [instance["IamInstanceProfile"] for instance in made] == [wanted, wanted]
    assert [described(ec2, instance["InstanceId"])["IamInstanceProfile"] for instance in made] == [wanted, wanted]


def test_source_dest_check_of_an_instance(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """ModifyInstanceAttribute changes the check of the one ENI (API_ModifyInstanceAttribute)."""
    node = aws.scene.launch(vpc.zones[0])[0]
    ec2.modify_instance_attribute(InstanceId=node.id, SourceDestCheck={"Value": False})
    eni = ec2.describe_network_interfaces(NetworkInterfaceIds=[node.interface_id])["NetworkInterfaces"][0]
    assert eni["SourceDestCheck"] is False
    shown = described(ec2, node.id)
    assert shown["SourceDestCheck"] is shown["NetworkInterfaces"][0]["SourceDestCheck"] is False
    attribute = ec2.describe_instance_attribute(InstanceId=node.id, Attribute="sourceDestCheck")
    assert attribute["SourceDestCheck"]["Value"] is False


def test_source_dest_check_of_several_enis(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """ModifyInstanceAttribute fails on an instance with several ENIs, and changes none (kubernetes#92783)."""
    node = aws.scene.launch(vpc.zones[0], interfaces=2)[0]
    code, status, _ = answered(ec2.modify_instance_attribute, InstanceId=node.id, SourceDestCheck={"Value": False})
    assert (code, status) == ("InvalidInstanceID", 400)
    assert [eni["SourceDestCheck"] for eni in described(ec2, node.id)["NetworkInterfaces"]] == [True, True]

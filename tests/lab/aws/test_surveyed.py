"""What `cloudroute doctor` alone asks of AWS."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

from cloudroute.lab.aws import Aws, Machine, Vpc
from tests.clock import FakeClock


def test_groups_by_id(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """The filter group-id of DescribeSecurityGroups; an interface shows the groups that it was given."""
    (machine,) = aws.scene.launch(vpc.zones[0])
    group = ec2.create_security_group(GroupName="nodes", Description="nodes", VpcId=vpc.id)["GroupId"]
    aws.scene.ec2.modify_network_interface_attribute(NetworkInterfaceId=machine.interface_id, Groups=[group])
    filters = [{"Name": "group-id", "Values": [group]}]
    (found,) = ec2.describe_security_groups(Filters=filters, MaxResults=1000)["SecurityGroups"]
    assert found["GroupId"] == group
    assert groups_of(ec2, machine) == [group]


def groups_of(ec2: Any, machine: Machine) -> list[str]:
    filters = [
        {"Name": "attachment.instance-id", "Values": [machine.id]},
        {"Name": "attachment.device-index", "Values": ["0"]},
    ]
    (eni,) = ec2.describe_network_interfaces(Filters=filters, MaxResults=1000)["NetworkInterfaces"]
    return [group["GroupId"] for group in eni["Groups"]]


def test_answers_tell_the_time(aws: Aws, clock: FakeClock) -> None:
    """Each has a Date, as every answer of AWS, by the account's clock (RFC 9110, 6.6.1)."""
    answer = aws.session().client("sts").get_caller_identity()
    date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
    assert parsedate_to_datetime(date).timestamp() == int(clock.now())

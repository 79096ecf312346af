"""Calls that only `cloudroute doctor` makes."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from cloudroute.lab.aws import Aws, Machine, Vpc
from tests.clock import FakeClock
from tests.lab.aws.conftest import refused


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


def rules(acl: Any, *, egress: bool) -> list[tuple[int, str, str]]:
    """Number, action and CIDR, in the order in which EC2 evaluates them."""
    found = [one for one in acl["Entries"] if one["Egress"] == egress]
    return sorted((one["RuleNumber"], one["RuleAction"], one.get("CidrBlock") or one["Ipv6CidrBlock"]) for one in found)


def acl_of(ec2: Any, vpc: Vpc, **filters: str) -> Any:
    named = [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in filters.items()]
    filters_ = [{"Name": "vpc-id", "Values": [vpc.id]}, *named]
    (found,) = ec2.describe_network_acls(Filters=filters_, MaxResults=1000)["NetworkAcls"]
    return found


@pytest.mark.parametrize("egress", [True, False])
def test_the_last_rule_of_an_acl_denies(aws: Aws, ec2: Any, *, egress: bool) -> None:
    """An ACL ends with a deny rule for each family; only the default ACL has allow rules (Default network ACL)."""
    plain, dual = aws.scene.vpc(zones=1), aws.scene.vpc("10.1.0.0/16", zones=1, ipv6=True)
    last, last6 = (32767, "deny", "0.0.0.0/0"), (32768, "deny", "::/0")
    assert rules(acl_of(ec2, plain), egress=egress) == [(100, "allow", "0.0.0.0/0"), last]
    both = [(100, "allow", "0.0.0.0/0"), (101, "allow", "::/0"), last, last6]
    assert rules(acl_of(ec2, dual), egress=egress) == both
    ec2.create_network_acl(VpcId=dual.id)
    assert rules(acl_of(ec2, dual, default="false"), egress=egress) == [last, last6]


def test_ipv6_rules_come_with_the_first_ipv6_cidr(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """The default ACL gets them in each direction whose rules are unchanged (Default network ACL)."""
    acl = acl_of(ec2, vpc)["NetworkAclId"]
    ec2.delete_network_acl_entry(NetworkAclId=acl, RuleNumber=100, Egress=False)
    ec2.associate_vpc_cidr_block(VpcId=vpc.id, AmazonProvidedIpv6CidrBlock=True)
    found = acl_of(ec2, vpc)
    assert (101, "allow", "::/0") in rules(found, egress=True)
    assert rules(found, egress=False) == [(32767, "deny", "0.0.0.0/0"), (32768, "deny", "::/0")]


def test_subnets_of_an_acl(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """A subnet has the default ACL until another replaces it; a deleted subnet is in no ACL."""
    first, second = (zone.subnet_id for zone in vpc.zones)
    (association,) = [one for one in acl_of(ec2, vpc)["Associations"] if one["SubnetId"] == first]
    other = ec2.create_network_acl(VpcId=vpc.id)["NetworkAcl"]["NetworkAclId"]
    ec2.replace_network_acl_association(AssociationId=association["NetworkAclAssociationId"], NetworkAclId=other)
    assert [one["SubnetId"] for one in acl_of(ec2, vpc, default="false")["Associations"]] == [first]
    assert [one["SubnetId"] for one in acl_of(ec2, vpc, default="true")["Associations"]] == [second]
    spare = aws.scene.zone(vpc.id, vpc.zones[0].name, ("10.0.64.0/20",)).subnet_id
    ec2.delete_subnet(SubnetId=spare)
    assert spare not in {one["SubnetId"] for one in acl_of(ec2, vpc, default="true")["Associations"]}


def test_metadata_options(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """ModifyInstanceMetadataOptions changes what it names, and DescribeInstances shows it."""
    (machine,) = aws.scene.launch(vpc.zones[0])
    ec2.modify_instance_metadata_options(InstanceId=machine.id, HttpPutResponseHopLimit=2)
    (shown,) = ec2.describe_instances(InstanceIds=[machine.id])["Reservations"][0]["Instances"]
    options = shown["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"], options["HttpEndpoint"]) == (
        "required",
        2,
        "enabled",
    )


def test_instances_of_an_outpost(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """Subnet and instance of an Outpost show its ARN; others show none."""
    arn = f"arn:aws:outposts:{aws.region}:{aws.account}:outpost/op-0123456789abcdef0"
    rack = aws.scene.zone(vpc.id, vpc.zones[0].name, ("10.0.64.0/20",), outpost_arn=arn)
    machines = [aws.scene.launch(zone)[0] for zone in (rack, vpc.zones[0])]
    found = ec2.describe_instances(InstanceIds=[machine.id for machine in machines])["Reservations"]
    assert [one["Instances"][0].get("OutpostArn") for one in found] == [arn, None]
    (subnet,) = ec2.describe_subnets(SubnetIds=[rack.subnet_id])["Subnets"]
    assert subnet["OutpostArn"] == arn
    wanted = {"VpcId": vpc.id, "CidrBlock": "10.0.80.0/20", "OutpostArn": arn}
    assert refused(ec2.create_subnet, **wanted) == "MissingParameter"


@pytest.mark.parametrize("name", ["eu-central-1-ham-1a", "eu-central-1-wl1-ber-wlz-1"])
def test_zones_beyond_the_region(aws: Aws, ec2: Any, vpc: Vpc, name: str) -> None:
    """A Local Zone and a Wavelength Zone take subnets and instances, and are no availability zones."""
    (machine,) = aws.scene.launch(aws.scene.zone(vpc.id, name, ("10.0.64.0/20",)))
    (shown,) = ec2.describe_instances(InstanceIds=[machine.id])["Reservations"][0]["Instances"]
    assert shown["Placement"]["AvailabilityZone"] == name
    assert name not in {zone["ZoneName"] for zone in ec2.describe_availability_zones()["AvailabilityZones"]}


def test_interfaces_and_security_group_of_eks(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """EKS's interfaces have the cluster's name in their description, and a group that admits only its own members."""
    made = aws.scene.control_plane(vpc, "test")
    filters = [{"Name": "description", "Values": ["Amazon EKS test"]}]
    found = ec2.describe_network_interfaces(Filters=filters, MaxResults=1000)["NetworkInterfaces"]
    assert [one["NetworkInterfaceId"] for one in found] == list(made.interface_ids)
    assert {one["SubnetId"] for one in found} == {zone.subnet_id for zone in vpc.zones}
    assert {group["GroupId"] for one in found for group in one["Groups"]} == {made.group_id}


def test_answers_tell_the_time(aws: Aws, clock: FakeClock) -> None:
    """Each answer has a Date by the account's clock, as those of AWS (RFC 9110, 6.6.1)."""
    answer = aws.session().client("sts").get_caller_identity()
    date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
    assert parsedate_to_datetime(date).timestamp() == int(clock.now())

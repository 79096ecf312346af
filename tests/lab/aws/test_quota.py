"""The quota of routes per route table, and the answers of Service Quotas about it."""

from __future__ import annotations

from typing import Any

from cloudroute.lab.aws import Aws, Vpc
from tests.lab.aws.conftest import answered, refused


def fill(ec2: Any, table: str, interface: str, count: int) -> None:
    for number in range(count):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock=f"100.64.{number}.0/24", NetworkInterfaceId=interface)


def test_limit(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """The entry past the quota is refused, `local` counts, the table stays as it was (Amazon VPC quotas)."""
    table = vpc.zones[0].route_table_id
    interface = aws.scene.launch(vpc.zones[0])[0].interface_id
    fill(ec2, table, interface, 49)
    code, status, _ = answered(
        ec2.create_route, RouteTableId=table, DestinationCidrBlock="100.65.0.0/24", NetworkInterfaceId=interface
    )
    assert (code, status) == ("RouteLimitExceeded", 400)
    assert len(aws.scene.routes(table)) == 50
    assert aws.highest[table, "ipv4"] == 50


def test_families_apart(aws: Aws, ec2: Any) -> None:
    """IPv4 and IPv6 entries have a quota each (Amazon VPC quotas)."""
    zone = aws.scene.vpc(zones=1, ipv6=True).zones[0]
    table, interface = zone.route_table_id, aws.scene.launch(zone)[0].interface_id
    aws.set_route_quota(3, table)
    fill(ec2, table, interface, 2)
    for number in range(2):
        ec2.create_route(
            RouteTableId=table, DestinationIpv6CidrBlock=f"fd00:{number}::/80", NetworkInterfaceId=interface
        )
    more = {"RouteTableId": table, "NetworkInterfaceId": interface}
    assert refused(ec2.create_route, **more, DestinationCidrBlock="100.65.0.0/24") == "RouteLimitExceeded"
    assert refused(ec2.create_route, **more, DestinationIpv6CidrBlock="fd00:9::/80") == "RouteLimitExceeded"
    assert (aws.highest[table, "ipv4"], aws.highest[table, "ipv6"]) == (3, 3)


def test_blackholes_count(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """A blackhole takes its entry until it is deleted (kubernetes#47524)."""
    table = vpc.zones[0].route_table_id
    gone, kept = aws.scene.launch(vpc.zones[0], 2)
    aws.set_route_quota(2, table)
    fill(ec2, table, gone.interface_id, 1)
    aws.scene.terminate(gone.id)
    another = {"RouteTableId": table, "DestinationCidrBlock": "100.65.0.0/24", "NetworkInterfaceId": kept.interface_id}
    assert refused(ec2.create_route, **another) == "RouteLimitExceeded"
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="100.64.0.0/24")
    ec2.create_route(**another)
    assert aws.scene.routes(table)["100.65.0.0/24"]["State"] == "active"


def test_propagated_routes_do_not_count(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """The quota is of non-propagated routes (Amazon VPC quotas)."""
    table = vpc.zones[0].route_table_id
    aws.set_route_quota(2, table)
    for number in range(5):
        aws.propagate(table, f"192.168.{number}.0/24")
    fill(ec2, table, aws.scene.launch(vpc.zones[0])[0].interface_id, 1)
    assert len(aws.scene.routes(table)) == 7
    assert aws.highest[table, "ipv4"] == 2


def test_prefix_list_counts_its_maximum(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """A route to a prefix list counts the list's maximum number of entries, not the present one (VPC quotas)."""
    table = vpc.zones[0].route_table_id
    interface = aws.scene.launch(vpc.zones[0])[0].interface_id
    made = ec2.create_managed_prefix_list(
        PrefixListName="branches", MaxEntries=10, AddressFamily="IPv4", Entries=[{"Cidr": "172.20.0.0/16"}]
    )
    listed = made["PrefixList"]["PrefixListId"]
    aws.set_route_quota(10, table)
    arguments = {"RouteTableId": table, "DestinationPrefixListId": listed, "NetworkInterfaceId": interface}
    assert refused(ec2.create_route, **arguments) == "RouteLimitExceeded"
    aws.set_route_quota(11, table)
    ec2.create_route(**arguments)
    assert aws.scene.routes(table)[listed]["NetworkInterfaceId"] == interface
    assert aws.highest[table, "ipv4"] == 11


def test_aws_managed_prefix_list_counts_its_weight(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """AWS's own lists count their weight: S3 1, CloudFront 55 (Work with AWS-managed prefix lists)."""
    table = vpc.zones[0].route_table_id
    interface = aws.scene.launch(vpc.zones[0])[0].interface_id
    lists = {p["PrefixListName"]: p["PrefixListId"] for p in ec2.describe_managed_prefix_lists()["PrefixLists"]}
    route: dict[str, Any] = {"RouteTableId": table, "NetworkInterfaceId": interface}
    cloudfront = lists["com.amazonaws.global.cloudfront.origin-facing"]
    assert refused(ec2.create_route, **route, DestinationPrefixListId=cloudfront) == "RouteLimitExceeded"
    ec2.create_route(**route, DestinationPrefixListId=lists["com.amazonaws.eu-central-1.s3"])
    assert aws.highest[table, "ipv4"] == 2
    aws.set_route_quota(57, table)
    ec2.create_route(**route, DestinationPrefixListId=cloudfront)
    assert aws.highest[table, "ipv4"] == 57


def test_limits_of_single_tables() -> None:
    """A table's real limit may be lower than the account's, and can be set at the start (VPC quotas, per table)."""
    aws = Aws(route_quota={"rtb-unknown": 1})
    zones = aws.scene.vpc(zones=2).zones
    interface = aws.scene.launch(zones[0])[0].interface_id
    ec2 = aws.session().client("ec2")
    aws.set_route_quota(2, zones[0].route_table_id)
    fill(ec2, zones[0].route_table_id, interface, 1)
    fill(ec2, zones[1].route_table_id, interface, 2)
    more: dict[str, Any] = {"DestinationCidrBlock": "100.65.0.0/24", "NetworkInterfaceId": interface}
    assert refused(ec2.create_route, RouteTableId=zones[0].route_table_id, **more) == "RouteLimitExceeded"
    ec2.create_route(RouteTableId=zones[1].route_table_id, **more)
    assert len(aws.scene.routes(zones[1].route_table_id)) == 4


def test_a_lowered_quota_removes_nothing(aws: Aws, ec2: Any, vpc: Vpc) -> None:
    """A table above a lowered quota keeps its entries and takes no more (Amazon VPC quotas)."""
    table = vpc.zones[0].route_table_id
    interface = aws.scene.launch(vpc.zones[0])[0].interface_id
    fill(ec2, table, interface, 5)
    aws.set_route_quota(3)
    more = {"RouteTableId": table, "DestinationCidrBlock": "100.65.0.0/24", "NetworkInterfaceId": interface}
    assert refused(ec2.create_route, **more) == "RouteLimitExceeded"
    assert len(aws.scene.routes(table)) == 6


def test_service_quotas_default(aws: Aws) -> None:
    """Without an applied value GetServiceQuota knows none, and the default is answered by the other call
    (API_GetServiceQuota, API_GetAWSDefaultServiceQuota)."""
    client = aws.session().client("service-quotas")
    code = {"ServiceCode": "vpc", "QuotaCode": "L-93826ACB"}
    assert refused(client.get_service_quota, **code) == "NoSuchResourceException"
    assert client.get_aws_default_service_quota(**code)["Quota"]["Value"] == 50.0


def test_service_quotas_applied(aws: Aws) -> None:
    """An applied value is answered by GetServiceQuota and leaves the default alone (API_GetServiceQuota)."""
    aws.set_route_quota(200)
    aws.set_route_quota(7, "rtb-some")
    client = aws.session().client("service-quotas")
    code = {"ServiceCode": "vpc", "QuotaCode": "L-93826ACB"}
    assert client.get_service_quota(**code)["Quota"]["Value"] == 200.0
    assert client.get_aws_default_service_quota(**code)["Quota"]["Value"] == 50.0
    assert refused(client.get_service_quota, ServiceCode="vpc", QuotaCode="L-0") == "NoSuchResourceException"

"""Several accounts, many threads, and the builder of VPCs and instances."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest

from cloudroute.lab.aws import Aws


def test_accounts_are_apart() -> None:
    """Two accounts share nothing; each answers its own boto3 sessions only."""
    one, two = Aws(), Aws()
    vpc = one.scene.vpc(zones=1)
    known = {v["VpcId"] for v in two.session().client("ec2").describe_vpcs()["Vpcs"]}
    assert vpc.id not in known
    assert one.account != two.account
    assert two.calls == {("DescribeVpcs", "OK"): 1}
    assert not one.calls
    events: Any = boto3.Session("x", "y", region_name="eu-central-1").client("ec2").meta.events
    answers = events.emit("before-send.ec2.DescribeVpcs", request=None)
    assert [answer for _, answer in answers if answer is not None] == []


def test_sixteen_threads() -> None:
    """Sixteen threads at once: each route is made, none is refused, the quota holds."""
    aws = Aws(route_quota=101)
    zone = aws.scene.vpc(zones=1).zones[0]
    interface = aws.scene.launch(zone)[0].interface_id
    ec2 = aws.session().client("ec2")

    def create(number: int) -> str:
        cidr = f"100.64.{number}.0/24"
        try:
            ec2.create_route(RouteTableId=zone.route_table_id, DestinationCidrBlock=cidr, NetworkInterfaceId=interface)
            ec2.describe_route_tables(RouteTableIds=[zone.route_table_id])
            ec2.describe_instances()
        except ec2.exceptions.ClientError as error:
            return str(error.response["Error"]["Code"])
        return "OK"

    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(create, range(130)))
    assert sorted(codes) == ["OK"] * 100 + ["RouteLimitExceeded"] * 30
    assert len(aws.scene.routes(zone.route_table_id)) == 101
    assert aws.highest[zone.route_table_id, "ipv4"] == 101
    assert aws.calls["DescribeInstances", "OK"] == 100


@pytest.mark.parametrize(("one_table", "tables"), [(True, 1), (False, 3)])
def test_scene_vpc(*, one_table: bool, tables: int) -> None:
    """A VPC has a subnet per zone, with a table each or one for all, in both families."""
    aws = Aws()
    vpc = aws.scene.vpc(zones=3, ipv6=True, one_table=one_table, tags={"team": "net"})
    assert len(vpc.route_table_ids) == tables
    assert len({zone.name for zone in vpc.zones}) == 3
    found: Any = aws.scene.ec2.describe_route_tables(Filters=[{"Name": "tag:team", "Values": ["net"]}])["RouteTables"]
    assert {t["RouteTableId"] for t in found} == set(vpc.route_table_ids)
    associated = {a["SubnetId"]: t["RouteTableId"] for t in found for a in t["Associations"]}
    assert associated == {zone.subnet_id: zone.route_table_id for zone in vpc.zones}
    assert set(aws.scene.routes(vpc.route_table_ids[0])) == set(vpc.cidrs)
    node = aws.scene.launch(vpc.zones[1])[0]
    assert node.provider_id == f"aws:///{vpc.zones[1].name}/{node.id}"


def test_reset_calls() -> None:
    """Counting starts over."""
    aws = Aws()
    aws.session().client("ec2").describe_vpcs()
    aws.reset_calls()
    assert not aws.calls

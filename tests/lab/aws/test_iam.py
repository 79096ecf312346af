"""IAM policies, enforced with resources and conditions."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from cloudroute.lab.aws import Aws, Vpc
from tests.lab.aws.conftest import answered, refused

POD = "100.64.1.0/24"


@pytest.fixture
def aws() -> Aws:
    return Aws(enforce_iam=True)


@pytest.fixture
def vpc(aws: Aws) -> Vpc:
    return aws.scene.vpc(zones=2, tags={"kubernetes.io/cluster/prod": "owned"})


def allow(actions: str | list[str], resource: str | list[str] = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resource, **more}


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def create(aws: Aws, vpc: Vpc, document: dict[str, Any]) -> Any:
    """A CreateRoute call, not yet made, by a user with the policy."""
    interface = aws.scene.launch(vpc.zones[0])[0].interface_id
    client = aws.session(document).client("ec2")

    def call(table: str = vpc.zones[0].route_table_id) -> Any:
        return client.create_route(RouteTableId=table, DestinationCidrBlock=POD, NetworkInterfaceId=interface)

    return call


def test_refusal_names_action_and_resource(aws: Aws, vpc: Vpc) -> None:
    """UnauthorizedOperation, 403, names user, action and resource (IAM guide, access denied messages)."""
    table = vpc.zones[0].route_table_id
    code, status, message = answered(create(aws, vpc, policy(allow("ec2:Describe*"))))
    assert (code, status) == ("UnauthorizedOperation", 403)
    assert message == (
        f"You are not authorized to perform this operation. User: arn:aws:iam::{aws.account}:user/lab-1 is not "
        f"authorized to perform: ec2:CreateRoute on resource: arn:aws:ec2:eu-central-1:{aws.account}:route-table/"
        f"{table} because no identity-based policy allows the ec2:CreateRoute action"
    )
    assert POD not in aws.scene.routes(table)


def test_describes_are_asked_on_everything(aws: Aws, vpc: Vpc) -> None:
    """Describe actions have no resources: a policy must allow them on * (service authorization reference)."""
    narrow = aws.session(policy(allow("ec2:DescribeRouteTables", "arn:aws:ec2:*:*:route-table/*"))).client("ec2")
    assert refused(narrow.describe_route_tables) == "UnauthorizedOperation"
    wide = aws.session(policy(allow("ec2:describeRouteTables"))).client("ec2")
    assert len(wide.describe_route_tables()["RouteTables"]) >= 2
    assert refused(wide.describe_subnets) == "UnauthorizedOperation"


def test_resource(aws: Aws, vpc: Vpc) -> None:
    """A policy may name one route table (service authorization reference: CreateRoute, route-table/*)."""
    first, second = vpc.route_table_ids
    call = create(aws, vpc, policy(allow("ec2:CreateRoute", f"arn:aws:ec2:*:*:route-table/{first}")))
    call(first)
    assert refused(call, table=second) == "UnauthorizedOperation"
    assert (POD in aws.scene.routes(first), POD in aws.scene.routes(second)) == (True, False)


def test_resource_tag(aws: Aws, vpc: Vpc) -> None:
    """aws:ResourceTag is the table's tag (service authorization reference)."""
    owned = {"StringEquals": {"aws:ResourceTag/kubernetes.io/cluster/prod": "owned"}}
    call = create(aws, vpc, policy(allow("ec2:*Route", "arn:aws:ec2:*:*:route-table/*", Condition=owned)))
    call()
    assert refused(call, table=vpc.main_table_id) == "UnauthorizedOperation"


def test_vpc_condition(aws: Aws, vpc: Vpc) -> None:
    """ec2:Vpc is the ARN of the table's VPC (service authorization reference)."""
    arn = f"arn:aws:ec2:eu-central-1:{aws.account}:vpc/{vpc.id}"
    call = create(aws, vpc, policy(allow("ec2:CreateRoute", Condition={"ArnEquals": {"ec2:Vpc": arn}})))
    call()
    foreign = aws.scene.vpc("10.9.0.0/16", zones=1).zones[0].route_table_id
    assert refused(call, table=foreign) == "UnauthorizedOperation"


def test_explicit_deny_wins(aws: Aws, vpc: Vpc) -> None:
    """An explicit Deny beats every Allow, and the message says so (IAM guide, Policy evaluation logic)."""
    deny = {"Effect": "Deny", "Action": "ec2:CreateRoute", "Resource": "*"}
    code, _, message = answered(create(aws, vpc, policy(allow("*"), deny)))
    assert code == "UnauthorizedOperation"
    assert message.endswith("with an explicit deny in an identity-based policy")


def test_interface_attribute(aws: Aws, vpc: Vpc) -> None:
    """ModifyNetworkInterfaceAttribute is authorized on network-interface/*, with the attribute as a condition key
    (service authorization reference)."""
    interface = aws.scene.launch(vpc.zones[0])[0].interface_id
    only = {"StringEquals": {"ec2:Attribute": "SourceDestCheck"}}
    document = policy(
        allow("ec2:ModifyNetworkInterfaceAttribute", "arn:aws:ec2:*:*:network-interface/*", Condition=only)
    )
    client = aws.session(document).client("ec2")
    change = client.modify_network_interface_attribute
    change(NetworkInterfaceId=interface, SourceDestCheck={"Value": False})
    assert refused(change, NetworkInterfaceId=interface, Description={"Value": "x"}) == "UnauthorizedOperation"
    enis = aws.scene.ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"]
    assert (enis[0]["SourceDestCheck"], enis[0]["Description"] == "x") == (False, False)


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ({"StringNotEquals": {"aws:ResourceTag/env": "prod"}}, True),
        ({"StringEqualsIfExists": {"aws:ResourceTag/env": "prod"}}, True),
        ({"StringEquals": {"aws:ResourceTag/env": "prod"}}, False),
        ({"StringLike": {"ec2:Region": "eu-*"}}, True),
        ({"StringNotLike": {"ec2:Region": ["us-*", "eu-*"]}}, False),
        ({"StringEqualsIgnoreCase": {"EC2:region": "EU-CENTRAL-1"}}, True),
        ({"Null": {"aws:ResourceTag/env": "true"}}, True),
        ({"Null": {"ec2:Vpc": "true"}}, False),
        ({"ForAnyValue:StringEquals": {"ec2:Region": ["eu-central-1", "x"]}}, True),
        ({"StringLike": {"ec2:Region": "*"}, "StringEquals": {"ec2:Region": "x"}}, False),
    ],
)
def test_condition_operators(aws: Aws, vpc: Vpc, condition: dict[str, Any], *, allowed: bool) -> None:
    """Each operator as the IAM guide defines it, also for a key that is missing (Condition operators)."""
    call = create(aws, vpc, policy(allow("ec2:CreateRoute", Condition=condition)))
    if allowed:
        call()
    else:
        assert refused(call) == "UnauthorizedOperation"
    assert (POD in aws.scene.routes(vpc.zones[0].route_table_id)) is allowed


def test_not_action_and_not_resource(aws: Aws, vpc: Vpc) -> None:
    """NotAction and NotResource match everything else (IAM JSON policy elements)."""
    first, second = vpc.route_table_ids
    statement = {"Effect": "Allow", "NotAction": "iam:*", "NotResource": f"arn:aws:ec2:*:*:route-table/{second}"}
    call = create(aws, vpc, policy(statement))
    call(first)
    assert refused(call, table=second) == "UnauthorizedOperation"


def test_assumed_role(aws: Aws, vpc: Vpc) -> None:
    """A role's policies hold for its temporary credentials (IAM guide, Using IAM roles)."""
    root = aws.session()
    trust = policy({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"})
    role = root.client("iam").create_role(RoleName="controller", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    document = json.dumps(policy(allow("ec2:DescribeRouteTables")))
    root.client("iam").put_role_policy(RoleName="controller", PolicyName="p", PolicyDocument=document)
    given = root.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="session")["Credentials"]
    with aws.serve() as server:
        session = boto3.Session(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], aws.region)
        ec2 = session.client("ec2", endpoint_url=server.url)
        assert len(ec2.describe_route_tables()["RouteTables"]) >= 2
        code, _, message = answered(ec2.describe_subnets)
        ec2.close()
    assert code == "UnauthorizedOperation"
    assert f"arn:aws:sts::{aws.account}:assumed-role/controller/session" in message


def test_service_quotas(aws: Aws) -> None:
    """Service Quotas refuses in its own format (API_GetAWSDefaultServiceQuota: AccessDeniedException)."""
    client = aws.session(policy(allow("ec2:*"))).client("service-quotas")
    code = {"ServiceCode": "vpc", "QuotaCode": "L-93826ACB"}
    assert refused(client.get_aws_default_service_quota, **code) == "AccessDeniedException"


def test_unknown_key(aws: Aws) -> None:
    """An unknown access key is AuthFailure, 401 (EC2 error codes)."""
    with aws.serve() as server:
        ec2 = boto3.Session("AKIANOBODY0000000000", "x", region_name=aws.region).client("ec2", endpoint_url=server.url)
        assert answered(ec2.describe_vpcs)[:2] == ("AuthFailure", 401)
        ec2.close()

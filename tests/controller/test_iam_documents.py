"""The policies of deploy/iam: enough for all that the controller does, nothing unused, and narrow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import structlog.testing

from cloudroute.core.explain.doctor.aws import ACTIONS
from cloudroute.errors import Forbidden
from cloudroute.lab.aws import Aws
from tests.controller.lab import Lab, lab
from tests.lab.aws.conftest import refused

FOLDER = Path(__file__).parents[2] / "deploy" / "iam"
POLICIES = {"policy.json": True, "policy-untagged.json": False}
"""Whether the tables are tagged."""
RESYNC = 60


def document(name: str, aws: Aws, vpc_id: str) -> Any:
    """A file of deploy/iam with its words in capitals filled in as its README says."""
    text = (FOLDER / name).read_text()
    values = {"ACCOUNT_ID": aws.account, "REGION": aws.region, "VPC_ID": vpc_id, "CLUSTER_NAME": "test"}
    for word, value in {**values, "OIDC_PROVIDER": "oidc.example.com/id/1"}.items():
        text = text.replace(word, value)
    return json.loads(text)


def actions(policy: Any) -> set[str]:
    """All actions that a policy allows."""
    listed = [one["Action"] for one in policy["Statement"]]
    return {action for one in listed for action in ([one] if isinstance(one, str) else one)}


def without(policy: Any, action: str) -> Any:
    """The policy less one action."""
    kept = []
    for statement in policy["Statement"]:
        allowed = [one for one in actions({"Statement": [statement]}) if one != action]
        kept += [{**statement, "Action": allowed}] if allowed else []
    return {**policy, "Statement": kept}


@contextmanager
def controlled(name: str, missing: str = "") -> Iterator[Lab]:
    """A controller with `--route-limit auto` whose IAM user has a policy of deploy/iam, less one action."""
    with lab(zones=2, tagged=POLICIES[name], aws={"enforce_iam": True, "route_quota": 50}, route_limit="auto") as world:
        policy = document(name, world.aws, world.vpc.id)
        session = world.aws.session(without(policy, missing) if missing else policy)
        world.foreign(world.tables()[0], world.prefix_list(5), GatewayId=world.gateway())
        with patch.object(world.aws, "session", return_value=session):
            world.start()
        yield world


def live(world: Lab) -> list[str]:
    """A cluster's life that needs every action: nodes join, somebody turns a route, a node goes."""
    machine = world.aws.scene.launch(world.vpc.zones[0], interfaces=2)[0]
    names = [world.join(machine=machine), world.join(1), world.join(1)]
    world.run(50)
    table, (destination,) = world.tables()[0], world.pod_cidrs(names[0])
    if destination in world.routes(table):
        turned = {"DestinationCidrBlock": destination, "NetworkInterfaceId": machine.interface_ids[1]}
        world.aws.scene.ec2.replace_route(RouteTableId=table, **turned)
    world.terminate(names.pop())
    world.pass_seconds(RESYNC + 1)
    world.run(50)
    return names


def called(world: Lab) -> set[str]:
    """Return the actions that were called, by IAM's names."""
    names = {action for action, _ in world.aws.calls}
    return {f"{'servicequotas' if name.endswith('ServiceQuota') else 'ec2'}:{name}" for name in names}


@pytest.mark.parametrize("name", POLICIES)
def test_all_that_is_needed_and_nothing_else(name: str) -> None:
    """With the policy nothing is refused, every action of it is called, and no other is."""
    with controlled(name) as world:
        names = live(world)
        assert {world.condition(node) for node in names} == {("False", "RouteCreated")}
        assert [len(world.routes(table)) for table in world.tables()] == [len(names) + 1, len(names)]
        assert not [key for key in world.aws.calls if key[1] in ("UnauthorizedOperation", "AccessDeniedException")]
        assert called(world) == actions(document(name, world.aws, world.vpc.id)) == set(ACTIONS)


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_that_is_missing_is_named(action: str) -> None:
    """Without it the log or an Event says which action to allow."""
    with structlog.testing.capture_logs() as logs, controlled("policy.json", action) as world:
        words = ""
        try:
            live(world)
            words = " ".join(note for *_, note in world.events())
        except (Forbidden, AssertionError, KeyError) as error:  # without describes there are no nodes with pod CIDRs
            words = str(error)
        refusals = {code for (name, code), _ in world.aws.calls.items() if name == action.partition(":")[2]}
    assert refusals <= {"UnauthorizedOperation", "AccessDeniedException"}
    assert refusals
    assert f"Allow {action} on it in the controller's IAM policy" in words + repr(logs)


def test_only_the_clusters_tables_and_the_vpcs_interfaces() -> None:
    """Another VPC's table, an untagged one, another cluster's and another VPC's interface are refused."""
    aws = Aws(enforce_iam=True)
    mine = aws.scene.vpc(zones=1, tags={"kubernetes.io/cluster/test": "owned"})
    other = aws.scene.vpc("10.1.0.0/16", zones=1, tags={"kubernetes.io/cluster/test": "owned"})
    theirs = aws.scene.ec2.create_route_table(VpcId=mine.id)["RouteTable"]["RouteTableId"]
    aws.scene.ec2.create_tags(Resources=[theirs], Tags=[{"Key": "kubernetes.io/cluster/test2", "Value": "owned"}])
    node, stranger = aws.scene.launch(mine.zones[0])[0], aws.scene.launch(other.zones[0])[0]
    ec2: Any = aws.session(document("policy.json", aws, mine.id)).client("ec2")

    def create(table_id: str, interface_id: str) -> dict[str, str]:
        return {"RouteTableId": table_id, "DestinationCidrBlock": "100.64.0.0/24", "NetworkInterfaceId": interface_id}

    ec2.create_route(**create(mine.zones[0].route_table_id, node.interface_id))
    for table_id in (mine.main_table_id, theirs):
        assert refused(ec2.create_route, **create(table_id, node.interface_id)) == "UnauthorizedOperation"
    elsewhere = create(other.zones[0].route_table_id, stranger.interface_id)
    assert refused(ec2.create_route, **elsewhere) == "UnauthorizedOperation"
    off = {"SourceDestCheck": {"Value": False}}
    ec2.modify_network_interface_attribute(NetworkInterfaceId=node.interface_id, **off)
    modify = ec2.modify_network_interface_attribute
    assert refused(modify, NetworkInterfaceId=stranger.interface_id, **off) == "UnauthorizedOperation"
    assert refused(ec2.terminate_instances, InstanceIds=[node.id]) == "UnauthorizedOperation"


def test_doctors_own_reads_are_no_part_of_the_controllers_policy() -> None:
    """They are in a document of their own."""
    aws = Aws()
    extra = actions(document("doctor.json", aws, "vpc-1"))
    kinds = ("NetworkAcls", "NetworkInterfaces", "SecurityGroups", "VpcPeeringConnections")
    assert extra == {f"ec2:Describe{kind}" for kind in kinds}
    assert not extra & set(ACTIONS)


@pytest.mark.parametrize(
    ("name", "principal", "action"),
    [
        ("trust-irsa.json", {"Federated"}, "sts:AssumeRoleWithWebIdentity"),
        ("trust-pod-identity.json", {"Service"}, "sts:AssumeRole"),
        ("trust-instance.json", {"Service"}, "sts:AssumeRole"),
    ],
)
def test_roles_can_be_made(name: str, principal: set[str], action: str) -> None:
    """IAM takes each trust policy with the permissions, and it names one kind of caller."""
    aws = Aws()
    iam = aws.session().client("iam")
    trust = document(name, aws, "vpc-1")
    iam.create_role(RoleName="cloudroute", AssumeRolePolicyDocument=json.dumps(trust))
    for policy in POLICIES:
        text = json.dumps(document(policy, aws, "vpc-1"))
        iam.put_role_policy(RoleName="cloudroute", PolicyName=policy, PolicyDocument=text)
    (statement,) = iam.get_role(RoleName="cloudroute")["Role"]["AssumeRolePolicyDocument"]["Statement"]
    assert set(statement["Principal"]) == principal
    assert action in statement["Action"]


def test_nothing_is_left_to_fill_in() -> None:
    """Every word in capitals is one that the README explains."""
    aws = Aws()
    readme = (FOLDER / "README.md").read_text()
    files = sorted(path.name for path in FOLDER.glob("*.json"))
    assert all(f"`{name}`" in readme for name in files)
    for name in files:
        text = json.dumps(document(name, aws, "vpc-1"))
        assert not [word for word in ("ACCOUNT_ID", "REGION", "VPC_ID", "CLUSTER_NAME", "OIDC") if word in text]

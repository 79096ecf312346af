"""environments/test from apply to destroy, with the real controller on what was applied."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from cloudroute.lab.aws import Aws
from cloudroute.lab.aws.scene import Machine
from tests.lab.aws.conftest import refused
from tests.terraform.account import Account, Cluster, account
from tests.terraform.kit import Terraform

DEPLOY = Path(__file__).parents[2] / "deploy" / "iam"


def to_interfaces(aws: Aws, table_id: str) -> dict[str, str]:
    """The routes of a table that lead to ENIs, by destination."""
    routes = aws.scene.routes(table_id)
    return {cidr: str(route["NetworkInterfaceId"]) for cidr, route in routes.items() if "NetworkInterfaceId" in route}


def wanted_routes(cluster: Cluster, applied: Mapping[str, Any]) -> dict[str, str]:
    """Each pod CIDR that a Node has, to that node's ENI."""
    return {
        cidr: applied["nodes"][node["metadata"]["name"]]["interface_id"]
        for node in cluster.kube.list("nodes")
        for cidr in node["spec"]["podCIDRs"]
    }


def checked(aws: Aws, applied: Mapping[str, Any]) -> list[bool]:
    """The source/dest checks of the nodes' ENIs."""
    ids = [node["interface_id"] for node in applied["nodes"].values()]
    found = aws.scene.ec2.describe_network_interfaces(NetworkInterfaceIds=ids)["NetworkInterfaces"]
    return [eni["SourceDestCheck"] for eni in found]


def check_narrow(world: Account, credentials: Mapping[str, str], applied: Mapping[str, Any], stranger: Machine) -> None:
    """The role changes nothing outside of its VPC, whatever its tags, nor a table of it that is not the cluster's."""
    interface = next(iter(applied["nodes"].values()))["interface_id"]
    tables = world.aws.scene.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [applied["vpc_id"]]}])
    others = {table["RouteTableId"] for table in tables["RouteTables"]} - set(applied["route_table_ids"].values())
    assert len(others) == 2  # the VPC's main table, and that of the public subnets
    with closing(world.client("ec2", **credentials)) as ec2:
        for table, target in [(stranger.zone.route_table_id, stranger.interface_id), *((t, interface) for t in others)]:
            route = {"RouteTableId": table, "DestinationCidrBlock": "100.64.9.0/24", "NetworkInterfaceId": target}
            assert refused(ec2.create_route, **route) == "UnauthorizedOperation"
        off = {"NetworkInterfaceId": stranger.interface_id, "SourceDestCheck": {"Value": False}}
        assert refused(ec2.modify_network_interface_attribute, **off) == "UnauthorizedOperation"


def written(name: str, applied: Mapping[str, Any]) -> Any:
    """A document of deploy/iam with its placeholders filled in."""
    region, account_id = applied["vpc_arn"].split(":")[3:5]
    words = {
        "ACCOUNT_ID": account_id,
        "REGION": region,
        "VPC_ID": applied["vpc_id"],
        "CLUSTER_NAME": applied["cluster_name"],
        "OIDC_PROVIDER": "oidc.example.com/id/TEST",
    }
    text = (DEPLOY / name).read_text()
    for word, value in words.items():
        text = text.replace(word, value)
    return normal(json.loads(text))


def normal(document: Any) -> Any:
    """A policy document in normal form: sorted lists, and lists of one as a scalar."""
    if isinstance(document, Mapping):
        return {key: normal(value) for key, value in document.items()}
    if isinstance(document, list):
        ordered = sorted(map(normal, document), key=lambda item: json.dumps(item, sort_keys=True))
        return ordered[0] if len(ordered) == 1 else ordered
    return document


def documents(world: Account) -> dict[str, Any]:
    """Policies and trust policies of the applied roles, by their names in deploy/iam."""
    found = {}
    with closing(world.client("iam")) as iam:
        for identity in ("instance-profile", "irsa", "pod-identity"):
            role = iam.get_role(RoleName=f"test-{identity}")["Role"]
            found[f"trust-{identity.removesuffix('-profile')}.json"] = normal(role["AssumeRolePolicyDocument"])
            policy = iam.get_role_policy(RoleName=role["RoleName"], PolicyName="cloudroute")["PolicyDocument"]
            assert found.setdefault("policy.json", normal(policy)) == normal(policy)
    return found


def test_from_apply_to_destroy(terraform: Terraform, tmp_path: Path) -> None:
    """It applies, with the documents of deploy/iam; the controller, in its role, routes every pod CIDR in every zone's
    table and switches the checks off; Terraform sees no drift in that; after `cleanup` it destroys all that it made."""
    with account(terraform) as world:
        aws = world.aws
        elsewhere = aws.scene.vpc("10.9.0.0/16", zones=1, tags={"kubernetes.io/cluster/test": "owned"})
        (stranger,) = aws.scene.launch(elsewhere.zones[0])
        before = world.remains()
        world.terraform("apply", "-auto-approve")
        applied = world.outputs()
        made = documents(world)
        assert made == {name: written(name, applied) for name in made}
        assert len(applied["nodes"]) == len(applied["route_table_ids"]) == 3
        registered = {one["metadata"]["name"]: one["spec"] for one in yaml.safe_load_all(applied["kubernetes_nodes"])}
        assert registered == {name: {"providerID": node["provider_id"]} for name, node in applied["nodes"].items()}
        credentials = world.assume(applied["role_arns"]["instance-profile"])

        aws.reset_calls()
        with closing(Cluster(tmp_path, applied, world.url, credentials)) as cluster:
            cluster.cloudroute("controller", "--once")
            routes = wanted_routes(cluster, applied)
            assert len(routes) == 6
            assert {ipaddress.ip_network(cidr).version for cidr in routes} == {4, 6}
            assert [to_interfaces(aws, id_) for id_ in applied["route_table_ids"].values()] == [routes] * 3
            assert checked(aws, applied) == [False] * 3
            assert {code for _, code in aws.calls} == {"OK"}
            check_narrow(world, credentials, applied, stranger)

            assert "No changes." in world.terraform("plan", "-detailed-exitcode")

            cluster.cloudroute("cleanup", "--yes")
            assert [to_interfaces(aws, id_) for id_ in applied["route_table_ids"].values()] == [{}] * 3
            assert cluster.kube.list("noderoutes") == []

        world.terraform("destroy", "-auto-approve")
        assert world.remains() == before

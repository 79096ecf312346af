"""AWS's cloud-controller-manager 1.34.4 with its route controller, by the EC2 calls that it was seen to make.

Every ten seconds it reads the one table with the cluster's tag, finds its routes by InstanceId and compares them with
the Nodes' pod CIDRs, of both families alike; but it asks EC2 for IPv4 routes only.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from cloudroute.lab.aws import Aws
from cloudroute.lab.kube import Cluster

PERIOD = 10.0
"""Seconds between two looks."""


class RouteController:
    """`look` is one of its looks. `did` counts what it asked EC2 to change, by action and answer."""

    def __init__(self, aws: Aws, kube: Cluster, table_id: str, cluster_cidr: str) -> None:
        self._ec2, self._kube, self._table_id = aws.scene.ec2, kube, table_id
        self._scene = aws.scene
        self._range = ipaddress.ip_network(cluster_cidr)
        self.did: Counter[tuple[str, str]] = Counter()

    def look(self) -> None:
        """Delete what is no Node's, create what is missing, and say how it went in each Node's condition."""
        nodes = {_instance(node): node for node in self._kube.list("nodes")}
        routes = {
            cidr: route
            for cidr, route in self._scene.routes(self._table_id).items()
            if "InstanceId" in route or route["State"] == "blackhole"
        }
        living = {route["InstanceId"] for route in routes.values() if route["State"] == "active"}
        if not living <= nodes.keys():
            return  # "node with instanceID ... not found": all its work waits until that route is gone
        for cidr, route in routes.items():
            owner = nodes.get(route.get("InstanceId", ""), {})
            stale = route["State"] == "blackhole" or cidr not in owner.get("spec", {}).get("podCIDRs", ())
            if stale and ipaddress.ip_network(cidr).subnet_of(self._range):  # type: ignore[arg-type] # one family
                self._ask("delete_route", RouteTableId=self._table_id, DestinationCidrBlock=cidr)
        for instance, node in nodes.items():
            cidrs: Sequence[str] = node["spec"].get("podCIDRs", ())
            missing = [cidr for cidr in cidrs if routes.get(cidr, {}).get("InstanceId") != instance]
            if cidrs:
                self._condition(node, created=not [cidr for cidr in missing if not self._create(cidr, instance)])

    def _create(self, cidr: str, instance: str) -> bool:
        self._ask("modify_instance_attribute", InstanceId=instance, SourceDestCheck={"Value": False})
        route = {"RouteTableId": self._table_id, "DestinationCidrBlock": cidr, "InstanceId": instance}
        return self._ask("create_route", **route)

    def _ask(self, action: str, **request: Any) -> bool:
        code = "OK"
        try:
            getattr(self._ec2, action)(**request)
        except ClientError as error:
            code = error.response["Error"]["Code"]
        self.did[action, code] += 1
        return code == "OK"

    def _condition(self, node: Mapping[str, Any], *, created: bool) -> None:
        """Written where it is not so already, whoever wrote it."""
        others = node.get("status", {}).get("conditions", [])
        wanted = "False" if created else "True"
        if any(one["type"] == "NetworkUnavailable" and one["status"] == wanted for one in others):
            return
        reason, message = (
            ("RouteCreated", "RouteController created a route")
            if created
            else ("NoRouteCreated", "RouteController failed to create a route")
        )
        mine = {"type": "NetworkUnavailable", "status": wanted, "reason": reason, "message": message}
        kept = [one for one in others if one["type"] != "NetworkUnavailable"]
        self._kube.patch_status("nodes", node["metadata"]["name"], {**node["status"], "conditions": [*kept, mine]})


def _instance(node: Mapping[str, Any]) -> str:
    return str(node["spec"].get("providerID", "")).rpartition("/")[2]

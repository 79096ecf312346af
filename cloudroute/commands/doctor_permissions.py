"""Checks the AWS permissions of the account in use, with the resources that the controller would use.

IAM's answer may depend on these: a policy can name tags and VPCs. Imported by the command when it runs: it loads boto3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.adapters.ec2.doctor_client import DoctorClient
from cloudroute.core.explain.doctor.aws import ACTIONS
from cloudroute.core.explain.doctor.facts import Facts
from cloudroute.core.explain.doctor.findings import Lacking, Unknown
from cloudroute.core.explain.doctor.vpc import managed, snapshot_of
from cloudroute.errors import ApiError, Forbidden
from cloudroute.types import Cidr

TABLES_ASKED = 10
"""Most tables to ask IAM about: its answer may differ by tag, and each request takes a token of AWS's bucket."""
_SOMEWHERE = Cidr.parse("192.0.2.0/24")
"""Destination to ask about if no pool is known (TEST-NET-1)."""


def read_quota(facts: Facts, ec2: Ec2Client) -> tuple[int | Unknown, Mapping[str, str | Unknown]]:
    """Return the quota, and the refusals. Service Quotas has no DryRun, so the read itself is the check."""
    try:
        return ec2.route_quota(), {}
    except Forbidden as error:
        action = f"servicequotas:{error.action}"
        if facts.route_limit == "auto":
            return Unknown(f"{action} is refused"), {action: str(error)}
        return Unknown(f"{action} is refused, and not needed with --route-limit {facts.route_limit}"), {}
    except ApiError as error:
        return Unknown(str(error)), {}


def refusals(facts: Facts, client: DoctorClient) -> Mapping[str, str | Unknown]:
    """Check each EC2 action by DryRun, with the resources that the controller would use: "" if it is allowed."""
    targets = _targets(facts)
    answers: dict[str, str | Unknown] = {}
    for action in (name.removeprefix("ec2:") for name in ACTIONS if name.startswith("ec2:")):
        calls = [{}] if action.startswith("Describe") else targets(action)
        answers[f"ec2:{action}"] = _first_refusal(action, calls, client)
    return answers


def _first_refusal(action: str, calls: list[dict[str, Any]] | Unknown, client: DoctorClient) -> str | Unknown:
    if isinstance(calls, Unknown):
        return calls
    for params in calls:
        try:
            if refusal := client.refusal(action, params):
                return refusal
        except ApiError as error:
            return Unknown(str(error))
    return ""


def _targets(facts: Facts) -> Callable[[str], list[dict[str, Any]] | Unknown]:
    """Return a function from the name of a write to the parameters of its DryRun requests."""
    instances = {} if isinstance(facts.aws.instances, Unknown) else facts.aws.instances
    interface = next((instance.primary.id for instance in instances.values() if instance.primary), "")
    try:
        tables = [table.id for table in managed(snapshot_of(facts), facts.policy)][:TABLES_ASKED]
    except Lacking:
        tables = []
    destination = _unused(facts)
    name = "DestinationCidrBlock" if destination.family == "ipv4" else "DestinationIpv6CidrBlock"

    def targets(action: str) -> list[dict[str, Any]] | Unknown:
        if not interface and action != "DeleteRoute":
            return Unknown("no node's network interface is known to ask about")
        if action == "ModifyNetworkInterfaceAttribute":
            return [{"NetworkInterfaceId": interface, "SourceDestCheck": {"Value": False}}]
        if not tables:
            return Unknown("no route table is known to ask about")
        to = {} if action == "DeleteRoute" else {"NetworkInterfaceId": interface}
        return [{"RouteTableId": table, name: str(destination), **to} for table in tables]

    return targets


def _unused(facts: Facts) -> Cidr:
    """Return the pod CIDR that is allocated last: an endpoint that ignores DryRun must not hit a route in use."""
    for pool in facts.policy.pools:
        length = facts.policy.node_mask[pool.family]
        size = Cidr(pool.family, pool.base, length).size
        return Cidr(pool.family, pool.end - size, length)
    return _SOMEWHERE

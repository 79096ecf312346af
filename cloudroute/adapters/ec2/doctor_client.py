"""AWS calls of `cloudroute doctor` alone: permissions, identity, and other resources of the VPC.

Kept apart from `client`, so that the running controller never calls more than its ten actions: its IAM policy allows no
others. This module loads botocore's whole model of EC2, which a command can afford and the controller can't.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

from cloudroute.adapters.ec2 import errors
from cloudroute.adapters.ec2.calls import chunks
from cloudroute.adapters.ec2.parse import Raw
from cloudroute.core.explain.doctor.facts import (
    Acl,
    AclRule,
    ControlPlaneInterface,
    Groups,
    InstanceOptions,
    Peer,
    Rule,
)
from cloudroute.errors import ApiError, Forbidden, Retryable
from cloudroute.ports import Clock
from cloudroute.types import Cidr

_SECONDS = 5
_IN_USE = ("active", "pending-acceptance", "provisioning")
"""States of a peering connection that carries traffic or soon may."""


class Identity(NamedTuple):
    """The owner of the credentials in use, and AWS's clock minus ours in seconds; None where no answer had a date."""

    arn: str
    seconds_ahead: float | None


class DoctorClient:
    """Reads, and DryRuns of writes. All methods raise errors.ApiError."""

    def __init__(self, session: boto3.Session, region: str, clock: Clock) -> None:
        config = Config(region_name=region, connect_timeout=_SECONDS, read_timeout=2 * _SECONDS)
        self._ec2: Any = session.client("ec2", config=config)
        self._sts: Any = session.client("sts", config=config)
        self._clock = clock

    def identity(self) -> Identity:
        """GetCallerIdentity, which any valid credentials may call."""
        before = self._clock.now()
        answer = self._ask("GetCallerIdentity", "of the credentials in use", self._sts.get_caller_identity)
        midway = (before + self._clock.now()) / 2
        date = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
        ahead = parsedate_to_datetime(date).timestamp() - midway if date else None
        return Identity(str(answer["Arn"]), ahead)

    def refusal(self, action: str, params: Raw) -> str:
        """Reason why IAM would refuse this call, in words; "" when it would not. Nothing is changed (DryRun).

        EC2 checks permissions first: any other complaint means that the permission is there.
        """
        try:
            self._ask(action, _resource(params), getattr(self._ec2, _method(action)), **params, DryRun=True)
        except Forbidden as error:
            return f"{error.resource}: {error.message.partition('. Allow ')[0]}"
        except Retryable:
            raise
        except ApiError as error:
            if not error.code:  # no answer of EC2
                raise
        return ""

    def peers(self, vpc_id: str) -> Sequence[Peer]:
        """The VPCs that are peered with this one."""
        found: dict[str, Peer] = {}
        for side, mine, other in (
            ("requester", "RequesterVpcInfo", "AccepterVpcInfo"),
            ("accepter", "AccepterVpcInfo", "RequesterVpcInfo"),
        ):
            filters = [{"Name": f"{side}-vpc-info.vpc-id", "Values": [vpc_id]}]
            pages = self._pages("DescribeVpcPeeringConnections", vpc_id, Filters=filters, MaxResults=100)
            for raw in (one for page in pages for one in page["VpcPeeringConnections"]):
                # moto accepts these filters and ignores them: hence the check here.
                ours = (raw.get(mine) or {}).get("VpcId") == vpc_id
                if ours and (raw.get("Status") or {}).get("Code") in _IN_USE:
                    found[raw["VpcPeeringConnectionId"]] = Peer(raw["VpcPeeringConnectionId"], _cidrs(raw.get(other)))
        return list(found.values())

    def control_plane(self, vpc_id: str, cluster: str) -> Sequence[ControlPlaneInterface]:
        """The interfaces of the EKS control plane of the cluster of that name; none where there is no such cluster."""
        filters = [
            {"Name": "vpc-id", "Values": [vpc_id]},
            {"Name": "description", "Values": [f"Amazon EKS {cluster}"]},
        ]
        pages = self._pages("DescribeNetworkInterfaces", vpc_id, Filters=filters, MaxResults=1000)
        return [_control_plane_interface(raw) for page in pages for raw in page["NetworkInterfaces"]]

    def acls(self, vpc_id: str) -> Sequence[Acl]:
        """The VPC's network ACLs."""
        filters = [{"Name": "vpc-id", "Values": [vpc_id]}]
        pages = self._pages("DescribeNetworkAcls", vpc_id, Filters=filters, MaxResults=1000)
        return [_acl(raw) for page in pages for raw in page["NetworkAcls"]]

    def options(self, instance_ids: Collection[str]) -> Mapping[str, InstanceOptions]:
        """Options of each instance that only doctor reads."""
        found = {}
        for chunk in chunks(instance_ids):
            filters = [{"Name": "instance-id", "Values": chunk}]
            for page in self._pages("DescribeInstances", chunk[0], Filters=filters, MaxResults=1000):
                for raw in (one for reservation in page["Reservations"] for one in reservation["Instances"]):
                    found[raw["InstanceId"]] = _options(raw)
        return found

    def groups(self, instance_ids: Collection[str], others: Collection[str]) -> Groups:
        """The security groups of the instances' primary interfaces; the rules of these, and of `others`."""
        of_instance = {}
        for chunk in chunks(instance_ids):
            filters = [
                {"Name": "attachment.instance-id", "Values": chunk},
                {"Name": "attachment.device-index", "Values": ["0"]},
            ]
            for page in self._pages("DescribeNetworkInterfaces", chunk[0], Filters=filters, MaxResults=1000):
                for raw in page["NetworkInterfaces"]:
                    of_instance[raw["Attachment"]["InstanceId"]] = frozenset(g["GroupId"] for g in raw["Groups"])
        ingress, egress = {}, {}
        for chunk in chunks({*others, *(group for groups in of_instance.values() for group in groups)}):
            filters = [{"Name": "group-id", "Values": chunk}]
            for page in self._pages("DescribeSecurityGroups", chunk[0], Filters=filters, MaxResults=1000):
                for raw in page["SecurityGroups"]:
                    ingress[raw["GroupId"]] = [_rule(one) for one in raw.get("IpPermissions") or ()]
                    egress[raw["GroupId"]] = [_rule(one) for one in raw.get("IpPermissionsEgress") or ()]
        return Groups(of_instance, ingress, egress)

    def _pages(self, action: str, resource: str, **params: Any) -> Iterator[Raw]:
        method = getattr(self._ec2, _method(action))
        page = self._ask(action, resource, method, **params)
        yield page
        while token := page.get("NextToken"):
            page = self._ask(action, resource, method, **params, NextToken=token)
            yield page

    @staticmethod
    def _ask(action: str, resource: str, method: Any, **params: Any) -> Raw:
        try:
            answer: Raw = method(**params)
        except errors.FAILURES as cause:
            raise errors.translate(action, resource, cause) from cause
        return answer


def _method(action: str) -> str:
    """boto3's name for an action.

    >>> _method("DescribeVpcPeeringConnections")
    'describe_vpc_peering_connections'
    """
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in action).lstrip("_")


def _resource(params: Raw) -> str:
    return str(params.get("RouteTableId") or params.get("NetworkInterfaceId") or "*")


def _cidrs(side: Raw | None) -> tuple[Cidr, ...]:
    """All CIDRs of one side of a peering connection. Before it is accepted, EC2 does not show all."""
    side = side or {}
    texts = [one["CidrBlock"] for one in side.get("CidrBlockSet") or ()] or [side.get("CidrBlock")]
    texts += [one["Ipv6CidrBlock"] for one in side.get("Ipv6CidrBlockSet") or ()]
    return tuple(_network(text) for text in texts if text)


def _control_plane_interface(raw: Raw) -> ControlPlaneInterface:
    addresses = [one["PrivateIpAddress"] for one in raw.get("PrivateIpAddresses") or ()]
    addresses += [one["Ipv6Address"] for one in raw.get("Ipv6Addresses") or ()]
    return ControlPlaneInterface(raw["SubnetId"], frozenset(one["GroupId"] for one in raw["Groups"]), tuple(addresses))


def _acl(raw: Raw) -> Acl:
    """Sort the entries, since EC2 promises no order."""
    rules = sorted(map(_acl_rule, raw["Entries"]), key=lambda rule: rule.number)
    subnets = frozenset(one["SubnetId"] for one in raw.get("Associations") or ())
    return Acl(raw["NetworkAclId"], subnets, tuple(rules))


def _acl_rule(raw: Raw) -> AclRule:
    ports = raw.get("PortRange") or {}
    return AclRule(
        number=int(raw["RuleNumber"]),
        egress=bool(raw["Egress"]),
        allow=raw["RuleAction"] == "allow",
        protocol=str(raw["Protocol"]),
        ports=(int(ports.get("From", 0)), int(ports.get("To", 65535))),
        cidr=_network(raw.get("CidrBlock") or raw["Ipv6CidrBlock"]),
    )


def _options(raw: Raw) -> InstanceOptions:
    options = raw.get("MetadataOptions") or {}
    return InstanceOptions(
        metadata=options.get("HttpEndpoint") != "disabled",
        token_required=options.get("HttpTokens") == "required",
        hop_limit=int(options.get("HttpPutResponseHopLimit") or 1),
        outpost_arn=raw.get("OutpostArn") or "",
        type=raw.get("InstanceType") or "",
    )


def _rule(raw: Raw) -> Rule:
    first, last = raw.get("FromPort", -1), raw.get("ToPort", -1)
    texts = [one["CidrIp"] for one in raw.get("IpRanges") or ()]
    texts += [one["CidrIpv6"] for one in raw.get("Ipv6Ranges") or ()]
    return Rule(
        protocol=str(raw["IpProtocol"]),
        ports=(0, 65535) if first == -1 else (int(first), int(last)),
        cidrs=tuple(map(_network, texts)),
        groups=frozenset(pair["GroupId"] for pair in raw.get("UserIdGroupPairs") or () if pair.get("GroupId")),
        prefix_lists=tuple(one["PrefixListId"] for one in raw.get("PrefixListIds") or ()),
    )


def _network(text: str) -> Cidr:
    """Clear the host bits: a rule may name any address in its network."""
    return Cidr.parse(str(ipaddress.ip_network(text, strict=False)))

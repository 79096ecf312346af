"""EC2's state of one VPC, reduced to the needs of its router. Read with calls that are not counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cloudroute.lab.aws import Aws

Way = Literal["local", "internet", "blackhole"]
"""Targets other than an ENI. Traffic to gateways that the lab does not have is dropped."""

_DESTINATIONS = ("DestinationCidrBlock", "DestinationIpv6CidrBlock")
_INTERNET = ("igw-", "nat-", "eigw-")
_ALIVE = ("pending", "running", "stopping")


@dataclass(frozen=True, slots=True)
class Eni:
    """The primary ENI of a running instance, or one that no instance of this account has.

    `addresses`: the primary IPv4 one first (if any), then all others.
    """

    id: str
    holder_id: str
    """Id of its instance; its own where it has none, as EKS's interfaces."""
    subnet_id: str
    mac: str
    addresses: tuple[str, ...]
    checked: bool
    """Whether its source/dest check is on."""
    groups: tuple[str, ...]
    """Ids of its security groups."""

    def address(self, *, ipv6: bool) -> str:
        """Return its first address of a family; "" without one."""
        return next((address for address in self.addresses if (":" in address) == ipv6), "")


@dataclass(frozen=True, slots=True)
class Filter:
    """One rule of a security group, or one entry of a network ACL."""

    protocol: str
    """"-1" for all, else its number; "tcp", "udp", "icmp" or "icmpv6" too."""
    first: int
    last: int
    """Ports; of ICMP, type and code. -1 for all."""
    peer: str
    """A CIDR; in a group also a group's id."""
    allow: bool = True


@dataclass(frozen=True, slots=True)
class Filters:
    """Both directions of a security group, in no order, or of a network ACL, in order of evaluation."""

    inward: tuple[Filter, ...]
    outward: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """The VPC at one moment."""

    subnets: Mapping[str, tuple[str, ...]]
    """CIDRs by subnet id."""
    enis: Mapping[str, Eni]
    """ENIs by `holder_id`."""
    routes: Mapping[str, Mapping[str, str | Way]]
    """Routes of the subnet's table, by subnet id: destination to a `Way` or an ENI's id."""
    groups: Mapping[str, Filters]
    """Security groups by id."""
    acls: Mapping[str, Filters]
    """Network ACLs by subnet id."""


def take(aws: Aws, vpc_id: str) -> Picture:
    """Read the picture from EC2."""
    ec2 = aws.scene.ec2
    of_vpc = [{"Name": "vpc-id", "Values": [vpc_id]}]
    subnets = {subnet["SubnetId"]: _cidrs(subnet) for subnet in ec2.describe_subnets(Filters=of_vpc)["Subnets"]}
    enis: dict[str, Eni] = {}
    for page in ec2.get_paginator("describe_instances").paginate(Filters=of_vpc):
        for reservation in page["Reservations"]:
            enis |= {eni.holder_id: eni for instance in reservation["Instances"] for eni in _primary(instance)}
    free = [*of_vpc, {"Name": "status", "Values": ["available"]}]
    for eni in ec2.describe_network_interfaces(Filters=free)["NetworkInterfaces"]:
        enis[eni["NetworkInterfaceId"]] = _eni(eni, eni["NetworkInterfaceId"])
    routes: dict[str, Mapping[str, str | Way]] = {}
    main: Mapping[str, str | Way] = {}
    for table in ec2.describe_route_tables(Filters=of_vpc)["RouteTables"]:
        entries = dict(_entries(table["Routes"]))
        for association in table["Associations"]:
            if association.get("Main"):
                main = entries
            elif "SubnetId" in association:
                routes[association["SubnetId"]] = entries
    groups = {one["GroupId"]: _group(one) for one in ec2.describe_security_groups(Filters=of_vpc)["SecurityGroups"]}
    acls = {
        association["SubnetId"]: _acl(one["Entries"])
        for one in ec2.describe_network_acls(Filters=of_vpc)["NetworkAcls"]
        for association in one["Associations"]
    }
    return Picture(subnets, enis, {id_: routes.get(id_, main) for id_ in subnets}, groups, acls)


def _cidrs(subnet: Mapping[str, Any]) -> tuple[str, ...]:
    blocks = subnet.get("Ipv6CidrBlockAssociationSet", [])
    ipv4 = [subnet["CidrBlock"]] if "CidrBlock" in subnet else []  # an IPv6-only subnet has no IPv4 block
    return (*ipv4, *(block["Ipv6CidrBlock"] for block in blocks))


def _primary(instance: Mapping[str, Any]) -> Iterator[Eni]:
    if instance["State"]["Name"] not in _ALIVE:
        return
    for eni in instance["NetworkInterfaces"]:
        if eni["Attachment"]["DeviceIndex"] == 0:
            yield _eni(eni, instance["InstanceId"])


def _eni(eni: Mapping[str, Any], holder_id: str) -> Eni:
    addresses = [
        *([eni["PrivateIpAddress"]] if "PrivateIpAddress" in eni else []),
        *(one["PrivateIpAddress"] for one in eni["PrivateIpAddresses"]),
        *(one["Ipv6Address"] for one in eni.get("Ipv6Addresses", [])),
    ]
    return Eni(
        id=eni["NetworkInterfaceId"],
        holder_id=holder_id,
        subnet_id=eni["SubnetId"],
        mac=eni["MacAddress"],
        addresses=tuple(dict.fromkeys(addresses)),
        checked=eni["SourceDestCheck"],
        groups=tuple(group["GroupId"] for group in eni["Groups"]),
    )


def _group(group: Mapping[str, Any]) -> Filters:
    return Filters(tuple(_rules(group["IpPermissions"])), tuple(_rules(group["IpPermissionsEgress"])))


def _rules(permissions: list[Mapping[str, Any]]) -> Iterator[Filter]:
    """One for each peer; the entries of a prefix list are unknown here."""
    for one in permissions:
        peers = [
            *(peer["CidrIp"] for peer in one["IpRanges"]),
            *(peer["CidrIpv6"] for peer in one["Ipv6Ranges"]),
            *(peer["GroupId"] for peer in one["UserIdGroupPairs"]),
        ]
        for peer in peers:
            yield Filter(one["IpProtocol"], one.get("FromPort", -1), one.get("ToPort", -1), peer)


def _acl(entries: list[Mapping[str, Any]]) -> Filters:
    ordered = sorted(entries, key=lambda entry: int(entry["RuleNumber"]))
    inward, outward = ([_entry(entry) for entry in ordered if entry["Egress"] is egress] for egress in (False, True))
    return Filters(tuple(inward), tuple(outward))


def _entry(entry: Mapping[str, Any]) -> Filter:
    ports, icmp = entry.get("PortRange", {}), entry.get("IcmpTypeCode", {})
    first, last = ports.get("From", icmp.get("Type", -1)), ports.get("To", icmp.get("Code", -1))
    peer = entry.get("CidrBlock") or entry["Ipv6CidrBlock"]
    return Filter(entry["Protocol"], first, last, peer, entry["RuleAction"] == "allow")


def _entries(routes: list[Mapping[str, Any]]) -> Iterator[tuple[str, str | Way]]:
    for route in routes:
        destination = next((route[name] for name in _DESTINATIONS if name in route), None)
        if destination is not None:  # the entries of a prefix list are unknown here
            yield destination, _target(route)


def _target(route: Mapping[str, Any]) -> str | Way:
    if route["State"] != "active":
        return "blackhole"
    if eni_id := route.get("NetworkInterfaceId"):
        return str(eni_id)
    gateways = [route.get(name, "") for name in ("GatewayId", "NatGatewayId", "EgressOnlyInternetGatewayId")]
    if "local" in gateways:
        return "local"
    return "internet" if any(gateway.startswith(_INTERNET) for gateway in gateways) else "blackhole"

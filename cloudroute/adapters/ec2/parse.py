"""boto3's dicts into frozen types: parsed once, here, and trusted everywhere else.

The idea: one odd entry must not hide all the others. An unusable entry is left out and logged once, and the rest is
read. A route with a destination that we can't parse is kept with that text as its key, since it fills a slot.

Shapes and names are those of botocore's service model (ec2, 2016-11-15).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, get_args

import structlog

from cloudroute.types import (
    CLUSTER_TAG,
    Cidr,
    Family,
    Instance,
    InstanceState,
    Interface,
    InterfaceOwner,
    Route,
    RouteTable,
    Subnet,
)

T = TypeVar("T")
Raw = Mapping[str, Any]

_TARGETS: Final = (
    "NetworkInterfaceId",  # first: AWS adds InstanceId to a route that was made to an ENI
    "GatewayId",
    "NatGatewayId",
    "TransitGatewayId",
    "VpcPeeringConnectionId",
    "EgressOnlyInternetGatewayId",
    "LocalGatewayId",
    "CarrierGatewayId",
    "CoreNetworkArn",
    "OdbNetworkArn",
    "InstanceId",
)
_PROPAGATED: Final = frozenset({"EnableVgwRoutePropagation", "Advertisement"})
_STATES: Mapping[str, InstanceState] = {state: state for state in get_args(InstanceState)}

AWS_MANAGED_WEIGHTS: Mapping[str, int] = {
    "cloudfront.origin-facing": 55,
    "dynamodb": 1,
    "ec2-instance-connect": 2,
    "groundstation": 5,
    "route53-healthchecks": 25,
    "s3": 1,
    "s3express": 6,
    "vpc-lattice": 10,
}
"""Entries that an AWS-managed prefix list counts as, by the end of its name, which is com.amazonaws.<region or
global>[.ipv6].<service>. Source: "AWS-managed prefix lists" in the Amazon VPC User Guide; the API does not tell."""


def route_tables(raw: Iterable[Raw]) -> Iterator[RouteTable]:
    """The `RouteTables` of DescribeRouteTables."""
    return _each("route table", _route_table, raw)


def instances(raw: Iterable[Raw]) -> Iterator[Instance]:
    """The `Reservations` of DescribeInstances."""
    return _each("instance", _instance, (one for reservation in raw for one in reservation.get("Instances") or ()))


def owners(raw: Iterable[Raw]) -> Mapping[str, InterfaceOwner]:
    """The `Reservations` of DescribeInstances: the owner of each ENI, by the ENI's id."""
    found: dict[str, InterfaceOwner] = {}
    every = (one for reservation in raw for one in reservation.get("Instances") or ())
    for interfaces, owner in _each("instance", _owner, every):
        found |= dict.fromkeys(interfaces, owner)
    return found


def subnets(raw: Iterable[Raw]) -> Iterator[Subnet]:
    """The `Subnets` of DescribeSubnets."""
    return _each("subnet", _subnet, raw)


def prefix_lists(raw: Iterable[Raw]) -> Mapping[str, tuple[Family, int]]:
    """The `PrefixLists` of DescribeManagedPrefixLists: by id, the family and the entries that a route to it counts as.

    A customer's list counts its maximum. An AWS-managed one has none and counts its published weight; one that is not
    in the table above counts 1: if that is too low, AWS refuses one route and the limit is learned, while a guess
    that is too high would take routes away from healthy nodes.
    """
    return dict(_each("prefix list", _prefix_list, raw))


def _prefix_list(raw: Raw) -> tuple[str, tuple[Family, int]]:
    service = str(raw.get("PrefixListName") or "").removeprefix("com.amazonaws.").partition(".")[2]
    weight = AWS_MANAGED_WEIGHTS.get(service.removeprefix("ipv6."), 1)
    family: Family = "ipv6" if raw.get("AddressFamily") == "IPv6" else "ipv4"
    return raw["PrefixListId"], (family, int(raw.get("MaxEntries") or weight))


def _route_table(raw: Raw) -> RouteTable:
    associations = [one for one in raw.get("Associations") or () if _in_force(one)]
    routes: dict[Cidr | str, Route] = {}
    for route in _each("route", _route, raw.get("Routes") or ()):
        # Where a static and a propagated route share a destination, the static one is in force
        # ("Route priority" in the VPC User Guide), and only that one counts.
        if route.destination not in routes or not route.propagated:
            routes[route.destination] = route
    return RouteTable(
        id=raw["RouteTableId"],
        vpc_id=raw["VpcId"],
        main=any(one.get("Main") for one in associations),
        subnet_ids=tuple(one["SubnetId"] for one in associations if one.get("SubnetId")),
        tags={tag["Key"]: tag.get("Value", "") for tag in raw.get("Tags") or () if "Key" in tag},
        routes=routes,
    )


def _in_force(association: Raw) -> bool:
    state = (association.get("AssociationState") or {}).get("State", "associated")
    return state in ("associated", "associating")


def _route(raw: Raw) -> Route:
    text = raw.get("DestinationCidrBlock") or raw.get("DestinationIpv6CidrBlock") or raw["DestinationPrefixListId"]
    return Route(
        destination=_destination(text),
        target=next((raw[name] for name in _TARGETS if raw.get(name)), ""),
        blackhole=raw.get("State") == "blackhole",
        propagated=raw.get("Origin") in _PROPAGATED,
    )


def _destination(text: str) -> Cidr | str:
    try:
        return Cidr.parse(text)
    except ValueError:
        return text


def _instance(raw: Raw) -> Instance:
    interfaces = list(_each("network interface", _interface, raw.get("NetworkInterfaces") or ()))
    return Instance(
        id=raw["InstanceId"],
        state=_STATES[raw["State"]["Name"]],
        vpc_id=raw.get("VpcId") or "",
        zone=(raw.get("Placement") or {}).get("AvailabilityZone") or "",
        interfaces=tuple(interface for _, interface in sorted(interfaces, key=lambda one: one[0])),
    )


def _owner(raw: Raw) -> tuple[Sequence[str], InterfaceOwner]:
    """The ENIs of an instance (none of a terminated one), and their owner."""
    ended = raw["State"]["Name"] == "terminated"
    interfaces = [] if ended else [one["NetworkInterfaceId"] for one in raw.get("NetworkInterfaces") or ()]
    tags = (str(tag.get("Key") or "") for tag in raw.get("Tags") or ())
    clusters = frozenset(tag.removeprefix(CLUSTER_TAG) for tag in tags if tag.startswith(CLUSTER_TAG))
    return interfaces, InterfaceOwner(raw["InstanceId"], clusters)


def _interface(raw: Raw) -> tuple[tuple[int, int], Interface]:
    """Sort key and interface. The key has the network card first: on each, device indices count from 0 or 1."""
    attachment = raw["Attachment"]
    device_index = int(attachment["DeviceIndex"])
    ipv4 = sorted(raw.get("PrivateIpAddresses") or (), key=lambda one: not one.get("Primary"))
    addresses = [one["PrivateIpAddress"] for one in ipv4] + [
        one["Ipv6Address"] for one in raw.get("Ipv6Addresses") or ()
    ]
    interface = Interface(
        id=raw["NetworkInterfaceId"],
        device_index=device_index,
        subnet_id=raw.get("SubnetId") or "",
        source_dest_check=bool(raw.get("SourceDestCheck", True)),
        addresses=tuple(addresses),
    )
    return (int(attachment.get("NetworkCardIndex") or 0), device_index), interface


def _subnet(raw: Raw) -> Subnet:
    ipv6 = [
        one["Ipv6CidrBlock"]
        for one in raw.get("Ipv6CidrBlockAssociationSet") or ()
        if (one.get("Ipv6CidrBlockState") or {}).get("State", "associated") == "associated"
    ]
    ipv4 = [raw["CidrBlock"]] if raw.get("CidrBlock") else []  # an IPv6-only subnet has none
    return Subnet(
        id=raw["SubnetId"],
        vpc_id=raw["VpcId"],
        zone=raw.get("AvailabilityZone") or "",
        cidrs=tuple(Cidr.parse(text) for text in ipv4 + ipv6),
    )


def _each(kind: str, parse: Callable[[Raw], T], raw: Iterable[Raw]) -> Iterator[T]:
    for one in raw:
        try:
            parsed = parse(one)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            _say_once(kind, repr(one)[:300], repr(error))
        else:
            yield parsed


@functools.lru_cache(maxsize=256)
def _say_once(kind: str, entry: str, error: str) -> None:
    structlog.get_logger(__name__).warning(
        "EC2 described something unreadable; left out", kind=kind, entry=entry, error=error
    )

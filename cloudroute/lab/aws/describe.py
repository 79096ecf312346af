"""The describe actions that cloudroute uses: ids, filters, pages, and stale reads.

A filter is a path through the wire names, so the tables below are the API reference's filter lists and nothing else.
Sources: API_DescribeRouteTables, API_DescribeInstances, API_DescribeNetworkInterfaces, API_DescribeSubnets,
API_DescribeNetworkAcls, and "List and filter your resources" for wildcards and for the limit of 200 values.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from cloudroute.lab.aws import wire
from cloudroute.lab.aws.views import Kind, View
from cloudroute.lab.aws.wire import AwsError, Request
from cloudroute.lab.aws.world import Handler, World

FILTER_VALUES = 200

_TAGS = {"tag-key": "tagSet.key", "tag-value": "tagSet.value"}
_ROUTES = {
    "association.gateway-id": "associationSet.gatewayId",
    "association.main": "associationSet.main",
    "association.route-table-association-id": "associationSet.routeTableAssociationId",
    "association.route-table-id": "associationSet.routeTableId",
    "association.subnet-id": "associationSet.subnetId",
    "owner-id": "ownerId",
    "route-table-id": "routeTableId",
    "route.carrier-gateway-id": "routeSet.carrierGatewayId",
    "route.destination-cidr-block": "routeSet.destinationCidrBlock",
    "route.destination-ipv6-cidr-block": "routeSet.destinationIpv6CidrBlock",
    "route.destination-prefix-list-id": "routeSet.destinationPrefixListId",
    "route.egress-only-internet-gateway-id": "routeSet.egressOnlyInternetGatewayId",
    "route.gateway-id": "routeSet.gatewayId",
    "route.instance-id": "routeSet.instanceId",
    "route.nat-gateway-id": "routeSet.natGatewayId",
    "route.origin": "routeSet.origin",
    "route.state": "routeSet.state",
    "route.transit-gateway-id": "routeSet.transitGatewayId",
    "route.vpc-peering-connection-id": "routeSet.vpcPeeringConnectionId",
    "vpc-id": "vpcId",
    **_TAGS,
}
_ATTACHMENT = {
    "attach-time": "attachTime",
    "attachment-id": "attachmentId",
    "delete-on-termination": "deleteOnTermination",
    "device-index": "deviceIndex",
    "instance-id": "instanceId",
    "instance-owner-id": "instanceOwnerId",
    "status": "status",
}
_INTERFACES = {
    "addresses.primary": "privateIpAddressesSet.primary",
    "addresses.private-ip-address": "privateIpAddressesSet.privateIpAddress",
    "association.allocation-id": "association.allocationId",
    "association.association-id": "association.associationId",
    "association.public-ip": "association.publicIp",
    "availability-zone": "availabilityZone",
    "description": "description",
    "group-id": "groupSet.groupId",
    "interface-type": "interfaceType",
    "ipv6-addresses.ipv6-address": "ipv6AddressesSet.ipv6Address",
    "mac-address": "macAddress",
    "network-interface-id": "networkInterfaceId",
    "owner-id": "ownerId",
    "private-dns-name": "privateDnsName",
    "private-ip-address": "privateIpAddressesSet.privateIpAddress",
    "requester-managed": "requesterManaged",
    "source-dest-check": "sourceDestCheck",
    "status": "status",
    "subnet-id": "subnetId",
    "vpc-id": "vpcId",
    **{f"attachment.{name}": f"attachment.{path}" for name, path in _ATTACHMENT.items()},
    **_TAGS,
}
_INSTANCES = {
    "architecture": "architecture",
    "availability-zone": "placement.availabilityZone",
    "client-token": "clientToken",
    "dns-name": "dnsName",
    "image-id": "imageId",
    "instance-id": "instanceId",
    "instance-lifecycle": "instanceLifecycle",
    "instance-state-code": "instanceState.code",
    "instance-state-name": "instanceState.name",
    "instance-type": "instanceType",
    "instance.group-id": "groupSet.groupId",
    "instance.group-name": "groupSet.groupName",
    "ip-address": "ipAddress",
    "key-name": "keyName",
    "launch-time": "launchTime",
    "network-interface.addresses.private-ip-address": "networkInterfaceSet.privateIpAddressesSet.privateIpAddress",
    "network-interface.attachment.attachment-id": "networkInterfaceSet.attachment.attachmentId",
    "network-interface.attachment.device-index": "networkInterfaceSet.attachment.deviceIndex",
    "network-interface.ipv6-addresses.ipv6-address": "networkInterfaceSet.ipv6AddressesSet.ipv6Address",
    "network-interface.network-interface-id": "networkInterfaceSet.networkInterfaceId",
    "network-interface.private-dns-name": "networkInterfaceSet.privateDnsName",
    "network-interface.source-dest-check": "networkInterfaceSet.sourceDestCheck",
    "network-interface.subnet-id": "networkInterfaceSet.subnetId",
    "network-interface.vpc-id": "networkInterfaceSet.vpcId",
    "owner-id": "ownerId",
    "private-dns-name": "privateDnsName",
    "private-ip-address": "networkInterfaceSet.privateIpAddressesSet.privateIpAddress",
    "reservation-id": "reservationId",
    "source-dest-check": "sourceDestCheck",
    "subnet-id": "subnetId",
    "vpc-id": "vpcId",
    **_TAGS,
}
_SUBNETS = {
    "availability-zone": "availabilityZone",
    "availability-zone-id": "availabilityZoneId",
    "availabilityZone": "availabilityZone",
    "availabilityZoneId": "availabilityZoneId",
    "available-ip-address-count": "availableIpAddressCount",
    "cidr": "cidrBlock",
    "cidr-block": "cidrBlock",
    "cidrBlock": "cidrBlock",
    "default-for-az": "defaultForAz",
    "defaultForAz": "defaultForAz",
    "ipv6-cidr-block-association.association-id": "ipv6CidrBlockAssociationSet.associationId",
    "ipv6-cidr-block-association.ipv6-cidr-block": "ipv6CidrBlockAssociationSet.ipv6CidrBlock",
    "ipv6-cidr-block-association.state": "ipv6CidrBlockAssociationSet.ipv6CidrBlockState.state",
    "ipv6-native": "ipv6Native",
    "map-public-ip-on-launch": "mapPublicIpOnLaunch",
    "owner-id": "ownerId",
    "state": "state",
    "subnet-arn": "subnetArn",
    "subnet-id": "subnetId",
    "vpc-id": "vpcId",
    **_TAGS,
}
_ACLS = {
    "association.association-id": "associationSet.networkAclAssociationId",
    "association.network-acl-id": "associationSet.networkAclId",
    "association.subnet-id": "associationSet.subnetId",
    "default": "default",
    "entry.cidr": "entrySet.cidrBlock",
    "entry.egress": "entrySet.egress",
    "entry.ipv6-cidr": "entrySet.ipv6CidrBlock",
    "entry.port-range.from": "entrySet.portRange.from",
    "entry.port-range.to": "entrySet.portRange.to",
    "entry.protocol": "entrySet.protocol",
    "entry.rule-action": "entrySet.ruleAction",
    "entry.rule-number": "entrySet.ruleNumber",
    "network-acl-id": "networkAclId",
    "owner-id": "ownerId",
    "vpc-id": "vpcId",
    **_TAGS,
}
_FILTERS: Mapping[Kind, Mapping[str, str]] = {
    "RouteTable": _ROUTES,
    "Instance": _INSTANCES,
    "NetworkInterface": _INTERFACES,
    "Subnet": _SUBNETS,
    "NetworkAcl": _ACLS,
}
_LARGEST_PAGE: Mapping[Kind, int] = {
    "RouteTable": 100,
    "Instance": 1000,
    "NetworkInterface": 1000,
    "Subnet": 1000,
    "NetworkAcl": 1000,
}
_RESULT: Mapping[Kind, str] = {
    "RouteTable": "routeTableSet",
    "Instance": "reservationSet",
    "NetworkInterface": "networkInterfaceSet",
    "Subnet": "subnetSet",
    "NetworkAcl": "networkAclSet",
}


def _describe(kind: Kind) -> Handler:
    def handler(world: World, request: Request) -> Mapping[str, Any]:
        ids = request.listed(f"{kind}Id")
        size = _page_size(kind, request, ids)
        request.stop_if_dry()
        found = world.chosen(kind, ids, request.as_of) if ids else world.views(kind, request.as_of)
        for name, accepted in request.filters():
            matches = _matcher(kind, name, accepted)
            found = {id_: view for id_, view in found.items() if matches(view)}
        page, token = _page(world, kind, found, request.get("NextToken"), size)
        listed = _reservations(page) if kind == "Instance" else page
        return {_RESULT[kind]: listed, **({"nextToken": token} if token else {})}

    return handler


# --- filters ------------------------------------------------------------------------------------


def check_filters(request: Request) -> None:
    """Refuse a filter with more values than EC2 takes, for any action."""
    for name, accepted in request.filters():
        if len(accepted) > FILTER_VALUES:
            message = f"The maximum number of filter values specified on a single call is {FILTER_VALUES}"
            raise AwsError("FilterLimitExceeded", f"{message}; '{name}' has {len(accepted)}")


def _matcher(kind: Kind, name: str, accepted: Iterable[str]) -> Callable[[View], bool]:
    exact = {value for value in accepted if not _is_pattern(value)}
    patterns = [_pattern(value) for value in accepted if _is_pattern(value)]

    def fits(value: str) -> bool:
        return value in exact or any(pattern.fullmatch(value) for pattern in patterns)

    if name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return lambda view: any(tag["key"] == key and fits(tag["value"]) for tag in view.fields.get("tagSet", ()))
    path = _FILTERS[kind].get(name)
    if path is None:
        raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")
    steps = path.split(".")
    return lambda view: any(fits(value) for value in _values(view, steps))


def _is_pattern(value: str) -> bool:
    return "*" in value or "?" in value or "\\" in value


def _pattern(value: str) -> re.Pattern[str]:
    """Compile a filter value: `*` is any number of characters, `?` is one, a backslash escapes the next one."""
    parts = re.findall(r"\\.|.", value, re.DOTALL)
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(part) or re.escape(part[-1]) for part in parts), re.DOTALL)


def _values(value: object, steps: list[str]) -> Iterator[str]:
    """Return all values at the end of a path, through lists."""
    if isinstance(value, list):
        for inner in value:
            yield from _values(inner, steps)
    elif isinstance(value, View):
        if steps:
            yield from _values(value.fields.get(steps[0], value.hidden.get(steps[0])), steps[1:])
    elif isinstance(value, Mapping):
        if steps:
            yield from _values(value.get(steps[0]), steps[1:])
    elif value is not None:
        yield wire.xml(value) if isinstance(value, bool) else str(value)


# --- pages --------------------------------------------------------------------------------------


def _page_size(kind: Kind, request: Request, ids: list[str]) -> int | None:
    text = request.get("MaxResults")
    if not text:
        return None
    if ids and kind in ("Instance", "NetworkInterface"):
        noun = "instancesSet" if kind == "Instance" else "networkInterfaceIdSet"
        message = f"The parameter {noun} cannot be used with the parameter maxResults"
        raise AwsError("InvalidParameterCombination", message)
    largest = _LARGEST_PAGE[kind]
    if not text.isdecimal() or not 5 <= int(text) <= largest:
        message = f"Value ( {text} ) for parameter maxResults is invalid. Expecting a value between 5 and {largest}."
        raise AwsError("InvalidParameterValue", message)
    return int(text)


def _page(
    world: World, kind: Kind, found: Mapping[str, View], token: str, size: int | None
) -> tuple[list[View], str | None]:
    """Return the objects after the one that the token names, which may be gone by now, and the next token."""
    rest: Iterable[str] = found
    if token:
        last = _read_token(token)
        rest = [id_ for id_ in found if world.order(kind, id_) > last]
    if size is None:
        return [found[id_] for id_ in rest], None
    ids = list(itertools.islice(rest, size + 1))
    page = [found[id_] for id_ in ids[:size]]
    if len(ids) <= size:
        return page, None
    return page, base64.urlsafe_b64encode(f"after {world.order(kind, ids[size - 1])}".encode()).decode()


def _read_token(token: str) -> int:
    try:
        word, number = base64.urlsafe_b64decode(token).decode().split()
        if word == "after":
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise AwsError("InvalidPaginationToken", f"The pagination token '{token}' is not valid or is expired")


def _reservations(instances: Iterable[View]) -> list[dict[str, Any]]:
    """Group instances by reservation. A page counts instances, so it may hold part of a reservation."""
    groups: dict[str, list[View]] = {}
    for view in instances:
        groups.setdefault(view.hidden["reservationId"], []).append(view)
    return [
        {"reservationId": id_, "ownerId": members[0].hidden["ownerId"], "groupSet": [], "instancesSet": members}
        for id_, members in groups.items()
    ]


ACTIONS: Mapping[str, Handler] = {
    "DescribeRouteTables": _describe("RouteTable"),
    "DescribeInstances": _describe("Instance"),
    "DescribeNetworkInterfaces": _describe("NetworkInterface"),
    "DescribeSubnets": _describe("Subnet"),
    "DescribeNetworkAcls": _describe("NetworkAcl"),
}

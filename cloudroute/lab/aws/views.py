"""moto's objects as EC2 would show them: route tables and subnets here, ENIs and instances in `machine_views`, network
ACLs in `acl_views`.

A `View` is one immutable object in wire names, so that old versions can be kept beside the newest one (stale reads)
and its XML is rendered once. The corrections of moto that concern what is *shown* are in these modules: the state of
routes, the instance behind an ENI route, device index order, the few fields of a terminated instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from cloudroute.lab.aws import quotas, wire
from cloudroute.types import FAMILIES, Family

Kind = Literal["RouteTable", "Instance", "NetworkInterface", "Subnet", "NetworkAcl"]
KINDS: tuple[Kind, ...] = ("RouteTable", "Subnet", "NetworkInterface", "Instance", "NetworkAcl")

PROPAGATED = "~propagated"
"""Suffix of the key of a route that a virtual private gateway propagates; moto has no such routes."""


class View:
    """One object as EC2 shows it. `hidden` fields can be filtered on but are not part of its XML."""

    def __init__(self, fields: Mapping[str, Any], hidden: Mapping[str, Any] | None = None) -> None:
        self.fields = fields
        self.hidden = hidden or {}

    @cached_property
    def xml(self) -> str:
        """Its XML, rendered once."""
        return wire.xml(self.fields)

    def same_as(self, other: View | None) -> bool:
        """Whether both show the same."""
        return other is not None and self.fields == other.fields and self.hidden == other.hidden


class TableView(View):
    """A route table; `routes` are its routes by moto's key, in the order of their creation.

    `entries` is the count against the quota, per family.
    """

    def __init__(self, header: Mapping[str, Any], routes: Mapping[str, View]) -> None:
        super().__init__({**header, "routeSet": list(routes.values())})
        self.header = header
        self.routes = routes
        self.entries: dict[Family, int] = dict.fromkeys(FAMILIES, 0)
        for route in routes.values():
            self.entries[route.hidden["family"]] += route.hidden["entries"]

    def with_route(self, key: str, route: View | None) -> TableView:
        """Return the table with one entry set, or removed (None)."""
        routes = dict(self.routes)
        if route is None:
            routes.pop(key, None)
        else:
            routes[key] = route
        return TableView(self.header, routes)

    def same_as(self, other: View | None) -> bool:
        """Whether both show the same. Unchanged entries are the same objects: see `table_view`."""
        return isinstance(other, TableView) and self.header == other.header and self.routes == other.routes


def present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def tags(ec2: Any, resource_id: str) -> list[dict[str, str]]:
    """Return the tags of a resource."""
    return [{"key": key, "value": value} for key, value in ec2.tags.get(resource_id, {}).items()]


# --- route tables -------------------------------------------------------------------------------


def table_view(ec2: Any, table: Any, old: TableView | None) -> TableView:
    """Render a route table. Entries equal to those of `old` are taken from there, to reuse their XML."""
    before = old.routes if old else {}
    routes = {}
    for key, route in table._routes.items():
        view = route_view(ec2, key, route)
        known = before.get(key)
        routes[key] = known if known is not None and view.same_as(known) else view
    header = {
        "routeTableId": table.id,
        "vpcId": table.vpc_id,
        "ownerId": table.owner_id,
        "associationSet": [_association(association) for association in table.associations],
        "propagatingVgwSet": [
            {"gatewayId": gateway}
            for gateway in sorted({r.gateway.id for k, r in table._routes.items() if k.endswith(PROPAGATED)})
        ],
        "tagSet": tags(ec2, table.id),
    }
    return TableView(header, routes)


def _association(association: Mapping[str, Any]) -> dict[str, Any]:
    return present(
        {
            "routeTableAssociationId": association["RouteTableAssociationId"],
            "routeTableId": association["RouteTableId"],
            "subnetId": association.get("SubnetId"),
            "gatewayId": association.get("GatewayId"),
            "main": association["Main"],
            "associationState": {"state": "associated"},
        }
    )


def route_view(ec2: Any, key: str, route: Any) -> View:
    """Render one entry of a route table."""
    eni = route.interface
    instance = eni.instance if eni else None
    if key.endswith(PROPAGATED):
        origin = "EnableVgwRoutePropagation"
    else:
        origin = "CreateRouteTable" if route.local else "CreateRoute"
    fields = {
        "destinationCidrBlock": route.destination_cidr_block,
        "destinationIpv6CidrBlock": route.destination_ipv6_cidr_block,
        "destinationPrefixListId": route.destination_prefix_list_id,
        "gatewayId": None if eni else route.gateway_id,
        "instanceId": instance.id if instance else None,
        "instanceOwnerId": instance.owner_id if instance else None,
        "networkInterfaceId": eni.id if eni else None,
        "vpcPeeringConnectionId": route.vpc_peering_connection_id,
        "natGatewayId": route.nat_gateway_id,
        "transitGatewayId": route.transit_gateway_id,
        "egressOnlyInternetGatewayId": route.egress_only_internet_gateway_id,
        "carrierGatewayId": route.carrier_gateway_id,
        "state": "active" if _reachable(ec2, route) else "blackhole",
        "origin": origin,
    }
    return View(present(fields), _counted(key, route))


def _counted(key: str, route: Any) -> dict[str, Any]:
    """Return the route's family and its entries of the quota: all routes count but propagated ones."""
    prefix_list = route.destination_prefix_list
    if prefix_list:
        return {
            "family": quotas.prefix_list_family(prefix_list),
            "entries": quotas.prefix_list_entries(prefix_list),
        }
    family = "ipv4" if route.destination_cidr_block else "ipv6"
    return {"family": family, "entries": 0 if key.endswith(PROPAGATED) else 1}


def _reachable(ec2: Any, route: Any) -> bool:
    """Whether the target can take traffic: DescribeRouteTables, filter `route.state`."""
    if route.interface:
        eni = ec2.enis.get(route.interface.id)
        return eni is not None and eni.instance is not None and eni.instance.state not in ("stopped", "terminated")
    if route.nat_gateway:
        return bool(route.nat_gateway.state == "available")
    if route.vpc_pcx:
        return route.vpc_pcx.id in ec2.vpc_pcxs and route.vpc_pcx.status["Code"] == "active"
    if route.gateway and route.gateway.id.startswith("igw-"):
        return route.gateway.id in ec2.internet_gateways and route.gateway.vpc is not None
    return True


# --- subnets ------------------------------------------------------------------------------------


def outpost_arn(subnet: Any) -> str | None:
    """Return the Outpost of the subnet; moto does not model it, so it is kept on moto's object (see `vpcs`)."""
    found: str | None = getattr(subnet, "outpost_arn", None)
    return found


def subnet_view(ec2: Any, subnet: Any, taken: int) -> View:
    """Render a subnet; ENIs use `taken` of its IPv4 addresses, and AWS reserves five."""
    options = subnet.private_dns_name_options_on_launch
    return View(
        {
            "subnetId": subnet.id,
            "subnetArn": subnet.arn,
            "outpostArn": outpost_arn(subnet),
            "state": subnet.state,
            "vpcId": subnet.vpc_id,
            "cidrBlock": subnet.cidr_block,
            "availableIpAddressCount": 0 if subnet.ipv6_native else subnet._available_ip_addresses - taken,
            "availabilityZone": subnet.availability_zone,
            "availabilityZoneId": subnet.availability_zone_id,
            "defaultForAz": subnet.default_for_az,
            "mapPublicIpOnLaunch": bool(subnet.map_public_ip_on_launch),
            "assignIpv6AddressOnCreation": bool(subnet.assign_ipv6_address_on_creation),
            "ownerId": subnet.owner_id,
            "ipv6Native": subnet.ipv6_native,
            "ipv6CidrBlockAssociationSet": [
                {
                    "ipv6CidrBlock": association["ipv6CidrBlock"],
                    "associationId": association["associationId"],
                    "ipv6CidrBlockState": {"state": association["ipv6CidrBlockState"]["State"]},
                }
                for association in subnet.ipv6_cidr_block_associations.values()
                if association["ipv6CidrBlockState"]["State"] == "associated"
            ],
            "privateDnsNameOptionsOnLaunch": {
                "hostnameType": "resource-name" if subnet.ipv6_native else options["HostnameType"],
                "enableResourceNameDnsARecord": options["EnableResourceNameDnsARecord"],
                "enableResourceNameDnsAAAARecord": options["EnableResourceNameDnsAAAARecord"],
            },
            "tagSet": tags(ec2, subnet.id),
        }
    )

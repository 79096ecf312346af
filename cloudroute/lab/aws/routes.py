"""CreateRoute, ReplaceRoute and DeleteRoute with all the checks that EC2 makes and moto does not.

Sources: API_CreateRoute, API_ReplaceRoute, API_DeleteRoute; "Route tables" in the VPC user guide for allowed
destinations; "Error codes for the Amazon EC2 API"; "Amazon VPC quotas" for the entries that count against the limit.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from moto.ec2.models.route_tables import Route
from moto.ec2.utils import generate_route_id

from cloudroute.lab.aws import quotas
from cloudroute.lab.aws.views import PROPAGATED
from cloudroute.lab.aws.wire import AwsError, Request
from cloudroute.lab.aws.world import Handler, World
from cloudroute.types import Cidr, Family

_Route: Any = Route  # abstract to mypy, though moto itself instantiates it
_DESTINATIONS = ("DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId")
_TARGETS = (
    "CarrierGatewayId",
    "CoreNetworkArn",
    "EgressOnlyInternetGatewayId",
    "GatewayId",
    "InstanceId",
    "LocalGatewayId",
    "LocalTarget",
    "NatGatewayId",
    "NetworkInterfaceId",
    "OdbNetworkArn",
    "TransitGatewayId",
    "VpcEndpointId",
    "VpcPeeringConnectionId",
)
# "Route table considerations": EC2 refuses routes to these and to anything inside them.
_RESERVED = (Cidr.parse("169.254.168.0/22"), Cidr.parse("fd00:ec2::/32"))

# Parameter -> the store in moto's backend, moto's name for it in Route(), the error code for an unknown id.
_STORES = {
    "NatGatewayId": ("nat_gateways", "nat_gateway", "NatGatewayNotFound"),
    "TransitGatewayId": ("transit_gateways", "transit_gateway", "InvalidTransitGatewayID.NotFound"),
    "VpcPeeringConnectionId": ("vpc_pcxs", "vpc_pcx", "InvalidVpcPeeringConnectionID.NotFound"),
    "EgressOnlyInternetGatewayId": ("egress_only_internet_gateways", "egress_only_igw", "InvalidGatewayID.NotFound"),
    "CarrierGatewayId": ("carrier_gateways", "carrier_gateway", "InvalidCarrierGatewayID.NotFound"),
}


def create_route(world: World, request: Request) -> Mapping[str, Any]:
    """Add a route. Changes nothing unless every check passes."""
    table = world.table(request.required("RouteTableId"))
    name, text = _exactly_one(request, _DESTINATIONS)
    destination = _destination(world, name, text)
    target = _target(world, request, table)
    key = _key(table, destination)
    if target.get("local"):
        raise AwsError("InvalidParameterValue", f"cannot create local route {text}: only replace it")
    if isinstance(destination, Cidr):
        _check_destination(world, table, destination, target)
    if key in table._routes:
        raise AwsError("RouteAlreadyExists", f"The route identified by {_name(destination)} already exists.")
    _check_quota(world, table, destination)
    request.stop_if_dry()
    table._routes[key] = _route(table, destination, target)
    world.refresh_route(table.id, key)
    return {"return": True}


def replace_route(world: World, request: Request) -> Mapping[str, Any]:
    """Give a route another target. Its destination must be spelled as DescribeRouteTables shows it."""
    table = world.table(request.required("RouteTableId"))
    name, text = _exactly_one(request, _DESTINATIONS)
    key = _existing(world, table, name, text)
    if key is None:
        message = f"There is no route defined for '{text}' in the route table. Use CreateRoute instead."
        raise AwsError("InvalidParameterValue", message)
    destination = _destination(world, name, text)
    # A local route stays local with any target: it can't be deleted.
    target = {**_target(world, request, table), "local": table._routes[key].local}
    request.stop_if_dry()
    table._routes[key] = _route(table, destination, target)
    world.refresh_route(table.id, key)
    return {"return": True}


def delete_route(world: World, request: Request) -> Mapping[str, Any]:
    """Remove a route. Its destination must be spelled as DescribeRouteTables shows it."""
    table = world.table(request.required("RouteTableId"))
    name, text = _exactly_one(request, _DESTINATIONS)
    key = _existing(world, table, name, text)
    if key is None:
        message = f"no route with destination-cidr-block {text} in route table {table.id}"
        raise AwsError("InvalidRoute.NotFound", message)
    if table._routes[key].local:
        raise AwsError("InvalidParameterValue", f"cannot remove local route {text} in route table {table.id}")
    request.stop_if_dry()
    del table._routes[key]
    world.refresh_route(table.id, key)
    return {"return": True}


def propagate(world: World, table_id: str, destination: Cidr, gateway: Any) -> None:
    """Add a route from a virtual private gateway, as after EnableVgwRoutePropagation."""
    table = world.table(table_id)
    key = _key(table, destination) + PROPAGATED
    table._routes[key] = _route(table, destination, {"gateway": gateway})
    world.refresh_route(table_id, key)


# --- destinations -------------------------------------------------------------------------------


def _exactly_one(request: Request, names: tuple[str, ...]) -> tuple[str, str]:
    given = [(name, value) for name in names if (value := request.get(name)) and value.lower() != "false"]
    wire_names = ", ".join(name[0].lower() + name[1:] for name in names)
    if not given:
        raise AwsError("MissingParameter", f"The request must contain exactly one of {wire_names}")
    if len(given) > 1:
        raise AwsError("InvalidParameterCombination", f"The request must contain exactly one of {wire_names}")
    return given[0]


def _destination(world: World, name: str, text: str) -> Any:
    """Return the destination in canonical form: a Cidr, or moto's prefix list."""
    if name == "DestinationPrefixListId":
        prefix_list = world.ec2.managed_prefix_lists.get(text)
        if prefix_list is None:
            raise AwsError("InvalidPrefixListID.NotFound", f"The prefix list ID '{text}' does not exist")
        return prefix_list
    try:
        network = ipaddress.ip_network(text, strict=False)
        if "/" not in text or network.version != (4 if name == "DestinationCidrBlock" else 6):
            raise ValueError(text)
    except ValueError:
        parameter = name[0].lower() + name[1:]
        message = f"Value ({text}) for parameter {parameter} is invalid. This is not a valid CIDR block."
        raise AwsError("InvalidParameterValue", message) from None
    return Cidr("ipv4" if network.version == 4 else "ipv6", int(network.network_address), network.prefixlen)


def _name(destination: Any) -> str:
    return str(destination) if isinstance(destination, Cidr) else str(destination.id)


def _key(table: Any, destination: Any) -> str:
    return str(generate_route_id(table.id, _name(destination)))


def _existing(world: World, table: Any, name: str, text: str) -> str | None:
    """Return the key of the route whose destination has exactly this spelling."""
    destination = _destination(world, name, text)
    key = _key(table, destination)
    return key if _name(destination) == text and key in table._routes else None


def _check_destination(world: World, table: Any, destination: Cidr, target: Mapping[str, Any]) -> None:
    """Refuse reserved ranges and, inside the VPC, anything but a whole subnet ("Route tables")."""
    if any(reserved.covers(destination) for reserved in _RESERVED):
        message = f"The destination CIDR block {destination} lies in a range that AWS reserves for its services."
        raise AwsError("InvalidParameterValue", message)
    vpc = world.ec2.get_vpc(table.vpc_id)
    associations = vpc.get_cidr_block_association_set(ipv6=destination.family == "ipv6")
    covering = [block for a in associations if (block := Cidr.parse(a["cidr_block"])).covers(destination)]
    if not covering or destination in covering:
        return
    if "interface" not in target and "nat_gateway" not in target and "vpc_endpoint_id" not in target:
        raise AwsError(
            "InvalidParameterValue",
            f"The destination CIDR block {destination} is equal to or more specific than one of this VPC's CIDR "
            "blocks. This route can target only an interface or an instance.",
        )
    if destination not in _subnet_cidrs(world, table.vpc_id):
        raise AwsError("InvalidParameterValue", "Route destination doesn't match any subnet CIDR blocks.")


def _subnet_cidrs(world: World, vpc_id: str) -> set[Cidr]:
    subnets = [subnet for subnet in world.subnets().values() if subnet.vpc_id == vpc_id]
    texts = [subnet.cidr_block for subnet in subnets if subnet.cidr_block]
    texts += [a["ipv6CidrBlock"] for subnet in subnets for a in subnet.ipv6_cidr_block_associations.values()]
    return {Cidr.parse(text) for text in texts}


def _check_quota(world: World, table: Any, destination: Any) -> None:
    if isinstance(destination, Cidr):
        family: Family = destination.family
        more = 1
    else:
        family = quotas.prefix_list_family(destination)
        more = quotas.prefix_list_entries(destination)
    if world.table_view(table.id).entries[family] + more > world.quotas.limit(table.id):
        raise AwsError("RouteLimitExceeded", f"The maximum number of routes has been reached in {table.id}.")


# --- targets ------------------------------------------------------------------------------------


def _target(world: World, request: Request, table: Any) -> dict[str, Any]:
    """Return the target as moto's Route() takes it."""
    name, id_ = _exactly_one(request, _TARGETS)
    if name == "NetworkInterfaceId":
        return {"interface": _same_vpc(table, world.interface(id_), "interface")}
    if name == "InstanceId":
        return {"interface": _same_vpc(table, _only_interface(world.machine(id_)), "interface")}
    if name == "GatewayId":
        return _gateway(world, table, id_)
    if name == "VpcEndpointId":
        return {"vpc_endpoint_id": _stored(world, "vpc_end_points", id_, "InvalidVpcEndpointId.NotFound").id}
    if name == "LocalTarget":
        return {"local": True}
    if name not in _STORES:
        raise AwsError("InvalidParameterValue", f"This lab has no {name}: '{id_}'")
    store, keyword, code = _STORES[name]
    return {keyword: _stored(world, store, id_, code)}


def _only_interface(instance: Any) -> Any:
    """Refuse an instance as target unless exactly one interface is attached to it (API_CreateRoute)."""
    if len(instance.nics) != 1:
        how_many = "multiple interfaces" if instance.nics else "no interface"
        message = f"There are {how_many} attached to instance '{instance.id}'."
        raise AwsError("InvalidInstanceID", f"{message} Please specify an interface ID for the operation instead.")
    return next(iter(instance.nics.values()))


def _gateway(world: World, table: Any, id_: str) -> dict[str, Any]:
    if id_ == "local":
        return {"local": True}
    if id_.startswith("vpce-"):
        return {"vpc_endpoint_id": _stored(world, "vpc_end_points", id_, "InvalidVpcEndpointId.NotFound").id}
    if id_.startswith("vgw-"):
        return {"gateway": _stored(world, "vpn_gateways", id_, "InvalidVpnGatewayID.NotFound")}
    gateway = _stored(world, "internet_gateways", id_, "InvalidInternetGatewayID.NotFound")
    return {"gateway": _same_vpc(table, gateway, "network gateway")}


def _stored(world: World, store: str, id_: str, code: str) -> Any:
    found = getattr(world.ec2, store).get(id_)
    if found is None:
        raise AwsError(code, f"The ID '{id_}' does not exist")
    return found


def _same_vpc(table: Any, target: Any, noun: str) -> Any:
    vpc_id = target.subnet.vpc_id if noun == "interface" else target.vpc.id if target.vpc else None
    if vpc_id != table.vpc_id:
        message = f"route table {table.id} and {noun} {target.id} belong to different networks"
        raise AwsError("InvalidParameterValue", message)
    return target


def _route(table: Any, destination: Any, target: Mapping[str, Any]) -> Any:
    if not isinstance(destination, Cidr):
        return _Route(table, None, None, destination, **target)
    v4, v6 = (str(destination), None) if destination.family == "ipv4" else (None, str(destination))
    return _Route(table, v4, v6, **target)


ACTIONS: Mapping[str, Handler] = {
    "CreateRoute": create_route,
    "ReplaceRoute": replace_route,
    "DeleteRoute": delete_route,
}

"""Network interfaces: created, attached, changed and deleted as in EC2.

Sources: API_CreateNetworkInterface, API_AttachNetworkInterface, API_DetachNetworkInterface,
API_DeleteNetworkInterface, API_ModifyNetworkInterfaceAttribute, API_DeleteNatGateway, "Elastic network interfaces".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cloudroute.lab.aws.wire import AwsError, Request
from cloudroute.lab.aws.world import Answer, Handler, World

_LAUNCHED = re.compile(r"NetworkInterface\.\d+\.NetworkInterfaceId")
_ADDRESS = re.compile(r"(NetworkInterface\.\d+\.)?(PrivateIpAddress|PrivateIpAddresses\.\d+\.PrivateIpAddress)")
_ATTRIBUTES = ("Attachment", "Description", "SecurityGroupId", "SourceDestCheck")


def create(world: World, request: Request) -> Answer:
    """Create an ENI with a free address. moto would pick any address, used or not."""
    check_free(world, request)
    subnet = world.subnets().get(request.required("SubnetId"))
    request.stop_if_dry()
    changes = {}
    if (
        subnet is not None
        and not request.get("PrivateIpAddress")
        and "PrivateIpAddresses.1.PrivateIpAddress" not in (request.params)
    ):
        changes["PrivateIpAddress"] = _free_address(world, subnet)
    response = world.backend.dispatch(request, changes)
    if response.status != 200:
        return response
    eni = world.ec2.enis[next(reversed(world.ec2.enis))]
    _only_ipv6(world, eni)
    world.refresh_interface(eni.id)
    world.refresh_subnets()
    if eni.subnet.ipv6_native:
        return {"networkInterface": world.chosen("NetworkInterface", [eni.id])[eni.id].fields}
    return response


def remove(world: World, request: Request) -> Answer:
    """Delete an unattached ENI. Routes to it stay, as blackholes."""
    eni = world.interface(request.required("NetworkInterfaceId"))
    if eni.instance is not None:
        raise AwsError("InvalidParameterValue", f"Network interface '{eni.id}' is currently in use.")
    request.stop_if_dry()
    delete(world, eni)
    world.refresh_interface(eni.id)
    world.refresh_subnets()
    world.refresh_tables(eni.subnet.vpc_id)
    return {"return": True}


def attach(world: World, request: Request) -> Answer:
    """Attach an ENI at a free device index."""
    eni = world.interface(request.required("NetworkInterfaceId"))
    instance = world.machine(request.required("InstanceId"))
    index = int(request.required("DeviceIndex"))
    if eni.instance is not None:
        raise AwsError("InvalidNetworkInterface.InUse", f"Interface: [{eni.id}] in use.")
    if index in instance.nics:
        message = f"Instance '{instance.id}' already has an interface attached at device index '{index}'."
        raise AwsError("InvalidParameterValue", message)
    if eni.subnet.availability_zone != instance.availability_zone:
        message = f"You may not attach a network interface to an instance if they are not in the same zone: {eni.id}"
        raise AwsError("InvalidParameterCombination", message)
    request.stop_if_dry()
    instance.attach_eni(eni, index)
    instance.nics = dict(sorted(instance.nics.items()))
    eni.delete_on_termination = False
    _record(world, eni, instance)
    return {"attachmentId": eni.attachment_id, "networkCardIndex": 0}


def detach(world: World, request: Request) -> Answer:
    """Detach an ENI; refuses the primary one."""
    attachment_id = request.required("AttachmentId")
    eni = next((eni for eni in world.ec2.enis.values() if eni.attachment_id == attachment_id), None)
    if eni is None:
        message = f"The network interface attachment ID '{attachment_id}' does not exist"
        raise AwsError("InvalidAttachmentID.NotFound", message)
    if eni.device_index == 0:
        message = "The network interface at device index 0 and networkCard index 0 cannot be detached."
        raise AwsError("OperationNotPermitted", message)
    request.stop_if_dry()
    instance = eni.instance
    instance.detach_eni(eni)
    _record(world, eni, instance)
    return {"return": True}


def modify(world: World, request: Request) -> Answer:
    """Change one attribute; EC2 accepts only one per call."""
    eni = world.interface(request.required("NetworkInterfaceId"))
    named = {name.split(".")[0] for name in request.params}
    attributes = [attribute for attribute in _ATTRIBUTES if attribute in named]
    if len(attributes) > 1:
        message = f"You can specify only one attribute at a time, not {' and '.join(attributes)}"
        raise AwsError("InvalidParameterCombination", message)
    request.stop_if_dry()
    if attributes == ["SourceDestCheck"]:
        set_source_dest_check(world, eni, request.get("SourceDestCheck.Value"))
        return {"return": True}
    if attributes == ["Attachment"]:
        eni.delete_on_termination = request.get("Attachment.DeleteOnTermination").lower() == "true"
        answer: Answer = {"return": True}
    else:
        answer = world.backend.dispatch(request)
    world.refresh_interface(eni.id)
    if eni.instance is not None:
        world.refresh_instance(eni.instance.id)
    return answer


def set_source_dest_check(world: World, eni: Any, value: str) -> None:
    """Set the source/dest check of one ENI, which DescribeInstances shows too."""
    if value.lower() not in ("true", "false"):
        raise AwsError("InvalidParameterValue", f"Value ({value}) for parameter value is invalid. Expecting a boolean.")
    eni.source_dest_check = value.lower() == "true"
    world.refresh_interface(eni.id)
    if eni.instance is not None:
        world.refresh_instance(eni.instance.id)


def made_at_launch(world: World, request: Request, instance: Any) -> None:
    """Add to the ENIs of a launch what moto omits: delete on termination, IPv6 addresses."""
    given = {value for name, value in request.params.items() if _LAUNCHED.fullmatch(name)}
    asked = {}
    for name, value in request.params.items():
        if name.startswith("NetworkInterface.") and name.endswith(".DeviceIndex"):
            asked[int(value)] = name.removesuffix("DeviceIndex")
    for index, eni in instance.nics.items():
        prefix = asked.get(index, "NetworkInterface.0.")
        if eni.id not in given:
            eni.delete_on_termination = request.get(prefix + "DeleteOnTermination").lower() != "false"
        missing = int(request.get(prefix + "Ipv6AddressCount") or 0) - len(eni.ipv6_addresses)
        if missing > 0:
            world.ec2.assign_ipv6_addresses(eni.id, ipv6_count=missing)
        _only_ipv6(world, eni)


def _only_ipv6(world: World, eni: Any) -> None:
    """Replace the IPv4 address of an ENI in an IPv6-only subnet, where moto assigns both families.

    Such an ENI always gets an IPv6 address, requested or not (API_CreateSubnet, Ipv6Native).
    """
    if not eni.subnet.ipv6_native:
        return
    for address in eni.private_ip_addresses:
        eni.subnet.del_subnet_ip(address["PrivateIpAddress"])
    eni.private_ip_address, eni.private_ip_addresses = None, []
    if not eni.ipv6_addresses:
        world.ec2.assign_ipv6_addresses(eni.id, ipv6_count=1)


def delete_nat_gateway(world: World, request: Request) -> Answer:
    """Delete a NAT gateway and its interface, which moto would keep; routes to it become blackholes."""
    gateway = world.ec2.nat_gateways.get(request.required("NatGatewayId"))
    if gateway is None:
        message = f"The Nat Gateway {request.get('NatGatewayId')} was not found"
        raise AwsError("NatGatewayNotFound", message)
    request.stop_if_dry()
    response = world.backend.dispatch(request)
    if gateway._eni.id in world.ec2.enis:
        delete(world, gateway._eni)
    world.refresh()
    return response


def delete(world: World, eni: Any) -> None:
    """Remove an ENI from the world and release its addresses."""
    world.ec2.delete_network_interface(eni.id)
    eni.instance = None
    for address in eni.private_ip_addresses:
        eni.subnet.del_subnet_ip(address["PrivateIpAddress"])


def check_free(world: World, request: Request) -> None:
    """Refuse an address that another ENI has, and an ENI that is attached."""
    for name, value in request.params.items():
        if _LAUNCHED.fullmatch(name) and world.interface(value).instance is not None:
            raise AwsError("InvalidNetworkInterface.InUse", f"Interface: [{value}] in use.")
    asked = [value for name, value in request.params.items() if _ADDRESS.fullmatch(name)]
    if asked:
        taken = _taken(world, None)
        for address in asked:
            if address in taken:
                raise AwsError("InvalidIPAddress.InUse", f"Address {address} is in use.")


def _taken(world: World, subnet_id: str | None) -> set[str]:
    return {
        address["PrivateIpAddress"]
        for eni in world.ec2.enis.values()
        if subnet_id in (None, eni.subnet.id)
        for address in eni.private_ip_addresses
    }


def _free_address(world: World, subnet: Any) -> str:
    taken = _taken(world, subnet.id)
    while True:
        try:
            address = str(subnet.get_available_subnet_ip(None))
        except StopIteration:
            message = f"There are no free addresses in subnet '{subnet.id}'."
            raise AwsError("InsufficientFreeAddressesInSubnet", message) from None
        if address not in taken:
            return address


def _record(world: World, eni: Any, instance: Any) -> None:
    world.refresh_interface(eni.id)
    world.refresh_instance(instance.id)
    world.refresh_tables(eni.subnet.vpc_id)


ACTIONS: Mapping[str, Handler] = {
    "CreateNetworkInterface": create,
    "DeleteNetworkInterface": remove,
    "AttachNetworkInterface": attach,
    "DetachNetworkInterface": detach,
    "ModifyNetworkInterfaceAttribute": modify,
    "DeleteNatGateway": delete_nat_gateway,
}

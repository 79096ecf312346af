"""VPCs and subnets: the IPv6 rules of a default network ACL, and subnets on Outposts.

Sources: "Default network ACL" in the Amazon VPC User Guide, API_CreateSubnet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from cloudroute.lab.aws.acl_views import LAST_IPV4, has_ipv6
from cloudroute.lab.aws.wire import AwsError, Request
from cloudroute.lab.aws.world import Answer, Handler, World

_ALLOW_IPV4, _ALLOW_IPV6 = 100, 101
"""Rule numbers of the default ACL."""
_SUBNET_ID = re.compile(rb"<subnetId>([^<]+)<")


def add_cidr(world: World, request: Request) -> Answer:
    """Create a VPC, or add a CIDR. With the first IPv6 CIDR, an unchanged default ACL gets rules that allow IPv6."""
    request.stop_if_dry()
    response = world.backend.dispatch(request)
    if response.status == 200:
        vpc_id = request.get("VpcId") or next(reversed(world.ec2.vpcs))
        acl = next(one for one in world.ec2.network_acls.values() if one.default and one.vpc_id == vpc_id)
        for egress in (True, False) if has_ipv6(world.ec2, vpc_id) else ():
            numbers = {entry.rule_number for entry in acl.network_acl_entries if entry.egress == egress}
            if numbers == {_ALLOW_IPV4, LAST_IPV4}:
                world.ec2.create_network_acl_entry(
                    acl.id, _ALLOW_IPV6, "-1", "allow", egress, None, None, None, None, None, "::/0"
                )
        world.refresh()
    return response


def create_subnet(world: World, request: Request) -> Answer:
    """Create a subnet. moto has no Outposts: the ARN is kept on its object, and shown by the views."""
    outpost_arn = request.get("OutpostArn")
    if outpost_arn and not request.get("AvailabilityZone"):
        raise AwsError("MissingParameter", "The request must contain the parameter availabilityZone with outpostArn")
    request.stop_if_dry()
    response = world.backend.dispatch(request)
    found = _SUBNET_ID.search(response.body)
    if response.status != 200 or found is None:
        return response
    id_ = found.group(1).decode()
    if outpost_arn:
        world.subnets()[id_].outpost_arn = outpost_arn
    world.refresh()
    return {"subnet": world.chosen("Subnet", [id_])[id_]} if outpost_arn else response


ACTIONS: Mapping[str, Handler] = {
    "CreateVpc": add_cidr,
    "AssociateVpcCidrBlock": add_cidr,
    "CreateSubnet": create_subnet,
}

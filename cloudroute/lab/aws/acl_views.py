"""Network ACLs as EC2 shows them: see `views`.

Every ACL ends with deny rules. moto shows them for the default ACL only, and for IPv4 only; it also keeps the
associations of deleted subnets. Sources: "Default network ACL", "Custom network ACLs" in the Amazon VPC User Guide;
API_NetworkAclEntry.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from cloudroute.lab.aws.views import View, present, tags

LAST_IPV4, LAST_IPV6 = 32767, 32768
"""Numbers of the final rules, which deny traffic that no other rule matches; AWS's console shows them as `*`."""


def acl_view(ec2: Any, acl: Any, subnet_ids: Collection[str]) -> View:
    """Render a network ACL; `subnet_ids` are the existing subnets."""
    entries = [_entry(entry) for entry in acl.network_acl_entries if entry.rule_number < LAST_IPV4]
    return View(
        {
            "networkAclId": acl.id,
            "vpcId": acl.vpc_id,
            "default": acl.default,
            "entrySet": entries + list(_last_entries(ipv6=has_ipv6(ec2, acl.vpc_id))),
            "associationSet": [
                {"networkAclAssociationId": one.id, "networkAclId": acl.id, "subnetId": one.subnet_id}
                for one in acl.associations
                if one.subnet_id in subnet_ids
            ],
            "ownerId": acl.owner_id,
            "tagSet": tags(ec2, acl.id),
        }
    )


def _entry(entry: Any) -> dict[str, Any]:
    ports, icmp = entry.port_range, entry.icmp_type_code
    return present(
        {
            "ruleNumber": entry.rule_number,
            "protocol": entry.protocol,
            "ruleAction": entry.rule_action,
            "egress": entry.egress,
            "cidrBlock": entry.cidr_block,
            "ipv6CidrBlock": entry.ipv6_cidr_block,
            "icmpTypeCode": icmp and {name.lower(): value for name, value in icmp.items()},
            "portRange": ports and {name.lower(): value for name, value in ports.items()},
        }
    )


def _last_entries(*, ipv6: bool) -> Iterator[dict[str, Any]]:
    for egress in (True, False):
        deny = {"protocol": "-1", "ruleAction": "deny", "egress": egress}
        yield {"ruleNumber": LAST_IPV4, **deny, "cidrBlock": "0.0.0.0/0"}
        if ipv6:
            yield {"ruleNumber": LAST_IPV6, **deny, "ipv6CidrBlock": "::/0"}


def has_ipv6(ec2: Any, vpc_id: str) -> bool:
    """Tell whether the VPC has an IPv6 CIDR."""
    vpc = ec2.vpcs.get(vpc_id)
    return vpc is not None and bool(vpc.get_cidr_block_association_set(ipv6=True))

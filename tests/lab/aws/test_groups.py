"""Security groups, as far as Terraform reads them."""

from __future__ import annotations

from typing import Any

import pytest

from cloudroute.lab.aws import Vpc


@pytest.mark.parametrize(
    "peer",
    [
        {"IpRanges": [{"CidrIp": "100.64.0.0/16", "Description": "pods"}]},
        {"Ipv6Ranges": [{"CidrIpv6": "fd00:64::/48", "Description": "pods"}]},
        {"UserIdGroupPairs": [{"GroupId": "itself", "Description": "pods"}]},
    ],
)
def test_descriptions_of_rules(ec2: Any, vpc: Vpc, peer: dict[str, list[dict[str, str]]]) -> None:
    """A rule keeps its description, whatever its peer (API_SecurityGroupRule)."""
    group = ec2.create_security_group(GroupName="nodes", Description="nodes", VpcId=vpc.id)["GroupId"]
    for each in peer.get("UserIdGroupPairs", ()):
        each["GroupId"] = group
    rule = {"IpProtocol": "udp", "FromPort": 8472, "ToPort": 8472, **peer}
    made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])["SecurityGroupRules"]
    shown = ec2.describe_security_group_rules(SecurityGroupRuleIds=[made[0]["SecurityGroupRuleId"]])
    assert [made[0]["Description"], shown["SecurityGroupRules"][0]["Description"]] == ["pods", "pods"]

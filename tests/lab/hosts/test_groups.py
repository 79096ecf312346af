"""The lab's VPC drops packets by security groups and network ACLs, as EC2's state says."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cloudroute.lab.hosts.host import Vm
from cloudroute.lab.hosts.netns import ADDRESS_FAMILIES, Namespace
from cloudroute.lab.hosts.program import ROUTER
from cloudroute.lab.hosts.resolver import ask
from cloudroute.lab.hosts.traffic import Protocol
from cloudroute.lab.hosts.traffic_echo import PORT, Echo, reach
from cloudroute.types import family_of
from tests.lab.hosts.vpc_lab import PREFIX, VpcLab, lab

__all__ = ["lab"]

PATIENCE = 1.0
"""Seconds in which an answer comes, or never."""
EVERYBODY: Mapping[str, Any] = {
    "IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]
}  # fmt: skip
PODS: Mapping[str, Any] = {
    "IpRanges": [{"CidrIp": "100.64.0.0/16"}], "Ipv6Ranges": [{"CidrIpv6": "fd00:64::/32"}]
}  # fmt: skip


@pytest.fixture
def echo(lab: VpcLab) -> Iterator[None]:
    with Echo([host.namespace.name for host in lab.hosts.values()]):
        yield


def of(protocol: str, port: int = -1, peers: Mapping[str, Any] = EVERYBODY) -> dict[str, Any]:
    """A rule of a group, for all ports without one."""
    ports = {} if protocol == "-1" else {"FromPort": port, "ToPort": port if port >= 0 else -1}
    return {"IpProtocol": protocol, **ports, **peers}


def members(group: str) -> dict[str, Any]:
    return {"UserIdGroupPairs": [{"GroupId": group}]}


def new_group(lab: VpcLab, inward: list[dict[str, Any]], outward: list[dict[str, Any]]) -> str:
    name = f"group-{len(lab.ec2.describe_security_groups()['SecurityGroups'])}"
    group = str(lab.ec2.create_security_group(GroupName=name, Description=name, VpcId=lab.vpc.id)["GroupId"])
    (made,) = lab.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    lab.ec2.revoke_security_group_egress(GroupId=group, IpPermissions=made["IpPermissionsEgress"])
    if inward:
        lab.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=inward)
    if outward:
        lab.ec2.authorize_security_group_egress(GroupId=group, IpPermissions=outward)
    return group


def give(lab: VpcLab, host: Vm, *groups: str) -> None:
    lab.ec2.modify_network_interface_attribute(NetworkInterfaceId=host.machine.interface_id, Groups=groups)


def limit(lab: VpcLab, host: Vm, inward: list[dict[str, Any]], outward: list[dict[str, Any]]) -> str:
    """Give a host one group with these rules alone."""
    group = new_group(lab, inward, outward)
    give(lab, host, group)
    return group


def asked(sender: Vm, to: Vm, protocol: Protocol, size: int = 128) -> set[bool]:
    """Whether the other host answers; the results of both families as a set."""
    return {reach(sender.namespace.name, one, protocol, size, PATIENCE).ok for one in to.addresses}


def test_a_group_admits_what_a_rule_names_and_nothing_else(lab: VpcLab, echo: None) -> None:
    """Inside a subnet and across, both families; answers need no rule."""
    for sender in (lab.a, lab.c):
        limit(lab, lab.b, [of("udp", PORT)], [])
        assert asked(sender, lab.b, "udp") == {True}
        assert asked(sender, lab.b, "tcp") == {False}
        limit(lab, lab.b, [of("tcp", PORT)], [])
        assert asked(sender, lab.b, "udp") == {False}
        assert asked(sender, lab.b, "tcp") == {True}
        limit(lab, lab.b, [of("tcp", PORT + 1)], [])
        assert asked(sender, lab.b, "tcp") == {False}


def test_nothing_leaves_without_a_rule_but_answers(lab: VpcLab, echo: None) -> None:
    limit(lab, lab.a, [of("-1")], [])
    assert asked(lab.c, lab.a, "tcp") == asked(lab.c, lab.a, "udp") == {True}
    assert asked(lab.a, lab.c, "tcp") == asked(lab.a, lab.c, "udp") == {False}
    limit(lab, lab.a, [], [of("tcp", PORT)])
    assert asked(lab.a, lab.c, "tcp") == {True}
    assert asked(lab.a, lab.c, "udp") == asked(lab.c, lab.a, "tcp") == {False}


def test_groups_add_up(lab: VpcLab, echo: None) -> None:
    give(lab, lab.c, new_group(lab, [of("tcp", PORT)], []), new_group(lab, [of("udp", PORT)], []))
    assert asked(lab.a, lab.c, "tcp") == asked(lab.a, lab.c, "udp") == {True}


def test_a_group_s_id_stands_for_its_interfaces_and_never_for_pods(lab: VpcLab, echo: None) -> None:
    for host in lab.hosts.values():
        lab.check(host, on=False)
        lab.route(host, *lab.tables)
    group = new_group(lab, [], [of("-1")])
    lab.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[of("-1", peers=members(group))])
    give(lab, lab.c, group)
    assert asked(lab.a, lab.c, "udp") == {False}
    give(lab, lab.a, group)
    assert asked(lab.a, lab.c, "udp") == {True}
    assert asked(lab.b, lab.c, "udp") == {False}
    assert lab.pod_ping(lab.a, lab.c) == {False}
    lab.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[of("-1", peers=PODS)])
    assert lab.pod_ping(lab.a, lab.c) == {True}


def test_the_overlay_needs_its_port_alone(lab: VpcLab) -> None:
    lab.overlay(lab.a, lab.b, lab.c)
    hosts = (lab.a, lab.b, lab.c)
    group = new_group(lab, [], [of("-1")])
    for host in hosts:
        give(lab, host, group)
    assert lab.pod_ping(lab.a, lab.b) == lab.pod_ping(lab.a, lab.c) == {False}
    lab.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[of("udp", 8472, members(group))])
    assert lab.pod_ping(lab.a, lab.b) == lab.pod_ping(lab.a, lab.c) == {True}
    assert not lab.ping(lab.a, lab.c.addresses[0])


def test_a_flow_outlives_its_rule_until_it_pauses(lab: VpcLab, echo: None) -> None:
    group = limit(lab, lab.c, [of("udp", PORT)], [])
    for address in lab.c.addresses:
        with lab.a.namespace.inside():
            sock = socket.socket(ADDRESS_FAMILIES[family_of(address)], socket.SOCK_DGRAM)
        with sock:
            sock.settimeout(PATIENCE)
            sock.connect((address, PORT))
            assert answers(sock)
            lab.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[of("udp", PORT)])
            assert answers(sock)
            assert asked(lab.a, lab.c, "udp") == {False}
            lab.net.forget_flows()
            assert not answers(sock)
        lab.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[of("udp", PORT)])


def answers(sock: socket.socket) -> bool:
    sock.send(bytes(64))
    try:
        return bool(sock.recv(4096))
    except TimeoutError:
        return False


def test_an_error_of_icmp_belongs_to_the_flow_that_it_is_about(lab: VpcLab) -> None:
    """A closed port answers by ICMP, which no rule of either side admits."""
    limit(lab, lab.a, [], [of("udp", PORT)])
    limit(lab, lab.c, [of("udp", PORT)], [])
    for address in lab.c.addresses:
        assert reach(lab.a.namespace.name, address, "udp", timeout=PATIENCE).error == "Connection refused"


def test_a_ping_needs_a_rule_and_its_reply_none(lab: VpcLab) -> None:
    limit(lab, lab.a, [], [of("-1")])
    limit(lab, lab.c, [of("icmp"), of("icmpv6")], [])
    for here, there in zip(lab.a.addresses, lab.c.addresses, strict=True):
        assert lab.ping(lab.a, there)
        assert not lab.ping(lab.c, here)


def test_no_group_keeps_a_host_from_the_resolver_or_its_router(lab: VpcLab) -> None:
    limit(lab, lab.a, [], [])
    for server in lab.net.resolver_addresses:
        assert ask(lab.a.namespace.name, server, "ip-10-9-8-7.eu-central-1.compute.internal") == "10.9.8.7"
    assert lab.ping(lab.a, "10.0.0.1")
    assert not lab.ping(lab.a, lab.net.internet.addresses[0])


def test_a_large_datagram_in_fragments_passes_where_its_first_one_does(lab: VpcLab) -> None:
    limit(lab, lab.c, [of("icmp"), of("icmpv6")], [])
    for address in lab.c.addresses:
        assert lab.ping(lab.a, address, "-s20000")
    limit(lab, lab.c, [], [])
    for address in lab.c.addresses:
        assert not lab.ping(lab.a, address, "-s20000")


# --- network ACLs ---------------------------------------------------------------------------------


def acl_of(lab: VpcLab, host: Vm) -> str:
    """A new network ACL of the host's subnet, which denies everything."""
    acl = str(lab.ec2.create_network_acl(VpcId=lab.vpc.id)["NetworkAcl"]["NetworkAclId"])
    subnet = host.machine.zone.subnet_id
    found = lab.ec2.describe_network_acls(Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])
    for one in found["NetworkAcls"][0]["Associations"]:
        if one["SubnetId"] == subnet:
            lab.ec2.replace_network_acl_association(AssociationId=one["NetworkAclAssociationId"], NetworkAclId=acl)
    return acl


def allow(lab: VpcLab, acl: str, number: int, *, egress: bool, **entry: Any) -> None:
    """Add an entry for both families, with numbers that follow each other; it allows everything without details."""
    for offset, peer in enumerate(({"CidrBlock": "0.0.0.0/0"}, {"Ipv6CidrBlock": "::/0"})):
        rule = {"Protocol": "-1", "RuleAction": "allow", **entry}
        lab.ec2.create_network_acl_entry(NetworkAclId=acl, RuleNumber=number + offset, Egress=egress, **peer, **rule)


def test_an_acl_acts_at_the_border_of_its_subnet_and_is_stateless(lab: VpcLab, echo: None) -> None:
    acl = acl_of(lab, lab.a)
    assert asked(lab.a, lab.b, "udp") == {True}
    assert asked(lab.a, lab.c, "udp") == {False}
    allow(lab, acl, 100, egress=True)
    assert asked(lab.a, lab.c, "udp") == {False}
    allow(lab, acl, 100, egress=False, Protocol="17", PortRange={"From": 1024, "To": 65535})
    assert asked(lab.a, lab.c, "udp") == {True}
    assert asked(lab.a, lab.c, "tcp") == {False}


def test_entries_of_an_acl_decide_in_their_order(lab: VpcLab, echo: None) -> None:
    acl = acl_of(lab, lab.a)
    for egress in (True, False):
        allow(lab, acl, 200, egress=egress)
    assert asked(lab.c, lab.a, "udp") == {True}
    allow(lab, acl, 300, egress=False, Protocol="17", PortRange={"From": PORT, "To": PORT}, RuleAction="deny")
    assert asked(lab.c, lab.a, "udp") == {True}
    allow(lab, acl, 100, egress=False, Protocol="17", PortRange={"From": PORT, "To": PORT}, RuleAction="deny")
    assert asked(lab.c, lab.a, "udp") == {False}
    assert asked(lab.c, lab.a, "tcp") == {True}


def test_no_acl_keeps_a_host_from_the_resolver(lab: VpcLab) -> None:
    acl_of(lab, lab.c)
    assert ask(lab.c.namespace.name, "10.0.0.2", "ip-10-9-8-7.eu-central-1.compute.internal") == "10.9.8.7"
    assert not lab.ping(lab.c, lab.net.internet.addresses[0])


# --- MTU ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_a_narrow_link_loses_large_packets_silently(lab: VpcLab, echo: None, protocol: Protocol) -> None:
    """Also those of TCP that a kernel would hand over in one piece; neither end is told."""
    for sender, to in ((lab.a, lab.c), (lab.c, lab.a), (lab.a, lab.b)):
        lab.net.narrow()
        assert asked(sender, to, protocol, 9001) == {True}
        lab.net.narrow(lab.a.machine.id)
        assert asked(sender, to, protocol, 1500) == {True}
        assert asked(sender, to, protocol, 9001) == {False}
    assert asked(lab.b, lab.c, protocol, 9001) == {True}


def test_a_narrow_link_loses_nothing_from_the_internet(lab: VpcLab) -> None:
    """Its packets fit. Otherwise a kubelet gets an answer of the API server piece by piece, five of them a second."""
    lab.net.narrow(lab.a.machine.id)
    before = too_large(lab)
    with Echo([lab.net.internet.namespace.name]):
        for address in lab.net.internet.addresses:
            assert reach(lab.a.namespace.name, address, "tcp", 60_000).ok, address
    assert too_large(lab) == before
    lab.net.narrow()


def too_large(lab: VpcLab) -> int:
    """Packets that narrow links have lost."""
    rules = Namespace(f"{PREFIX}{ROUTER}").run("nft", "list", "ruleset")
    return sum(map(int, re.findall(r"@narrow meta length > 1500 counter packets (\d+)", rules)))

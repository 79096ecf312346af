"""Doctor's checks of what packets meet, on facts that no lab can show: security groups, ACLs, packet sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudroute.core.explain.doctor import Facts
from cloudroute.core.explain.doctor.facts import (
    Acl,
    AclRule,
    ControlPlaneInterface,
    Groups,
    InstanceOptions,
    Rule,
)
from cloudroute.core.explain.doctor.findings import known
from cloudroute.core.explain.doctor.groups import CHECKS as GROUP_CHECKS
from cloudroute.types import Cidr, Instance, Interface, Node, Subnet
from tests.core.doctor_facts import POOL, UNREAD, found

# --- security groups --------------------------------------------------------------------------------

ALL_OUT = [Rule("-1", (0, 65535), (Cidr.parse("0.0.0.0/0"),))]
SELF = Rule("udp", (8472, 8472), groups=frozenset({"sg-a"}))
PODS = Rule("-1", (0, 65535), (POOL,))


def grouped(ingress: dict[str, list[Rule]], **of: str) -> Facts:
    """Nodes n1, n2 ... at 10.0.0.1 ... whose interfaces have the groups that are named."""
    nodes, instances = {}, {}
    for number, name in enumerate(of, 1):
        nodes[name] = Node(name, name, "1", "", f"i-{name}")
        interface = Interface(f"eni-{name}", 0, "subnet-1", (f"10.0.0.{number}",), source_dest_check=False)
        instances[f"i-{name}"] = Instance(f"i-{name}", "running", "vpc-1", "a", (interface,))
    groups = Groups(
        {f"i-{name}": frozenset(names.split("+")) for name, names in of.items()},
        ingress,
        {group: ALL_OUT for names in of.values() for group in names.split("+")},
    )
    return replace(
        UNREAD,
        kubernetes=replace(UNREAD.kubernetes, nodes=nodes),
        aws=replace(UNREAD.aws, instances=instances, groups=groups),
    )


@pytest.mark.parametrize(
    ("ingress", "groups", "overlay", "pods"),
    [
        ({"sg-a": [SELF, PODS]}, ("sg-a", "sg-a"), "ok", "ok"),
        ({"sg-a": [SELF], "sg-b": [PODS]}, ("sg-a+sg-b", "sg-a+sg-b"), "ok", "ok"),
        ({"sg-a": [SELF, PODS], "sg-b": [PODS]}, ("sg-a", "sg-b"), "failed", "ok"),
        ({"sg-a": [SELF, PODS], "sg-b": []}, ("sg-a", "sg-a+sg-b"), "ok", "ok"),
        ({"sg-a": [Rule("-1", (0, 65535), (Cidr.parse("10.0.0.0/24"),)), PODS]}, ("sg-a", "sg-a"), "ok", "ok"),
        ({"sg-a": [Rule("17", (8000, 9000), (Cidr.parse("10.0.0.1/32"),)), PODS]}, ("sg-a", "sg-a"), "failed", "ok"),
        ({"sg-a": [Rule("tcp", (0, 65535), groups=frozenset({"sg-a"})), PODS]}, ("sg-a", "sg-a"), "failed", "ok"),
        ({"sg-a": [SELF, Rule("-1", (0, 65535), groups=frozenset({"sg-a"}))]}, ("sg-a", "sg-a"), "ok", "failed"),
        ({"sg-a": [SELF, Rule("-1", (0, 65535), (Cidr.parse("100.64.0.0/17"),))]}, ("sg-a",), "ok", "failed"),
        ({"sg-a": [SELF, Rule("tcp", (0, 65535), (POOL,))]}, ("sg-a",), "ok", "warning"),
        ({"sg-a": [Rule("-1", (0, 65535), prefix_lists=("pl-1",))]}, ("sg-a", "sg-a"), "ok", "ok"),
    ],
)
def test_packets_that_security_groups_let_through(
    ingress: dict[str, list[Rule]], groups: tuple[str, ...], overlay: str, pods: str
) -> None:
    """Tunnels go by group or address, pods by address alone; an interface has the rules of all its groups."""
    facts = grouped(ingress, **{f"n{number}": names for number, names in enumerate(groups, 1)})
    assert [check.answer(facts).state for check in GROUP_CHECKS] == [overlay, pods]


EVERYWHERE = Rule("-1", (0, 65535), (Cidr.parse("0.0.0.0/0"), Cidr.parse("::/0")))
IPV4, IPV6 = (Rule("-1", (0, 65535), (Cidr.parse(cidr),)) for cidr in ("10.0.0.0/16", "fd00::/16"))


def of_two_families(ingress: list[Rule], *addresses: str) -> Facts:
    """A dual-stack node of sg-a, which lets all in, and one of sg-b with these addresses, which lets in `ingress`."""
    facts = grouped({"sg-a": [EVERYWHERE], "sg-b": [*ingress, PODS]}, n1="sg-a", n2="sg-b")
    groups = known(facts.aws.groups)._replace(egress={"sg-a": [EVERYWHERE], "sg-b": [EVERYWHERE]})
    instances = {
        f"i-{name}": replace(known(facts.aws.instances)[f"i-{name}"], interfaces=(interface,))
        for name, interface in (
            ("n1", Interface("eni-n1", 0, "subnet-1", ("10.0.0.1", "fd00::1"), source_dest_check=False)),
            ("n2", Interface("eni-n2", 0, "subnet-1", addresses, source_dest_check=False)),
        )
    }
    return replace(facts, aws=replace(facts.aws, groups=groups, instances=instances))


@pytest.mark.parametrize(
    ("addresses", "ingress", "state"),
    [
        (("fd00::2",), [IPV6, Rule("udp", (8472, 8472), groups=frozenset({"sg-b"}))], "ok"),
        (("fd00::2",), [IPV4, Rule("udp", (8472, 8472), groups=frozenset({"sg-b"}))], "failed"),
        (("10.0.0.2", "fd00::2"), [IPV4], "ok"),
        (("10.0.0.2", "fd00::2"), [IPV6], "failed"),
    ],
)
def test_the_tunnel_is_judged_by_the_family_that_both_nodes_have(
    addresses: tuple[str, ...], ingress: list[Rule], state: str
) -> None:
    """IPv4 where both have it; toward a node of IPv6 alone a dual-stack node sends by that."""
    facts = of_two_families(ingress, *addresses)
    assert found(facts, "groups-overlay").state == state


@pytest.mark.parametrize(
    ("addresses", "ingress", "state"),
    [
        (("10.0.0.9",), [IPV4], "ok"),
        (("fd00::9",), [IPV6], "ok"),
        (("fd00::9",), [IPV4], "failed"),
        (("10.0.0.9", "fd00::9"), [IPV4], "failed"),
        (("10.0.0.9", "fd00::9"), [IPV4, IPV6], "ok"),
    ],
)
def test_the_control_plane_is_judged_by_each_family_that_it_shares_with_nodes(
    addresses: tuple[str, ...], ingress: list[Rule], state: str
) -> None:
    """A dual-stack node is let in by both of its addresses where the control plane has both."""
    facts = of_two_families([EVERYWHERE], "10.0.0.2", "fd00::2")
    groups = known(facts.aws.groups)
    groups = groups._replace(
        ingress={**groups.ingress, "sg-plane": ingress}, egress={**groups.egress, "sg-plane": [EVERYWHERE]}
    )
    plane = (ControlPlaneInterface("subnet-9", frozenset({"sg-plane"}), addresses),)
    aws = replace(facts.aws, groups=groups, control_plane=plane, vpc_id="vpc-1", tables={}, subnets={}, prefix_lists={})
    facts = replace(facts, aws=aws, kubernetes=replace(facts.kubernetes, node_routes={}, route_table_objects={}))
    finding = found(facts, "groups-control-plane")
    assert finding.state == state, finding
    assert ("(IPv6)" in finding.found) == (state == "failed")


def test_an_eks_cluster_of_another_name() -> None:
    """The API server is EKS's, and no interface has the cluster's name: what to set is said."""
    facts = grouped({}, n1="sg-a")
    facts = replace(
        facts,
        kubernetes=replace(facts.kubernetes, version="v1.35.1-eks-1a2b3c4"),
        aws=replace(facts.aws, control_plane=()),
    )
    finding = found(facts, "groups-control-plane")
    assert finding.state == "not checked"
    assert "--cluster-name is to be the name of the EKS cluster" in finding.found


# --- network ACLs -----------------------------------------------------------------------------------

OPEN, SHUT = Cidr.parse("0.0.0.0/0"), Cidr.parse("::/0")


def in_two_subnets(*addresses: str) -> Facts:
    """A node in each of two dual-stack subnets, whose ACLs allow IPv4 alone."""
    facts = grouped({}, n1="sg-a", n2="sg-a")
    instances, subnets, acls = {}, {}, []
    for name, number in (("n1", 1), ("n2", 2)):
        interface = Interface(f"eni-{name}", 0, f"subnet-{number}", addresses, source_dest_check=False)
        instances[f"i-{name}"] = Instance(f"i-{name}", "running", "vpc-1", "a", (interface,))
        cidrs = (Cidr.parse(f"10.0.{number}.0/24"), Cidr.parse(f"fd00:{number}::/64"))
        subnets[f"subnet-{number}"] = Subnet(f"subnet-{number}", "vpc-1", "a", cidrs)
        rules = [
            AclRule(100, egress=egress, allow=True, protocol="-1", ports=(0, 65535), cidr=OPEN)
            for egress in (True, False)
        ]
        rules += [
            AclRule(32768, egress=egress, allow=False, protocol="-1", ports=(0, 65535), cidr=SHUT)
            for egress in (True, False)
        ]
        acls.append(Acl(f"acl-{number}", frozenset({f"subnet-{number}"}), tuple(rules)))
    return replace(facts, aws=replace(facts.aws, instances=instances, subnets=subnets, acls=acls))


@pytest.mark.parametrize(
    ("addresses", "state"), [(("10.0.0.1", "fd00::1"), "ok"), (("fd00::1",), "failed"), (("10.0.0.1",), "ok")]
)
def test_the_family_of_the_tunnel_is_checked(addresses: tuple[str, ...], state: str) -> None:
    """IPv4 where the nodes have it: then it does not matter that the ACLs refuse IPv6."""
    assert found(in_two_subnets(*addresses), "acls-overlay").state == state


def test_each_pool_passes_by_rules_of_its_family() -> None:
    """The IPv6 pool is refused where only IPv4 is allowed, and named."""
    facts = in_two_subnets("10.0.0.1")
    pools = (POOL, Cidr.parse("fd64::/48"))
    finding = found(replace(facts, policy=replace(facts.policy, pools=pools)), "acls-pods")
    assert finding.state == "failed"
    assert "fd64::/48" in finding.found
    assert str(POOL) not in finding.found


# --- sizes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "pool", "todo"),
    [
        ("eu-central-1-ham-1a", "100.64.0.0/16", "--mtu 1250"),
        ("us-east-1-atl-2a", "100.64.0.0/16", "--mtu 8751"),
        ("eu-central-1-ham-1a", "fd64::/48", "IPv6 needs 1280"),
        ("us-east-1-atl-2a", "fd64::/48", "--mtu 8751"),
    ],
)
def test_longest_packets_to_a_local_zone(zone: str, pool: str, todo: str) -> None:
    """By the zone's name, less the tunnel; IPv6 can't do with what some leave to pods."""
    facts = grouped({}, n1="sg-a")
    instances = {"i-n1": replace(known(facts.aws.instances)["i-n1"], zone=zone)}
    options = {"i-n1": InstanceOptions(metadata=True, token_required=True, hop_limit=1)}
    facts = replace(
        facts,
        policy=replace(facts.policy, pools=(Cidr.parse(pool),)),
        kubernetes=replace(facts.kubernetes, node_routes={}),
        aws=replace(facts.aws, instances=instances, options=options),
    )
    finding = found(facts, "jumbo-frames")
    assert finding.state == "warning"
    assert todo in finding.todo

"""Doctor's checks on facts that no lab can show, and its table for people."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudroute.core.cluster.model import Policy
from cloudroute.core.explain.doctor import CHECKS, Facts, Finding, examine, lines
from cloudroute.core.explain.doctor.cluster import NO_API, permissions
from cloudroute.core.explain.doctor.facts import (
    Acl,
    AclRule,
    AwsFacts,
    ControlPlaneInterface,
    Election,
    Groups,
    InstanceOptions,
    KubernetesFacts,
    Rule,
    Workload,
)
from cloudroute.core.explain.doctor.findings import Unknown, known
from cloudroute.core.explain.doctor.groups import CHECKS as GROUP_CHECKS
from cloudroute.core.explain.doctor.networks import writes_routes
from cloudroute.types import Cidr, Instance, Interface, LeaseRecord, Node, Subnet

NOTHING = Unknown("it was not read")
POOL = Cidr.parse("100.64.0.0/16")
UNREAD = Facts(
    Policy("test", (POOL,), {"ipv4": 24, "ipv6": 80}),
    50,
    8472,
    KubernetesFacts(*[NOTHING] * 10),
    AwsFacts(NOTHING, NOTHING, NOTHING, {}, *[NOTHING] * 8),
    NOTHING,
)


def found(facts: Facts, check: str) -> Finding:
    (one,) = [finding for finding in examine(facts) if finding.check == check]
    return one


def test_nothing_could_be_read() -> None:
    """Every check ends; what reads nothing is not checked, and says why."""
    findings = examine(UNREAD)
    assert len(findings) == len(CHECKS)
    failed = {one.check for one in findings if one.state == "failed"}
    assert failed == {"api-server", "credentials", "region"}
    others = [one for one in findings if one.state == "not checked"]
    assert {one.found for one in others} == {"it was not read", "not needed with --route-limit 50", NO_API}


def test_names_are_unique_within_a_group() -> None:
    """A program finds a check by group and name."""
    names = [(check.group, check.name) for check in CHECKS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("version", "state"), [("v1.24.17-eks", "failed"), ("v1.25.0", "ok"), ("v2.0.0", "ok"), ("odd", "ok")]
)
def test_an_api_server_that_is_too_old(version: str, state: str) -> None:
    """Only from 1.25 on the rules of our kinds are evaluated."""
    facts = replace(UNREAD, kubernetes=replace(UNREAD.kubernetes, version=version))
    assert found(facts, "version").state == state


def test_verbs_that_are_refused() -> None:
    """They are named with resource and namespace."""
    lacking = [one for one in permissions("net") if one.resource in ("leases", "nodes/status")]
    finding = found(replace(UNREAD, kubernetes=replace(UNREAD.kubernetes, refused=lacking)), "rbac")
    assert finding.state == "failed"
    assert "patch nodes/status, create leases.coordination.k8s.io in net" in finding.found
    assert "deploy/rbac/controller.yaml" in finding.todo


# --- the leader ---------------------------------------------------------------------------------------

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
PODS_ON = {"ip-10-0-0-9.eu-central-1.compute.internal": "cloudroute-controller-a", "b": "cloudroute-controller-b"}


@pytest.mark.parametrize(
    ("holder", "renewed", "pods", "state", "says"),
    [
        ("ip-10-0-0-9_77aa0c1d", "2025-12-31T23:59:58Z", PODS_ON, "ok", "ip-10-0-0-9_77aa0c1d leads"),
        ("b_77aa0c1d", "2025-12-31T23:59:41Z", PODS_ON, "ok", "b_77aa0c1d leads"),
        ("laptop_77aa0c1d", "2025-12-31T23:59:58Z", {}, "ok", "laptop_77aa0c1d leads"),
        ("laptop_77aa0c1d", "2025-12-31T23:59:58Z", NOTHING, "ok", "laptop_77aa0c1d leads"),
        ("laptop_77aa0c1d", "2025-12-31T23:59:58Z", PODS_ON, "warning", "none of the controllers' pods runs on laptop"),
        ("somebody", "2025-12-31T23:59:58Z", PODS_ON, "failed", "held by somebody, which is no controller"),
        ("b_77aa0c1d", "2026-01-01T00:00:15Z", PODS_ON, "ok", "b_77aa0c1d leads"),
        ("b_77aa0c1d", "2026-01-01T01:00:00Z", PODS_ON, "warning", "b_77aa0c1d renewed the Lease 3600 s in the future"),
        ("b_77aa0c1d", "2025-12-31T23:59:39Z", PODS_ON, "failed", "b_77aa0c1d holds the Lease for 15 s, which it rene"),
        ("b_77aa0c1d", "", PODS_ON, "failed", "which it has never renewed"),
        ("", "2025-12-31T23:59:58Z", PODS_ON, "warning", "the last leader has released the Lease"),
    ],
)
def test_why_nobody_leads(holder: str, renewed: str, pods: dict[str, str] | Unknown, state: str, says: str) -> None:
    """The holder is named: somebody else, one on another host, one with a wrong clock, one that renews no more."""
    election = Election("net", LeaseRecord(holder, 15, renewed, renewed, 3, "7"), NOW, pods)
    finding = found(replace(UNREAD, kubernetes=replace(UNREAD.kubernetes, election=election)), "leader")
    assert finding.state == state
    assert says in finding.found
    assert (finding.todo == "") == (state == "ok")


def test_before_a_controller_has_run() -> None:
    """There is no Lease, which is no failure."""
    election = Election("net", None, NOW, {})
    finding = found(replace(UNREAD, kubernetes=replace(UNREAD.kubernetes, election=election)), "leader")
    assert (finding.state, finding.found) == (
        "not checked",
        "there is no Lease in namespace net: the controller has not run yet",
    )


# --- route controllers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "writes"),
    [
        ("cloud-controller-manager", ["--allocate-node-cidrs=true"], True),
        ("cloud-controller-manager", ["--allocate-node-cidrs", "--v=2"], True),
        ("cloud-controller-manager", ["--allocate-node-cidrs", "true"], True),
        ("cloud-controller-manager", ["--allocate-node-cidrs=true", "--configure-cloud-routes=false"], False),
        ("cloud-controller-manager", ["--allocate-node-cidrs=true", "--controllers=*,-route"], False),
        ("cloud-controller-manager", ["--allocate-node-cidrs=true", "--controllers=*,-node-route-controller"], False),
        ("cloud-controller-manager", ["--cloud-provider=aws"], False),
        ("cloud-controller-manager", [], False),
        ("kube-controller-manager", ["--allocate-node-cidrs=true", "--cloud-provider=external"], False),
        ("kube-controller-manager", ["--allocate-node-cidrs=true", "--cloud-provider=aws"], True),
    ],
)
def test_when_a_route_controller_runs(name: str, arguments: list[str], *, writes: bool) -> None:
    """Where node CIDRs are allocated and cloud routes are not switched off."""
    workload = Workload("Pod", "kube-system", f"{name}-node-1", 1, (f"/bin/{name}", *arguments))
    assert writes_routes(workload) == writes


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
def test_what_security_groups_let_through(
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


# --- pods of a node ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pod_cidrs", "state"),
    [
        ((), "ok"),
        (("10.244.0.0/24",), "ok"),
        (("10.244.0.0/25",), "ok"),
        (("10.244.0.0/25", "fd00::/121"), "ok"),
        (("10.244.0.0/24", "fd00::/122"), "warning"),
        (("10.244.0.0/26",), "warning"),
    ],
)
def test_the_smallest_pod_cidr_counts(pod_cidrs: tuple[str, ...], state: str) -> None:
    """A pod gets an address of each; before a node has pod CIDRs, those that it will get count."""
    node = Node("n1", "n1", "1", "", "i-1", pod_cidrs=tuple(map(Cidr.parse, pod_cidrs)))
    facts = replace(UNREAD, kubernetes=replace(UNREAD.kubernetes, nodes={"n1": node}, max_pods={"n1": 125}))
    assert found(facts, "max-pods").state == state


@pytest.mark.parametrize(
    ("zone", "pool", "todo"),
    [
        ("eu-central-1-ham-1a", "100.64.0.0/16", "--mtu 1250"),
        ("us-east-1-atl-2a", "100.64.0.0/16", "--mtu 8751"),
        ("eu-central-1-ham-1a", "fd64::/48", "IPv6 needs 1280"),
        ("us-east-1-atl-2a", "fd64::/48", "--mtu 8751"),
    ],
)
def test_how_long_packets_to_a_local_zone_can_be(zone: str, pool: str, todo: str) -> None:
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


# --- the table --------------------------------------------------------------------------------------

LONG = "arn:aws:iam::111122223333:user/" + "x" * 90


@pytest.mark.parametrize("words", ["short", "many words " * 30, LONG])
def test_no_line_is_wider_than_100_columns(words: str) -> None:
    """Whatever was found."""
    findings = [
        Finding("AWS", "credentials", "ok", words, "why", ""),
        Finding("AWS", "ec2:ModifyNetworkInterfaceAttribute", "failed", words, words, words),
        Finding("VPC", "tables", "not checked", words, "why", ""),
        Finding("VPC", "free-entries", "not checked", words, "why", ""),
    ]
    shown = list(lines(findings))
    assert max(map(len, shown)) <= 100
    assert not any(line != line.rstrip() for line in shown)


def test_others_words_are_shown_escaped() -> None:
    """A line break and an escape sequence of an agent begin no line and steer no terminal."""
    finding = Finding("Kubernetes", "agents", "warning", "n1: bad\n\x1b[2J\0ok", "why", "todo")
    assert list(lines([finding]))[:2] == ["Kubernetes", r"  warning      agents  n1: bad\n\x1b[2J\x00ok"]


def test_the_table() -> None:
    """What is well in a line, what is not with why and what to do, what was not checked for one reason once."""
    findings = [
        Finding("Kubernetes", "nodes", "ok", "3 nodes", "because", ""),
        Finding("Kubernetes", "rbac", "failed", "no", "it matters", "allow it"),
        Finding("VPC", "tables", "not checked", "no AWS", "because", ""),
        Finding("VPC", "quota", "not checked", "no AWS", "because", ""),
    ]
    assert list(lines(findings)) == [
        "Kubernetes",
        "  ok           nodes  3 nodes",
        "  failed       rbac   no",
        "                      Why: it matters",
        "                      To do: allow it",
        "",
        "VPC",
        "  not checked  tables, quota",
        "                       no AWS",
        "",
        "4 checks: 1 ok, 1 failed, 2 not checked",
    ]

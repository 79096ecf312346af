"""Doctor's checks on facts that no lab can show, and its table for people."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudroute.core.doctor import CHECKS, Facts, Finding, examine, lines
from cloudroute.core.doctor.cluster import NO_API, permissions
from cloudroute.core.doctor.facts import AwsFacts, Groups, KubernetesFacts, Rule, Workload
from cloudroute.core.doctor.findings import Unknown
from cloudroute.core.doctor.groups import CHECKS as GROUP_CHECKS
from cloudroute.core.doctor.networks import writes_routes
from cloudroute.core.model import Policy
from cloudroute.types import Cidr, Instance, Interface, Node

NOTHING = Unknown("it was not read")
POOL = Cidr.parse("100.64.0.0/16")
UNREAD = Facts(
    Policy("test", (POOL,), {"ipv4": 24}),
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
def test_when_a_route_controller_runs(name: str, arguments: list[str], writes: bool) -> None:
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
        interface = Interface(f"eni-{name}", 0, "subnet-1", False, (f"10.0.0.{number}",))
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

"""Doctor's checks on facts that no lab can show, and its table for people."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudroute.core.explain.doctor import CHECKS, Finding, examine, lines
from cloudroute.core.explain.doctor.cluster import NO_API, permissions
from cloudroute.core.explain.doctor.facts import (
    NO_GATEWAYS,
    Election,
    Workload,
)
from cloudroute.core.explain.doctor.findings import Unknown
from cloudroute.core.explain.doctor.networks import writes_routes
from cloudroute.types import Cidr, LeaseRecord, Node
from tests.core.doctor_facts import NOTHING, UNREAD, found


def test_nothing_could_be_read() -> None:
    """Every check ends; what reads nothing is not checked, and says why."""
    findings = examine(UNREAD)
    assert len(findings) == len(CHECKS)
    failed = {one.check for one in findings if one.state == "failed"}
    assert failed == {"api-server", "credentials", "region"}
    others = [one for one in findings if one.state == "not checked"]
    unneeded = {"not needed with --route-limit 50", NO_GATEWAYS}
    assert {one.found for one in others} == {"it was not read", NO_API, *unneeded}


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
def test_reasons_of_no_leader(holder: str, renewed: str, pods: dict[str, str] | Unknown, state: str, says: str) -> None:
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


# --- network policies ---------------------------------------------------------------------------------

OURS = Workload("DaemonSet", "cloudroute", "cloudroute-network-policies", 3, ("/bin/netpol", "--nfqueue-id=98"))
FLANNELS = Workload("DaemonSet", "kube-flannel", "kube-flannel-ds", 3, ("/opt/bin/flanneld", "/bin/netpol"))
CILIUM = Workload("DaemonSet", "kube-system", "cilium", 3)
AWS = Workload("DaemonSet", "kube-system", "aws-node", 3, ("--enable-network-policy=true",))


@pytest.mark.parametrize(
    ("daemon_sets", "policies", "state", "says"),
    [
        ((), 0, "ok", "there are no NetworkPolicies, and no enforcer"),
        ((), 1, "warning", "1 NetworkPolicy, and no enforcer"),
        ((OURS._replace(pods=0), CILIUM._replace(pods=0)), 2, "warning", "2 NetworkPolicies, and no enforcer"),
        ((OURS,), 2, "ok", "cloudroute/cloudroute-network-policies (kube-network-policies, 3 pods) enforces 2"),
        ((FLANNELS,), 2, "ok", "kube-flannel/kube-flannel-ds (kube-network-policies, 3 pods)"),
        ((CILIUM._replace(name="kube-router"),), 2, "ok", "kube-system/kube-router (kube-router, 3 pods)"),
        ((CILIUM,), 2, "warning", "kube-system/cilium (Cilium) enforces for pods that its own CNI plugin connects"),
        ((CILIUM,), 0, "ok", "there are no NetworkPolicies"),
        ((CILIUM, OURS), 2, "ok", "(kube-network-policies, 3 pods) enforces 2"),
        ((AWS,), 2, "warning", "kube-system/aws-node (AWS's network policy agent) enforces for pods that"),
        ((AWS._replace(arguments=()),), 2, "warning", "no enforcer that doctor knows"),
    ],
)
def test_policies_that_nobody_enforces(daemon_sets: tuple[Workload, ...], policies: int, state: str, says: str) -> None:
    """Enforcers that know pods by their addresses count, kube-network-policies by its command in any DaemonSet."""
    kubernetes = replace(UNREAD.kubernetes, daemon_sets=daemon_sets, network_policies=policies)
    finding = found(replace(UNREAD, kubernetes=kubernetes), "network-policies")
    assert (finding.state, says in finding.found) == (state, True), finding


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
    """Node CIDRs are allocated and cloud routes are not switched off."""
    workload = Workload("Pod", "kube-system", f"{name}-node-1", 1, (f"/bin/{name}", *arguments))
    assert writes_routes(workload) == writes


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


# --- the table --------------------------------------------------------------------------------------

LONG = "arn:aws:iam::111122223333:user/" + "x" * 90


@pytest.mark.parametrize("words", ["short", "many words " * 30, LONG])
def test_no_line_is_wider_than_100_columns(words: str) -> None:
    """The summary fits any findings."""
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
    """A passed check is one line, a failed one has its reason and remedy, and checks skipped for one reason are one."""
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

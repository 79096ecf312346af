"""The causes that `cloudroute verify` names: the one that was seen first, and none that the evidence clears."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cloudroute.core.explain.doctor.findings import Finding
from cloudroute.core.verify.causes import explained
from cloudroute.core.verify.evidence import Evidence
from cloudroute.core.verify.model import Outcome, Result

TIMEOUT = {"ok": False, "code": "timeout", "error": "no answer in time"}
SOUND: dict[str, Any] = {
    "peers": {"100.64.1.0/24": "eth0", "100.64.2.0/24": "eth0", "100.64.3.0/24": "cloudroute"},
    "sysctls": {"net/bridge/bridge-nf-call-iptables": 1, "net/ipv4/conf/all/rp_filter": 0},
    "bridged": {},
    "links": {"eth0": {"kind": ""}, "cni0": {"kind": "bridge"}},
    "masquerade": {"table": True, "chain": True, "altered": False},
    "services": {"nftables": True, "iptables": False, "ipvs": False, "legacy": []},
}


def check(
    name: str,
    source: str,
    target: str,
    path: str = "",
    result: Result = "failed",
    got: str = "",
    *,
    refused: bool = False,
) -> Outcome:
    nodes = tuple(dict.fromkeys(word for word in (source, target) if word in "abc"))
    answer = TIMEOUT if result == "failed" else {"ok": not refused}
    return Outcome(
        name=name, source=f"pod on {source}", target=f"pod on {target}", path=path, result=result,
        kind="tcp" if name == "pod-tcp" else "udp", expected="an answer", got=got, nodes=nodes, answer=answer,
    )  # fmt: skip


def finding(name: str) -> dict[str, Finding]:
    return {name: Finding("VPC", name, "failed", "it is closed", "packets are dropped", "open it")}


def first(outcomes: list[Outcome], **evidence: Any) -> str:
    """The first cause of the first failure. All kernels are sound unless said otherwise."""
    given: dict[str, Any] = {
        "states": dict.fromkeys("abc", SOUND),
        "dns_ready": 2,
    } | evidence
    cidrs = {"a": ["100.64.1.0/24"], "b": ["100.64.2.0/24"], "c": ["100.64.3.0/24"]}
    done = explained(Evidence(outcomes=outcomes, pod_cidrs=cidrs, **given))
    return next(one for one in done if one.result == "failed").causes[0].cause


NATIVE = check("pod-udp", "a", "b", "native")
OVERLAY = check("pod-udp", "a", "c", "overlay")
FINE = check("pod-udp", "b", "c", "overlay", "ok")
SERVICE = check("service-same-node", "a", "a")
SEEN_OTHERWISE = replace(check("vpc-host", "a", "x"), answer={"ok": True, "seen": "10.0.0.4"})

CASES: dict[str, tuple[list[Outcome], dict[str, Any], str]] = {
    "the kernel lost its routes": ([NATIVE], {"states": {"a": {**SOUND, "peers": {}}}}, "the kernel of a has lost"),
    "a route without its nexthop": (
        [NATIVE],
        {"states": {"b": {**SOUND, "peers": {"100.64.1.0/24": ""}}}},
        "the kernel of b has lost",
    ),
    "an agent that says so": ([OVERLAY], {"agent_troubles": {"c": "NoNFT"}}, "the agent of c is not ready: NoNFT"),
    "a group without the tunnel": (
        [OVERLAY],
        {"findings": finding("groups-overlay")},
        "a security group does not let the tunnel",
    ),
    "a group without pods": ([NATIVE], {"findings": finding("groups-pods")}, "a security group does not let pods"),
    "an ACL without pods": ([NATIVE], {"findings": finding("acls-pods")}, "a network ACL denies pods"),
    "an ACL without the tunnel": ([OVERLAY], {"findings": finding("acls-overlay")}, "a network ACL denies the tunnel"),
    "a source/dest check": ([NATIVE], {"checked": frozenset("b")}, "the source/dest check"),
    "a bridge": (
        [SERVICE],
        {"states": {"a": {**SOUND, "bridged": {"cbr0": ["veth1"]}, "sysctls": {}}}},
        "pods of a are on a bridge",
    ),
    "no kube-proxy at all": (
        [SERVICE],
        {"states": {"a": {**SOUND, "services": {"nftables": False, "iptables": False, "ipvs": False, "legacy": []}}}},
        "nothing translates Services on a",
    ),
    "a kube-proxy that has stopped": ([SERVICE], {}, "kube-proxy on a does not run, or does not follow"),
    "no DNS pods": ([check("dns-inside", "a", "DNS")], {"dns_ready": 0}, "no pod answers for the cluster's DNS"),
    "no masquerade": (
        [check("dns-resolver", "a", "Resolver")],
        {"states": {"a": {**SOUND, "masquerade": {"table": True, "chain": False, "altered": True}}}},
        "pods of a go out with their own addresses",
    ),
    "a small MTU": (
        [check("pod-full-size", "a", "b", "native"), check("pod-udp", "a", "b", "native", "ok")],
        {"findings": finding("groups-pods")},
        "a link in between carries smaller packets",
    ),
    "a group without pods, toward a node whose pods are reached by the overlay": (
        [check("pod-to-node", "a", "c", "overlay")],
        {"findings": finding("groups-pods")},
        "a security group does not let pods",
    ),
    "a missing route that a gateway hides": (
        [check("pod-path", "a", "b", "native", got="left by eth0, came by cloudroute, through c")],
        {},
        "a route table of the VPC has lost a route",
    ),
    "a strict filter": (
        [NATIVE, check("pod-udp", "b", "a", "native", "ok")],
        {"states": {"b": {**SOUND, "sysctls": {"net/ipv4/conf/all/rp_filter": 1}}}},
        "b drops packets by its reverse path",
    ),
    "a source/dest check, where a packet that is too large was refused as it should": (
        [NATIVE, check("pod-oversize", "a", "b", "native", "ok", refused=True)],
        {"checked": frozenset("b")},
        "the source/dest check",
    ),
    "pods beneath a Service": (
        [check("service-other-node", "a", "b"), NATIVE],
        {},
        "pod on a and pod on b do not reach",
    ),
    "a path that changed": (
        [check("pod-loss", "b", "c", "overlay"), FINE],
        {"changed": frozenset("c")},
        "the path of c has changed",
    ),
    "a pair beneath a DNS server": ([check("dns-inside", "b", "DNS"), OVERLAY], {}, "kube-proxy on b does not run"),
    "a pair beneath a DNS server, where Services work": (
        [check("dns-inside", "b", "DNS"), OVERLAY, check("service-same-node", "b", "b", "", "ok")],
        {},
        "pod on a and pod on c do not reach",
    ),
    "an enforcer that does nothing": ([check("policy-deny", "a", "b")], {}, "an enforcer runs and lets packets pass"),
    "a webhook past the limit": (
        [check("webhook", "API server", "c", "overlay")],
        {},
        "hosts of the VPC, as the control",
    ),
    "a webhook on a native node": (
        [check("webhook", "API server", "b", "native")],
        {},
        "a security group keeps the control",
    ),
    "a webhook past the limit, where the others are not called either": (
        [check("webhook", "API server", "c", "overlay"), check("webhook", "API server", "b", "native")],
        {},
        "a security group keeps the control",
    ),
    "a VPC host that answers nodes alone": ([check("vpc-host", "a", "x")], {}, "the host lets nodes in, and not pods"),
    "native paths that are closed, to a VPC host too": (
        [check("vpc-host", "a", "x"), NATIVE, FINE],
        {},
        "a security group does not let pods",
    ),
    "a VPC host that sees another address": ([SEEN_OTHERWISE], {}, "pods' packets leave with another address"),
    "a node that its own pods don't reach": (
        [check("pod-to-own-node", "a", "a", "local")],
        {},
        "a firewall of a itself",
    ),
    "a node without an agent": ([check("node", "a", "a")], {}, "the agent of a does not run, or is in trouble"),
    "a pod that is not reached": (
        [check("pod-starts", "a", "a", got="it runs")],
        {},
        "the pod does not become Ready: it runs",
    ),
    "a kubelet that is not reached": (
        [check("exec", "API server", "a")],
        {},
        "the API server does not reach the kubelet",
    ),
    "nothing": ([check("metadata", "a", "x")], {}, "nothing that is known fits"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_first_cause_is_the_right_one(name: str) -> None:
    outcomes, evidence, begins = CASES[name]
    assert first(outcomes, **evidence).startswith(begins)


def test_without_any_evidence_the_pattern_decides() -> None:
    """Only overlay pairs fail: the tunnel's port; only native ones: pods' addresses."""
    tunnel = [OVERLAY, check("pod-udp", "a", "b", "native", "ok")]
    assert first(tunnel, states={}).startswith("a security group does not let the tunnel")
    assert first([NATIVE, FINE], states={}).startswith("a security group does not let pods")


def test_every_failure_has_a_cause_and_nothing_else_has_one() -> None:
    outcomes = [case for cases, _, _ in CASES.values() for case in cases]
    given: Any = {
        "findings": {},
        "states": {},
        "agent_troubles": {},
        "checked": frozenset(),
        "changed": frozenset(),
        "dns_ready": None,
        "pod_cidrs": {},
    }
    for outcome in explained(Evidence(outcomes=outcomes, **given)):
        assert bool(outcome.causes) == (outcome.result == "failed")

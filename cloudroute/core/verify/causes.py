"""Likely causes of failed checks, the likeliest first.

Each suspect looks at one failed outcome and the evidence: the kernels' state by the agents, doctor's findings, what
else failed and what did not. It returns how much speaks for it; None clears it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from cloudroute.core.verify.evidence import SERVICES, Evidence
from cloudroute.core.verify.model import Cause, Outcome
from cloudroute.types import PATHS

SEEN, FITS, POSSIBLE = 3, 2, 1
"""Evidence for a cause: it was seen; the pattern of failures fits; nothing contradicts it."""
_MOST = 4
"""Causes that are named for one failure."""
_NOTHING_KNOWN = Cause("nothing that is known fits", "cloudroute doctor; verify --report, and an issue with it")
"""The last resort, so that each failure has something to look at."""


class Case(NamedTuple):
    """One failed check, and all that is known."""

    outcome: Outcome
    evidence: Evidence


Suspicion = tuple[int, Cause] | None
Suspect = Callable[[Case], Suspicion]


def explained(evidence: Evidence) -> list[Outcome]:
    """The outcomes, with the causes of those that failed."""
    return [replace(one, causes=_causes(one, evidence)) if one.result == "failed" else one for one in evidence.outcomes]


def _causes(outcome: Outcome, evidence: Evidence) -> tuple[Cause, ...]:
    case = Case(outcome, evidence)
    found = [suspicion for suspect in SUSPECTS if (suspicion := suspect(case))]
    if not found:
        return (_NOTHING_KNOWN,)
    found.sort(key=lambda one: -one[0])  # stable: of equals the one that SUSPECTS names first
    return tuple(cause for _, cause in found[:_MOST])


# --- what a check is about -----------------------------------------------------------------------

_OUT = ("dns-resolver", "internet", "vpc-host", "api-server")
_LARGE = ("pod-full-size", "pod-tcp", "pod-to-node", "node-to-pod", "service-other-node", "host-port")
"""Checks that send packets as large as the pods' MTU."""


def _silent(outcome: Outcome) -> bool:
    """Whether nothing came back: no refusal, no wrong address."""
    return outcome.answer.get("code") in ("timeout", "unreachable") or outcome.name in ("pod-loss", "pod-path")


def _small_pass(case: Case) -> bool:
    """Whether small packets pass between the same two ends, so that no rule and no route is in the way."""
    outcome = case.outcome
    return outcome.name != "pod-path" and (outcome.source, outcome.target) in case.evidence.small


def _goes_by(outcome: Outcome, paths: Sequence[str]) -> bool:
    """Whether its packets take one of these paths. To nodes and hosts the VPC carries them as on the native one."""
    return outcome.path in paths or (outcome.name in ("pod-to-node", "host-port", "vpc-host") and "native" in paths)


def _first(outcome: Outcome) -> str:
    """The node that asked."""
    return outcome.nodes[0] if outcome.nodes else ""


# --- suspects ------------------------------------------------------------------------------------


def _node(case: Case) -> Suspicion:
    if case.outcome.name != "node":
        return None
    node = _first(case.outcome)
    cause = f"the agent of {node} does not run, or is in trouble: other nodes' changes do not reach its kernel"
    return FITS, Cause(cause, f"kubectl get pods -n cloudroute -o wide | grep {node}; its log; cloudroute status")


def _agent(case: Case) -> Suspicion:
    outcome, evidence = case
    for node in outcome.nodes:
        if outcome.path and (trouble := evidence.agent_troubles.get(node)):
            look = f"kubectl logs -n cloudroute of the agent on {node}; cloudroute status"
            return SEEN, Cause(f"the agent of {node} is not ready: {trouble}", look)
    return None


def _kernel(case: Case) -> Suspicion:
    """The kernel of one end does not hold the routes to the other end that its NodeRoute says."""
    outcome, evidence = case
    if outcome.path not in PATHS or _small_pass(case):
        return None
    for node in outcome.nodes:
        state = evidence.states.get(node)
        others = [cidr for other in outcome.nodes if other != node for cidr in evidence.pod_cidrs.get(other, ())]
        if state and any(not state["peers"].get(cidr) for cidr in others):
            cause = f"the kernel of {node} has lost its routes to other nodes' pods: its agent has not repaired them"
            return SEEN, Cause(cause, f"the agent's log on {node}; ip nexthop and ip route there")
    return None


def _bridge(case: Case) -> Suspicion:
    outcome, evidence = case
    state = evidence.states.get(_first(outcome))
    if state is None or outcome.name not in ("service-same-node", "service-itself", "dns-inside", "dns-outside"):
        return None
    if any(state["bridged"].values()) and state["sysctls"].get("net/bridge/bridge-nf-call-iptables") != 1:
        node = _first(outcome)
        cause = f"pods of {node} are on a bridge and br_netfilter is off: answers skip the Service's translation"
        return SEEN, Cause(cause, f"modprobe br_netfilter and net.bridge.bridge-nf-call-iptables=1 on {node}")
    return None


def _proxy(case: Case) -> Suspicion:
    outcome, evidence = case
    if outcome.name not in (*SERVICES, "api-server", "dns-inside", "dns-outside"):
        return None
    node = _first(outcome)
    if outcome.source in evidence.served:
        return None
    look = f"kubectl get pods -n kube-system -o wide | grep {node}; the log of kube-proxy there"
    services = evidence.states.get(node, {}).get("services")
    if services and not any(services[mode] for mode in ("nftables", "iptables", "ipvs", "legacy")):
        return SEEN, Cause(f"nothing translates Services on {node}: kube-proxy does not run there", look)
    return FITS, Cause(f"kube-proxy on {node} does not run, or does not follow: new Services are unknown there", look)


def _beneath(case: Case) -> Suspicion:
    """A Service, or a server behind one, is not reached because some pods do not reach each other at all."""
    outcome, evidence = case
    if outcome.name not in (*SERVICES, "dns-inside", "dns-outside"):
        return None
    theirs = [one for one in evidence.unreached if set(outcome.nodes) <= set(one.nodes)]
    # Where a DNS server stands is not known: any pair may be the one.
    for one in theirs or (evidence.unreached if outcome.name.startswith("dns") else ()):
        cause = f"{one.source} and {one.target} do not reach each other: see pod-udp"
        return (SEEN if theirs and len(set(outcome.nodes)) > 1 else POSSIBLE), Cause(cause, "the causes of that check")
    return None


def _dns_pods(case: Case) -> Suspicion:
    outcome, evidence = case
    if outcome.name not in ("dns-inside", "dns-outside"):
        return None
    cause = Cause(
        "no pod answers for the cluster's DNS", "kubectl get pods,endpointslices -n kube-system -l k8s-app=kube-dns"
    )
    if evidence.dns_ready == 0:
        return SEEN, cause
    return (POSSIBLE, cause) if evidence.dns_ready is None else None


def _masquerade(case: Case) -> Suspicion:
    """Of the node that asks; of any, where a DNS server asks the Resolver."""
    outcome, evidence = case
    if outcome.name not in (*_OUT, "dns-outside"):
        return None
    nodes = sorted(evidence.states) if outcome.name == "dns-outside" else [_first(outcome)]
    for node in nodes:
        masquerade = evidence.states.get(node, {}).get("masquerade")
        if masquerade and (not masquerade["chain"] or masquerade["altered"]):
            return SEEN, _not_masqueraded(node)
    return (POSSIBLE, _not_masqueraded(nodes[0])) if nodes and not evidence.states.get(nodes[0]) else None


def _not_masqueraded(node: str) -> Cause:
    return Cause(
        f"pods of {node} go out with their own addresses, which nothing outside answers: the masquerade rule is gone",
        f"nft list table inet cloudroute on {node}; --masquerade of the agents",
    )


def _mtu(case: Case) -> Suspicion:
    if case.outcome.name not in _LARGE or not _silent(case.outcome) or not _small_pass(case):
        return None
    cause = Cause(
        "a link in between carries smaller packets than the pods send: small ones pass",
        "ip link on both nodes, peerings and appliances in between (1500 bytes); --mtu of the agents",
    )
    return FITS, cause


def _check(case: Case) -> Suspicion:
    outcome, evidence = case
    if not _goes_by(outcome, ("native", "direct")) or not _silent(outcome) or _small_pass(case):
        return None
    cause = "the source/dest check of an ENI is on: EC2 drops packets with pods' addresses"
    look = "aws ec2 describe-network-interfaces; the controller's log for ModifyNetworkInterfaceAttribute"
    if on := sorted(evidence.checked.intersection(outcome.nodes)):
        return SEEN, Cause(f"{cause} ({', '.join(on)})", look)
    return POSSIBLE, Cause(cause, look)


def _finding(check: str, paths: Sequence[str], cause: str, look: str) -> Suspect:
    """A suspect that doctor can see in EC2. Packets of these paths suffer from it."""

    def suspect(case: Case) -> Suspicion:
        outcome, evidence = case
        if not _goes_by(outcome, paths) or not _silent(outcome) or _small_pass(case):
            return None
        if found := evidence.findings.get(check):
            return SEEN, Cause(f"{cause}: {found.found}", found.todo or look)
        same = evidence.passing.intersection(paths)
        others = evidence.passing.intersection(PATHS).difference(paths)
        weight = POSSIBLE + bool(others) - bool(same)
        return (weight, Cause(cause, look)) if weight else None

    return suspect


def _filter(case: Case) -> Suspicion:
    """Strict reverse path filter of a NIC: only where its kernel shows it."""
    outcome, evidence = case
    for node in outcome.nodes:
        state = evidence.states.get(node)
        if state is None:
            continue
        nics = ["all", *(name for name, link in state["links"].items() if link["kind"] != "bridge")]
        keys = [f"net/ipv4/conf/{name}/rp_filter" for name in nics]
        strict = [key for key in keys if state["sysctls"].get(key) == 1]
        if strict and outcome.path in PATHS and _silent(outcome) and not _small_pass(case):
            cause = f"{node} drops packets by its reverse path filter: {', '.join(strict)} is 1"
            return FITS, Cause(cause, f"sysctl on {node}; which program sets it")
    return None


def _route(case: Case) -> Suspicion:
    outcome = case.outcome
    if outcome.path != "native" or _small_pass(case):
        return None
    cause = "a route table of the VPC has lost a route to a node, or has a blackhole"
    look = "cloudroute plan; aws ec2 describe-route-tables; the controller's log"
    detoured = outcome.name == "pod-path" and "through" in outcome.got
    return (FITS if detoured else POSSIBLE), Cause(cause, look)


def _start(case: Case) -> Suspicion:
    outcome = case.outcome
    if outcome.name not in ("pod-starts", "exec"):
        return None
    look = "kubectl describe pod -n cloudroute-verify; the kubelet's log"
    if outcome.name == "exec":
        return FITS, Cause("the API server does not reach the kubelet on port 10250", "the node's security groups")
    return FITS, Cause(f"the pod does not become Ready: {outcome.got}", look)


def _policy(case: Case) -> Suspicion:
    if case.outcome.name != "policy-deny":
        return None
    cause = "an enforcer runs and lets packets pass: its kernel lacks nftables' queue statement, or it is behind"
    return FITS, Cause(cause, "cloudroute doctor as root on that node (policy-queue); the enforcer's log")


def _webhook(case: Case) -> Suspicion:
    outcome, evidence = case
    if outcome.name != "webhook":
        return None
    if outcome.path in ("overlay", "partial") and not evidence.uncalled.intersection(("native", "direct")):
        cause = "hosts of the VPC, as the control plane, reach pods past the route limit by a gateway alone"
        return FITS, Cause(cause, "docs/gateways.md; cloudroute status names the gateways")
    cause = "a security group keeps the control plane from pods, or it knows no way to the pods' addresses"
    return FITS, Cause(cause, "cloudroute doctor (groups-control-plane); on EKS, remote pod networks")


def _vpc_host(case: Case) -> Suspicion:
    """The node itself reaches the host: otherwise the check is skipped."""
    outcome = case.outcome
    if outcome.name != "vpc-host":
        return None
    if _silent(outcome):
        cause = "the host lets nodes in, and not pods' own addresses: its security group, or a firewall of its own"
        return FITS, Cause(cause, "aws ec2 describe-security-groups of the host: what nodes may, from the cluster CIDR")
    cause = "pods' packets leave with another address than predicted"
    return FITS, Cause(cause, "--masquerade, --masquerade-except and --masquerade-always of the agents")


def _firewall(case: Case) -> Suspicion:
    outcome, evidence = case
    node = outcome.nodes[-1] if outcome.nodes else ""
    if outcome.name not in ("pod-to-own-node", "pod-to-node") or node not in evidence.closed:
        return None
    cause = f"a firewall of {node} itself keeps its pods out: nothing of the VPC is in between"
    return FITS, Cause(cause, f"nft list ruleset and iptables-save on {node}: the input hook")


def _changed(case: Case) -> Suspicion:
    outcome, evidence = case
    if changed := sorted(evidence.changed.intersection(outcome.nodes)):
        cause = f"the path of {', '.join(changed)} has changed during the run"
        return FITS, Cause(cause, "cloudroute status; run verify again when nothing changes")
    return None


SUSPECTS: tuple[Suspect, ...] = (
    _node,
    _start,
    _policy,
    _webhook,
    _kernel,
    _agent,
    _bridge,
    _dns_pods,
    _beneath,
    _proxy,
    _masquerade,
    _mtu,
    _finding(
        "groups-overlay",
        ("overlay",),
        "a security group does not let the tunnel's packets in (UDP 8472)",
        "aws ec2 describe-security-groups of both nodes: UDP 8472 between them, both ways",
    ),
    _finding(
        "groups-pods",
        ("native", "direct"),
        "a security group does not let pods' addresses in",
        "aws ec2 describe-security-groups of both nodes: all traffic from and to the cluster CIDR",
    ),
    _check,
    _finding(
        "acls-pods",
        ("native",),
        "a network ACL denies pods' addresses",
        "aws ec2 describe-network-acls of both subnets: both directions, and the answers' ports",
    ),
    _finding(
        "acls-overlay",
        ("overlay",),
        "a network ACL denies the tunnel's packets (UDP 8472)",
        "aws ec2 describe-network-acls of both subnets: both directions",
    ),
    _vpc_host,
    _firewall,
    _route,
    _filter,
    _changed,
)

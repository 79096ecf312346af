"""Checks of NetworkPolicies: whether a program enforces them, and whether a node's kernel lets it."""

from __future__ import annotations

from collections.abc import Sequence

from cloudroute.core.explain.doctor.facts import Facts, Workload
from cloudroute.core.explain.doctor.findings import (
    Check,
    Outcome,
    Unknown,
    counted,
    failed,
    known,
    listed,
    ok,
    warning,
)

QUEUE = "queue statement"
"""Name of the trial of nftables' queue statement."""
_ENFORCERS = {
    "calico-node": "Calico",
    "canal": "Canal",
    "cilium": "Cilium",
    "kube-router": "kube-router",
    "antrea-agent": "Antrea",
}
"""DaemonSets of programs that can enforce NetworkPolicies on pods of other networks, by name."""
_BY_QUEUE = "/bin/netpol"
"""Command of kube-network-policies, in our chart's DaemonSet and in others'."""
_HOW = "install the chart with networkPolicies.enabled=true, or run another enforcer (docs/network-policies.md)"


def _policies(facts: Facts) -> Outcome:
    found, policies = enforcers(known(facts.kubernetes.daemon_sets)), known(facts.kubernetes.network_policies)
    number = f"{policies} NetworkPolic{'y' if policies == 1 else 'ies'}"
    if found:
        return ok(f"{listed(found)} is there to enforce {number}")
    if not policies:
        return ok("there are no NetworkPolicies, and no enforcer")
    return warning(f"{number}, and no enforcer that doctor knows{_of_other_pods(facts)}", _HOW)


def enforcers(daemon_sets: Sequence[Workload]) -> list[str]:
    """Running enforcers of our pods' policies, for people."""
    named = [(one, _BY_QUEUE in one.arguments, _ENFORCERS.get(one.name)) for one in daemon_sets if one.pods]
    return [
        f"{one.namespace}/{one.name} ({'kube-network-policies' if by_queue else name}, {counted(one.pods, 'pod')})"
        for one, by_queue, name in named
        if by_queue or name
    ]


def _of_other_pods(facts: Facts) -> str:
    """Words on AWS's enforcer, which the VPC CNI's plugin calls for the pods that it connects."""
    aws = [one for one in known(facts.kubernetes.daemon_sets) if one.pods and one.name == "aws-node"]
    on = any("--enable-network-policy=true" in one.arguments for one in aws)
    return ": AWS's network policy agent enforces for pods of the VPC CNI alone" if on else ""


def _queue(facts: Facts) -> Outcome:
    complaint = known(known(facts.machine).tried).get(QUEUE, "it was not tried")
    if not complaint:
        return ok("works: tried in a network namespace of its own")
    words = f"nftables has no queue statement here ({complaint}): kube-network-policies enforces nothing on this node"
    daemon_sets = facts.kubernetes.daemon_sets
    if isinstance(daemon_sets, Unknown) or not any(_BY_QUEUE in one.arguments for one in daemon_sets if one.pods):
        return ok(f"{words}, and does not run")
    return failed(words, "use a kernel with CONFIG_NFT_QUEUE and its module nft_queue, or another enforcer")


def _bridges(facts: Facts) -> Outcome:
    pools, machine = facts.pools(), known(facts.machine)
    bridges = [
        name
        for name, networks in sorted(machine.bridges.items())
        if any(pool.overlaps(network) for pool in pools for network in networks)
    ]
    if not bridges:
        return ok("no pods are on a bridge")
    if machine.bridge_netfilter:
        return ok(f"packets between pods on {listed(bridges)} pass the host's hooks")
    return warning(
        f"packets between two pods on {listed(bridges)} pass none of the host's hooks",
        "start these pods again, which gives each a veth pair of its own; or load br_netfilter and set "
        "net.bridge.bridge-nf-call-iptables=1 and bridge-nf-call-ip6tables=1",
    )


CHECKS: tuple[Check[Facts], ...] = (
    Check("Kubernetes", "network-policies", "the API server takes a policy whether or not it is enforced", _policies),
    Check("Node", "policy-queue", "kube-network-policies gets the first packets of connections by it", _queue),
    Check(
        "Node", "bridge-netfilter", "no policy and no Service applies to a packet that the host does not see", _bridges
    ),
)

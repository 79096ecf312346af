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
_BY_QUEUE = "/bin/netpol"
"""Command of kube-network-policies, in our chart's DaemonSet and in others'."""
_BY_PLUGIN = {
    "calico-node": "Calico",
    "canal": "Canal",
    "cilium": "Cilium",
    "antrea-agent": "Antrea",
    "aws-node": "AWS's network policy agent",
}
"""Enforcers by the names of their DaemonSets that know the pods which their own CNI plugin connects. Calico derives the
names of pods' devices (libcalico-go, VethNameForWorkload), the others are told by their plugin; ours is ptp."""
_HOW = "install the chart with networkPolicies.enabled=true (docs/network-policies.md)"


def _policies(facts: Facts) -> Outcome:
    policies = known(facts.kubernetes.network_policies)
    running = [one for one in known(facts.kubernetes.daemon_sets) if one.pods]
    number = f"{policies} NetworkPolic{'y' if policies == 1 else 'ies'}"
    if ours := enforcers(running):
        return ok(f"{listed(ours)} enforces {number}")
    if not policies:
        return ok("there are no NetworkPolicies, and no enforcer")
    if others := [f"{one.namespace}/{one.name} ({_BY_PLUGIN[one.name]})" for one in running if _by_plugin(one)]:
        return warning(f"{number}: {listed(others)} enforces for pods that its own CNI plugin connects, not ours", _HOW)
    return warning(f"{number}, and no enforcer that doctor knows", _HOW)


def enforcers(running: Sequence[Workload]) -> list[str]:
    """Return the networks that enforce policies for pods by their addresses, ours included, in words."""
    return [words for one in running if (words := _by_address(one))]


def _by_address(one: Workload) -> str:
    """An enforcer that knows pods by their addresses, in words; "" for any other program."""
    router = one.name == "kube-router" and "--run-firewall=false" not in one.arguments
    name = "kube-network-policies" if _BY_QUEUE in one.arguments else "kube-router" if router else ""
    return f"{one.namespace}/{one.name} ({name}, {counted(one.pods, 'pod')})" if name else ""


def _by_plugin(one: Workload) -> bool:
    return one.name in _BY_PLUGIN and (one.name != "aws-node" or "--enable-network-policy=true" in one.arguments)


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

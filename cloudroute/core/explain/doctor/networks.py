"""Checks for other programs that give pods a network or write the VPC's routes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from cloudroute.core.explain.doctor.facts import Facts, Workload
from cloudroute.core.explain.doctor.findings import Check, Outcome, Unknown, failed, known, listed, ok, warning

_POD_NETWORKS = {
    "aws-node": "the Amazon VPC CNI",
    "kube-flannel-ds": "flannel",
    "kube-flannel": "flannel",
    "weave-net": "Weave Net",
    "canal": "Canal",
    "antrea-agent": "Antrea",
    "ovnkube-node": "OVN-Kubernetes",
}
"""DaemonSets of programs that give pods their addresses, by name."""
_MAYBE_POD_NETWORKS = {"calico-node": "Calico", "cilium": "Cilium", "kube-router": "kube-router"}
"""DaemonSets of programs that can also be used for policies or Services alone, by name."""
_ROUTE_CONTROLLERS = ("route", "route-controller", "node-route-controller")
"""Names of the route controller in `--controllers`."""


def _cnis(facts: Facts) -> Outcome:
    running = [one for one in known(facts.kubernetes.daemon_sets) if one.pods]
    if others := [one for one in running if one.name in _POD_NETWORKS]:
        return failed(
            f"{_named(others)}: gives pods addresses and routes too",
            f"remove it once cloudroute's agents run: {_deletions(others)}",
        )
    if perhaps := [one for one in running if one.name in _MAYBE_POD_NETWORKS]:
        return warning(
            f"{_named(perhaps)}: may give pods addresses and routes too",
            "see that it enforces policies or Services only, with its own pod network off",
        )
    return ok("no other pod network's DaemonSet runs")


def _named(found: Sequence[Workload]) -> str:
    words = {**_POD_NETWORKS, **_MAYBE_POD_NETWORKS}
    return listed(f"{one.namespace}/{one.name} ({words[one.name]}, {one.pods} pods)" for one in found)


def _deletions(found: Sequence[Workload]) -> str:
    return listed(f"`kubectl -n {one.namespace} delete daemonset {one.name}`" for one in found)


def _route_controller(facts: Facts) -> Outcome:
    todo = "start it with --configure-cloud-routes=false; cloudroute adopts the routes that are there"
    managers, nodes = facts.kubernetes.managers, facts.kubernetes.nodes
    if not isinstance(managers, Unknown) and (active := [one for one in managers if writes_routes(one)]):
        names = listed(f"{one.namespace}/{one.name}" for one in active)
        return failed(f"the cloud provider's route controller runs in {names}", todo)
    conditions = {} if isinstance(nodes, Unknown) else {name: node.condition for name, node in sorted(nodes.items())}
    if said := [name for name, words in conditions.items() if words and words.message.startswith("RouteController ")]:
        return warning(f"the cloud provider's route controller has set the condition of {listed(said)}", todo)
    known(managers)
    return ok("no other route controller was found")


def writes_routes(manager: Workload) -> bool:
    """Whether the route controller runs in this manager: by default it does if the manager allocates node CIDRs.

    The kube-controller-manager had one only while it had a cloud provider of its own (before Kubernetes 1.31).
    """
    flags = _flags(manager.arguments)
    if "kube-controller-manager" in manager.name and flags.get("cloud-provider") != "aws":
        return False
    disabled = {f"-{name}" for name in _ROUTE_CONTROLLERS} & set(flags.get("controllers", "").split(","))
    allocates = flags.get("allocate-node-cidrs", "false") == "true"
    return allocates and flags.get("configure-cloud-routes", "true") == "true" and not disabled


def _flags(arguments: Sequence[str]) -> dict[str, str]:
    """Value by flag, from `--name=value`, `--name value` and a bare `--name` (true)."""
    flags: dict[str, str] = {}
    for argument, following in pairwise([*arguments, "--"]):
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-"):
            flags[name] = value if equals else "true" if following.startswith("-") else following
    return flags


def agent_flag(daemon_sets: Sequence[Workload], namespace: str, name: str) -> list[str]:
    """Values of a flag of the agents, given as `--name=value`; [] if it is not given, or no agent is seen."""
    agents = [one for one in daemon_sets if one.namespace == namespace and one.arguments[:1] == ("agent",)]
    start = f"--{name}="
    return [word.removeprefix(start) for one in agents for word in one.arguments if word.startswith(start)]


def agents_keep_source(daemon_sets: Sequence[Workload], namespace: str) -> bool:
    """Whether the agents run with --gateway-keeps-source."""
    return agent_flag(daemon_sets, namespace, "gateway-keeps-source")[-1:] == ["on"]


CHECKS: tuple[Check[Facts], ...] = (
    Check("Kubernetes", "other-networks", "two pod networks on a node fight for its CNI configuration", _cnis),
    Check(
        "Kubernetes",
        "route-controller",
        "two writers of one route table undo each other's work, and stop at the table's limit",
        _route_controller,
    ),
)

"""Checks of the API server, of the permissions there and of its objects, as controller and agents need them."""

from __future__ import annotations

import re

from cloudroute.core.cluster.ipam import NodeSized
from cloudroute.core.cluster.notices import agent_trouble
from cloudroute.core.cluster.outside import outside_pools
from cloudroute.core.explain.doctor.facts import IN_USE, Facts, Permission
from cloudroute.core.explain.doctor.findings import (
    Check,
    Lacking,
    Outcome,
    Unknown,
    counted,
    failed,
    known,
    listed,
    ok,
    warning,
)
from cloudroute.types import Cidr

OLDEST = (1, 25)
"""Oldest supported Kubernetes: older API servers do not evaluate the validation rules (CEL) of our CRDs."""
TOLERATED_SECONDS, LARGEST_SECONDS = 5.0, 120.0
"""Clock differences that are ok, and that are a warning; more is a failure. A Date header has whole seconds and is
delayed by the network; AWS refuses signatures that are five minutes off."""


NO_API = "the API server could not be asked (see api-server)"


def permissions(namespace: str, *, gateways: bool = False) -> tuple[Permission, ...]:
    """Permissions of the controller in deploy/rbac/controller.yaml, and those of deploy/rbac/gateways where asked for.

    `namespace` is that of the Leases.
    """
    ours = ("get", "list", "watch", "create", "patch", "delete")
    return (
        *(Permission(verb, "", "nodes") for verb in ("get", "list", "watch", "patch")),
        Permission("patch", "", "nodes/status"),
        *(Permission(verb, "cloudroute.io", "noderoutes") for verb in ours),
        *(Permission(verb, "cloudroute.io", "routetables") for verb in ours),
        Permission("patch", "cloudroute.io", "routetables/status"),
        *(Permission(verb, "", "pods") for verb in ("get", "list")),
        Permission("list", "networking.k8s.io", "servicecidrs"),
        Permission("create", "coordination.k8s.io", "leases", namespace),
        *(Permission(verb, "coordination.k8s.io", "leases", namespace, "cloudroute") for verb in ("get", "update")),
        Permission("create", "events.k8s.io", "events", "default"),
        *(Permission(v, "coordination.k8s.io", "leases", namespace) for v in ("list", "watch") if gateways),
    )


def agent_permissions(namespace: str, *, gateways: bool = False) -> tuple[Permission, ...]:
    """Permissions of an agent in deploy/rbac/agent.yaml, and those of deploy/rbac/gateways where asked for."""
    return (
        *(Permission(verb, "cloudroute.io", "noderoutes") for verb in ("get", "list", "watch")),
        *(Permission(verb, "cloudroute.io", "routetables") for verb in ("get", "list", "watch")),
        Permission("patch", "cloudroute.io", "noderoutes/status"),
        Permission("get", "", "nodes"),
        *(Permission(v, "coordination.k8s.io", "leases", namespace) for v in ("create", "patch") if gateways),
    )


def _api_server(facts: Facts) -> Outcome:
    version = facts.kubernetes.version
    try:
        return ok(f"{facts.server} answers: {known(version)}")
    except Lacking as lacking:
        return failed(lacking.why, "see that the API server is up, and that --kubeconfig or the pod's account is right")


def _version(facts: Facts) -> Outcome:
    version = facts.kubernetes.version
    if isinstance(version, Unknown):
        raise Lacking(NO_API)  # the api-server check reports the reason
    found = re.match(r"v(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < OLDEST:
        return failed(f"Kubernetes {version}", f"upgrade to {'.'.join(map(str, OLDEST))} or newer")
    return ok(f"Kubernetes {version}")


def _crds(facts: Facts) -> Outcome:
    served = known(facts.kubernetes.crds)
    todo = "run `cloudroute crd | kubectl apply -f -`"
    if missing := [kind for kind in ("noderoutes", "routetables") if kind not in served]:
        return failed(f"{listed(missing)} of cloudroute.io/v1alpha1 not served", todo)
    if differing := [kind for kind, same in served.items() if not same]:
        return warning(f"{listed(differing)}: not as this version of cloudroute defines them", todo)
    return ok("noderoutes and routetables are served as this version defines them")


def _rbac(facts: Facts) -> Outcome:
    account = facts.kubernetes.account
    if not (refused := known(facts.kubernetes.refused)):
        return ok(f"{account} may do all that the controller needs")
    todo = _apply("controller", facts)
    if account == IN_USE:
        todo += "; from a laptop this asks for your own account, in a pod for the controller's"
    return failed(f"{account} may not: {listed(map(str, refused))}", todo)


def _rbac_agent(facts: Facts) -> Outcome:
    if not (refused := known(facts.kubernetes.agent_refused)):
        return ok("the agents' account may do all that an agent needs")
    return failed(
        f"the agents' account may not: {listed(map(str, refused))}",
        f"{_apply('agent', facts)}; --namespace says where it is",
    )


def _apply(component: str, facts: Facts) -> str:
    gateways = " -f deploy/rbac/gateways" if facts.policy.gateways else ""
    return f"run `kubectl apply -f deploy/rbac/{component}.yaml{gateways}`, or upgrade the Helm release"


def _nodes(facts: Facts) -> Outcome:
    nodes = known(facts.kubernetes.nodes)
    others = _left_alone(facts)
    if not nodes:
        return warning(f"the cluster has no nodes yet{others}", "run doctor again when it has: most checks need one")
    problems = [f"{name}: {node.problem}" for name, node in sorted(nodes.items()) if node.problem]
    if problems:
        return failed(
            listed(problems), "give each node its providerID: by the cloud controller manager, or kubelet --provider-id"
        )
    return ok(f"{counted(len(nodes), 'node')}, each with the instance that it is{others}")


def _left_alone(facts: Facts) -> str:
    """Number of nodes that are left alone, by kind, as the end of a sentence."""
    kinds = facts.kubernetes.left_alone
    if not kinds:
        return ""
    words = listed(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    return f"; {counted(sum(kinds.values()), 'node')} left alone: {words}"


def _pools(facts: Facts) -> Outcome:
    nodes, routes = known(facts.kubernetes.nodes), known(facts.kubernetes.node_routes)
    facts.pools()
    if problems := outside_pools(nodes, routes, facts.policy):
        return failed("; ".join(problems), "give the settings that the nodes got their pod CIDRs by")
    node_sized = NodeSized(facts.policy.pools, facts.policy.node_mask)
    if single := sorted(
        f"{name} {cidr}"
        for name, node in nodes.items()
        if node.instance_id
        for cidr in node.pod_cidrs
        if cidr not in node_sized
    ):
        return failed(
            f"{listed(single)}: not of the pools {', '.join(map(str, facts.policy.pools))}; no other node is affected",
            "recreate the Node, and it gets a pod CIDR of a pool",
        )
    return ok("the pod CIDR of each node lies in a pool")


def _agents(facts: Facts) -> Outcome:
    routes = known(facts.kubernetes.node_routes)
    if not routes:
        raise Lacking("there are no NodeRoutes: the controller has not run yet")
    said = {name: agent_trouble(route.status) for name, route in sorted(routes.items())}
    if troubles := [f"{name}: {words}" for name, words in said.items() if words]:
        return warning(listed(troubles), "see the log of the agent on that node")
    silent = [name for name, route in sorted(routes.items()) if not route.status]
    if silent:
        return warning(
            f"no word from the agents of {listed(silent)}", "see that the agent's DaemonSet runs on each node"
        )
    return ok(f"{counted(len(routes), 'agent')}, none in trouble")


def _mtu(facts: Facts) -> Outcome:
    routes = known(facts.kubernetes.node_routes)
    by_mtu: dict[int, list[str]] = {}
    for name, route in sorted(routes.items()):
        if isinstance(mtu := route.status.get("mtu"), int):
            by_mtu.setdefault(mtu, []).append(name)
    if not by_mtu:
        raise Lacking("no agent has said its MTU yet")
    if len(by_mtu) > 1:
        words = "; ".join(f"{mtu} on {listed(names)}" for mtu, names in sorted(by_mtu.items()))
        return warning(
            f"pods' MTUs differ: {words}",
            "give the NICs of all nodes one MTU (9001 is what a VPC carries), and restart",
        )
    return ok(f"{next(iter(by_mtu))} on all {counted(len(routes), 'node')}")


def usable_addresses(pod_cidr: Cidr) -> int:
    """Number of pods that host-local can give an address: all but the network's, the gateway's and IPv4's broadcast.

    Source: containernetworking/plugins, plugins/ipam/host-local/backend/allocator/range.go.

    >>> usable_addresses(Cidr.parse("10.244.0.0/24")), usable_addresses(Cidr.parse("fd00::/120"))
    (253, 254)
    """
    return max(0, pod_cidr.size - (3 if pod_cidr.family == "ipv4" else 2))


def _max_pods(facts: Facts) -> Outcome:
    nodes, max_pods = known(facts.kubernetes.nodes), known(facts.kubernetes.max_pods)
    short: list[str] = []
    fine: list[str] = []
    for name, node in sorted(nodes.items()):
        expected = [Cidr(family, 0, facts.policy.node_mask[family]) for family in facts.policy.families]
        room = min(map(usable_addresses, node.pod_cidrs or expected), default=None)
        if room is None or name not in max_pods:
            continue
        (short if max_pods[name] > room else fine).append(
            f"{name} takes {max_pods[name]} pods and has {room} addresses for them"
        )
    if short:
        return warning(
            listed(short),
            "set the kubelets' maxPods to the number of addresses (pods on the host's network need none), or give new "
            "nodes larger pod CIDRs (--node-mask-v4, --node-mask-v6)",
        )
    if not fine:
        raise Lacking("no kubelet has said how many pods it takes")
    return ok(f"no kubelet of {counted(len(fine), 'node')} takes more pods than its pod CIDR has addresses")


def clock(ahead: float, whose: str) -> Outcome:
    """Outcome for a clock that is `ahead` of ours by so many seconds."""
    if abs(ahead) <= TOLERATED_SECONDS:
        return ok(f"{whose} clock and ours agree within {TOLERATED_SECONDS:g} s")
    words = f"{whose} clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours"
    make = failed if abs(ahead) > LARGEST_SECONDS else warning
    return make(words, "synchronise this machine's clock (chrony; in AWS 169.254.169.123 tells the time)")


def _clock(facts: Facts) -> Outcome:
    return clock(known(facts.kubernetes.seconds_ahead), "the API server's")


CHECKS: tuple[Check[Facts], ...] = (
    Check("Kubernetes", "api-server", "controller and agents read and write everything there", _api_server),
    Check("Kubernetes", "version", "an API server that is too old does not check our objects", _version),
    Check("Kubernetes", "crds", "what the controller tells the agents is in objects of these two kinds", _crds),
    Check("Kubernetes", "rbac", "a verb that is refused leaves nodes without routes, conditions or a leader", _rbac),
    Check("Kubernetes", "rbac-agent", "an agent that is refused never learns of a path, or says nothing", _rbac_agent),
    Check(
        "Kubernetes", "nodes", "a node is found in EC2 by its providerID alone; without it, it gets no route", _nodes
    ),
    Check(
        "Kubernetes",
        "pools",
        "a pod CIDR outside gets no route; with wrong pools, the controller does not start",
        _pools,
    ),
    Check("Kubernetes", "agents", "a node whose agent is in trouble is not sent to by the VPC's routes", _agents),
    Check("Kubernetes", "mtu", "a packet larger than what the receiving side carries is lost without a word", _mtu),
    Check(
        "Kubernetes",
        "max-pods",
        "a pod that is scheduled to a node without a free address stays ContainerCreating",
        _max_pods,
    ),
    Check("Kubernetes", "clock", "certificates and tokens are refused when clocks differ too much", _clock),
)

"""Checks of gateways (--gateway-nodes): the nodes, their Leases, the routes to them, and what lets packets in."""

from __future__ import annotations

from collections.abc import Sequence

from cloudroute.core.explain.doctor import acls, groups
from cloudroute.core.explain.doctor.cluster import TOLERATED_SECONDS
from cloudroute.core.explain.doctor.facts import NO_GATEWAYS, Facts
from cloudroute.core.explain.doctor.findings import Check, Lacking, Outcome, failed, known, listed, ok, warning
from cloudroute.core.explain.doctor.vpc import table_uses_of

SILENT_SECONDS = 3 + TOLERATED_SECONDS
"""Age from which a Lease, which is renewed each second, counts as not renewed: clocks may differ."""

LABEL = "node-restriction.kubernetes.io/role=gateway"
"""The label that docs/gateways.md recommends."""
_KUBELET_LABELS = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    }
)
"""Labels of Kubernetes' own domains that kubelets report, beside those of kubelet. and node.kubernetes.io."""


def _gateways(facts: Facts) -> Outcome:
    if not facts.policy.gateways:
        raise Lacking(NO_GATEWAYS)
    if not any(node.gateway != "none" for node in known(facts.kubernetes.nodes).values()):
        return failed("--gateway-nodes selects no node", "label two nodes in different zones as the selector says")
    nodes, ages = facts.gateways(), known(facts.kubernetes.renewals)
    candidates = [name for name, node in nodes.items() if node.gateway == "candidate"]
    renewing = [name for name in candidates if ages.get(name, SILENT_SECONDS) < SILENT_SECONDS]
    silent = [f"{name} ({_since(ages.get(name))})" for name in candidates if name not in renewing]
    retiring = [f"{name} (cordoned or not Ready)" for name in nodes if name not in candidates]
    todo = "see the log of the agent on that node, and that it may write Leases (rbac-agent)"
    if not renewing:
        return failed(f"no gateway renews its Lease: {listed(silent + retiring)}", todo)
    if silent:
        return warning(f"no gateway, since they do not renew their Leases: {listed(silent)}", todo)
    if len(renewing) == 1:
        return warning(
            f"{renewing[0]} is the only gateway: {listed(retiring) or 'no other node is selected'}",
            "select another one, in another zone: when this one fails, nothing takes over its routes",
        )
    return ok(f"{listed(renewing)}: each renews its Lease")


def _since(age: float | None) -> str:
    return "never" if age is None else f"{age:.0f} s ago"


def _label(facts: Facts) -> Outcome:
    if not facts.policy.gateways:
        raise Lacking(NO_GATEWAYS)
    selector = facts.gateway_nodes.text or "''"
    if any(not one.negated and not kubelet_may_set(one.key) for one in facts.gateway_nodes.requirements):
        return ok(f"--gateway-nodes {selector} asks for a label that no kubelet can set on its own Node")
    return warning(
        f"--gateway-nodes {selector}: a kubelet can give its own Node what this selects, so a compromised node can "
        "become a gateway",
        f"let an administrator or a controller label the Nodes with {LABEL}, then select by it (docs/gateways.md)",
    )


def kubelet_may_set(label: str) -> bool:
    """Whether a kubelet may set a label on its own Node, under the admission plugin NodeRestriction.

    Source: plugin/pkg/admission/noderestriction and staging/src/k8s.io/kubelet/pkg/apis/well_known_labels.go of
    Kubernetes.

    >>> kubelet_may_set("role"), kubelet_may_set("node-restriction.kubernetes.io/role")
    (True, False)
    """
    domain = label.rpartition("/")[0]
    if _within(domain, ("kubernetes.io", "k8s.io")):
        return label in _KUBELET_LABELS or _within(domain, ("kubelet.kubernetes.io", "node.kubernetes.io"))
    return True


def _within(domain: str, domains: Sequence[str]) -> bool:
    return any(domain == one or domain.endswith(f".{one}") for one in domains)


def _routes(facts: Facts) -> Outcome:
    facts.gateways()
    aggregates = facts.policy.aggregates
    taken = [
        f"{cidr} in {id_}" for id_, use in table_uses_of(facts).items() for cidr in use.foreign if cidr in aggregates
    ]
    if taken:
        return warning(
            f"routed by somebody else: {listed(taken)}",
            "delete these routes if nothing needs them; cloudroute never touches them, so that table has no gateway",
        )
    return ok(f"nobody else routes {listed(map(str, facts.policy.aggregates))}")


def _instances(facts: Facts) -> Outcome:
    nodes, options = facts.gateways(), known(facts.aws.options)
    types = [
        f"{name} is {options[node.instance_id].type}" for name, node in nodes.items() if node.instance_id in options
    ]
    if not types:
        raise Lacking("no gateway's instance is known")
    return ok(f"{listed(types)}: what the VPC sends to pods by them shares their bandwidth")


CHECKS: tuple[Check[Facts], ...] = (
    Check(
        "Kubernetes",
        "gateways",
        "without a gateway the VPC does not reach pods past the limit, and a missing route is a loss",
        _gateways,
    ),
    Check("Kubernetes", "gateway-label", "a node that makes itself a gateway gets what the VPC sends to pods", _label),
    Check("VPC", "gateway-routes", "a table in which somebody else routes the pool has no gateway", _routes),
    Check(
        "VPC",
        "gateway-groups",
        "a gateway's groups decide what VPC hosts may send to the pods that their table has no route of its own for",
        groups.gateways,
    ),
    Check(
        "VPC",
        "gateway-acls",
        "an ACL drops what VPC hosts send to pods by a gateway in another subnet, and tells neither end",
        acls.gateways,
    ),
    Check("VPC", "gateway-instances", "a VPC route has one target, so a gateway's bandwidth is a limit", _instances),
)

"""Check of the security groups between EKS's control plane and the cluster.

The control plane has interfaces in the VPC's subnets. A pod reaches them with its own address where cloudroute manages
the table of their subnet, and with its node's address elsewhere. EKS's own group admits only its own members: nodes but
no pods. Sources: "View Amazon EKS security group requirements for clusters" (TCP 443 in, TCP 443 and 10250 out are the
least), "View Amazon EKS networking requirements for VPC and subnets" (the interfaces' description).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cloudroute.core.cluster.tables import table_by_subnet
from cloudroute.core.explain.doctor.facts import ControlPlaneInterface, Facts, Groups
from cloudroute.core.explain.doctor.findings import Check, Lacking, Outcome, failed, known, listed, ok, warning
from cloudroute.core.explain.doctor.groups import Members, fits, fits_range, lets, nodes_by_groups, rules_of, shared
from cloudroute.core.explain.doctor.vpc import managed, snapshot_of
from cloudroute.types import Cidr

API_PORT, KUBELET_PORT = 443, 10250


def _control_plane(facts: Facts) -> Outcome:
    interfaces = known(facts.aws.control_plane)
    if not interfaces:
        raise Lacking(_why_none(facts))
    groups, nodes = nodes_by_groups(facts)
    kept = _where_pods_keep_their_address(facts, interfaces)
    inward: list[str] = []
    outward: list[str] = []
    for names in sorted({interface.groups for interface in interfaces}, key=sorted):
        members = [interface for interface in interfaces if interface.groups == names]
        plane = Members(names, tuple(Cidr.parse(address) for one in members for address in one.addresses))
        families = {Cidr.parse(address).family for one in members if one in kept for address in one.addresses}
        pools = [pool for pool in facts.policy.pools if pool.family in families]
        inward += _closed_inward(groups, nodes, plane, pools)
        outward += _closed_outward(groups, nodes, plane, pools)
    if inward:
        return failed(
            f"TCP {API_PORT} to the API server is closed {listed(dict.fromkeys(inward))}",
            f"allow TCP {API_PORT} into a group of the control plane's interfaces, from the nodes' groups and from the "
            "cluster CIDR (as a CIDR); or give their subnets a table that cloudroute does not manage: pods are "
            "masqueraded there",
        )
    if outward:
        return warning(
            "the API server can't reach all kubelets, webhooks and aggregated APIs: closed "
            f"{listed(dict.fromkeys(outward))}",
            f"allow TCP {KUBELET_PORT} and the ports of webhooks from the control plane's group in the nodes' groups, "
            "and out of it to the cluster CIDR",
        )
    return ok(f"TCP {API_PORT} is open from nodes and pods to the control plane, and back to kubelets and webhooks")


def _why_none(facts: Facts) -> str:
    version = facts.kubernetes.version
    if isinstance(version, str) and "-eks-" not in version:
        return "not needed: the API server is not EKS's"
    return (
        f'no network interface is described "Amazon EKS {facts.policy.cluster_name}": on EKS, --cluster-name is to be '
        "the name of the EKS cluster"
    )


def _where_pods_keep_their_address(
    facts: Facts, interfaces: Sequence[ControlPlaneInterface]
) -> list[ControlPlaneInterface]:
    """Interfaces that receive packets with pods' own addresses."""
    snapshot = snapshot_of(facts)
    table_of = table_by_subnet(snapshot)
    tables = {table.id for table in managed(snapshot, facts.policy)}
    return [
        one
        for one in interfaces
        if table_of.get(one.subnet_id) in tables
        and not all(any(c.covers(Cidr.parse(a)) for c in facts.masquerade_always) for a in one.addresses)
    ]


def _closed_inward(groups: Groups, nodes: Sequence[Members], plane: Members, pools: Sequence[Cidr]) -> Iterator[str]:
    """Connections from nodes and pods to the API server that no rule allows."""
    admitting = [rule for rule in rules_of(groups.ingress, plane) if lets(rule, "tcp", API_PORT)]
    for pool in pools:
        if not any(fits_range(rule, pool) for rule in admitting):
            yield f"into {plane} from {pool}"
    for node, to in _pairs(nodes, plane):
        if not any(fits(rule, node) for rule in admitting):
            yield f"into {to} from {node}"
        leaving = (rule for rule in rules_of(groups.egress, node) if lets(rule, "tcp", API_PORT))
        if not any(fits(rule, to) for rule in leaving):
            yield f"out of {node} to {to}"


def _closed_outward(groups: Groups, nodes: Sequence[Members], plane: Members, pools: Sequence[Cidr]) -> Iterator[str]:
    """Connections from the API server to kubelets, and to pods' own addresses, that no rule allows."""
    leaving = list(rules_of(groups.egress, plane))
    for pool in pools:
        if not any(lets(rule, "tcp", API_PORT) and fits_range(rule, pool) for rule in leaving):
            yield f"out of {plane} to {pool} (TCP {API_PORT})"
    for node, source in _pairs(nodes, plane):
        if not any(lets(rule, "tcp", KUBELET_PORT) and fits(rule, node) for rule in leaving):
            yield f"out of {source} to {node} (TCP {KUBELET_PORT})"
        entering = [rule for rule in rules_of(groups.ingress, node) if fits(rule, source)]
        for port in (KUBELET_PORT, API_PORT) if pools else (KUBELET_PORT,):
            if not any(lets(rule, "tcp", port) for rule in entering):
                yield f"into {node} from {source} (TCP {port})"


def _pairs(nodes: Sequence[Members], plane: Members) -> Iterator[tuple[Members, Members]]:
    """Nodes and control plane with their addresses of each family that both have: either may be used."""
    for node in nodes:
        for family in shared(node, plane):
            yield node.by(family), plane.by(family)


CHECKS: tuple[Check[Facts], ...] = (
    Check(
        "VPC",
        "groups-control-plane",
        "a pod's own address is in no security group: EKS's groups drop it unless a rule has the pod range",
        _control_plane,
    ),
)

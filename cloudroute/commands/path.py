"""`cloudroute path SRC DST`: why a packet between two places goes which way."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import NamedTuple

from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.output import Table, write_result
from cloudroute.config import ControllerSettings, OutputSettings
from cloudroute.core.paths import explain, owner_of
from cloudroute.errors import CloudrouteError
from cloudroute.ports import Kube
from cloudroute.types import NodeRouteSpec, PodAddress


class Place(NamedTuple):
    """One end: the node it is on, and what it is in words."""

    node: str
    words: str


def locate(text: str, specs: Mapping[str, NodeRouteSpec], kube: Kube) -> Place:
    """The node of a node's name, a pod (namespace/name) or an address. Raises CloudrouteError when there is none."""
    if text in specs:
        return Place(text, f"node {text}")
    if _is_address(text):
        return _at(str(ipaddress.ip_address(text)), specs, kube)
    namespace, slash, name = text.partition("/")
    if not slash:
        raise CloudrouteError(
            f"{text}: no node of that name has a NodeRoute; expected a node, a pod as namespace/name, or an address "
            "(cloudroute status lists the nodes)"
        )
    pod = kube.pod(namespace, name)
    if pod is None:
        raise CloudrouteError(f"{text}: there is no pod {name} in namespace {namespace}")
    return _of(pod, specs)


def _at(address: str, specs: Mapping[str, NodeRouteSpec], kube: Kube) -> Place:
    node = owner_of(address, specs)
    if node is not None:
        return Place(node, f"{address} of node {node}")
    pod = kube.pod_at(address)
    if pod is None:
        raise CloudrouteError(f"{address}: belongs to no pod CIDR, no node and no running pod that cloudroute knows of")
    return _of(pod, specs)


def _of(pod: PodAddress, specs: Mapping[str, NodeRouteSpec]) -> Place:
    if not pod.node:
        raise CloudrouteError(f"{pod.namespace}/{pod.name}: is not scheduled to a node yet, so no packet reaches it")
    if pod.node not in specs:
        raise CloudrouteError(
            f"{pod.namespace}/{pod.name}: its node {pod.node} has no NodeRoute yet; cloudroute status says why"
        )
    where = f"on node {pod.node}{' with its address' if pod.host_network else ''}"
    return Place(pod.node, f"pod {pod.namespace}/{pod.name} {where}")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def run(invocation: Invocation) -> int:
    """Read Kubernetes once and explain."""
    from cloudroute.adapters.kube.client import KubeClient  # only here, both: they load the Kubernetes client
    from cloudroute.commands.world import observed

    source, target = invocation.words
    with observed(invocation[ControllerSettings]) as cluster:
        kube = KubeClient(cluster.transport, cluster)
        specs = {name: route.spec for name, route in cluster.node_routes.items().items()}
        one, other = locate(source, specs, kube), locate(target, specs, kube)
        found = explain(one.node, other.node, specs, cluster.table_reports.items())
    data = {
        "source": {"given": source, "node": one.node},
        "destination": {"given": target, "node": other.node},
        "path": found.path,
        "reason": found.reason,
        "steps": list(found.steps),
    }
    lines = [
        ("from", one.words),
        ("to", other.words),
        ("path", found.path),
        ("because", found.reason),
        *((f"step {number}", step) for number, step in enumerate(found.steps, 1)),
    ]
    write_result(invocation[OutputSettings].output, data, [Table((), lines)])
    return 0


COMMAND = Command(
    name="path",
    summary="explain which way a packet goes between two nodes, pods or addresses",
    text=(
        "Takes two nodes, pods (namespace/name) or addresses, and says by which path their packets go - native (a "
        "route of the VPC), direct (the subnet they share), overlay (the VXLAN tunnel) or local (one node) - with the "
        "reason and each step on the way. The answer is the same in both directions. It reads Kubernetes alone and "
        "needs no access to AWS."
    ),
    example="cloudroute path node-a node-b\ncloudroute path default/client 10.244.7.12 -o json",
    run=run,
    kinds=(ControllerSettings, OutputSettings),
    words=("SRC", "DST"),
)

"""All places where cloudroute could leave something: EC2, Kubernetes and the kernels of nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cloudroute.lab.hosts.cluster import ClusterHost
from tests.cluster.fleet import Fleet

_DYNAMIC = {
    "events", "events.events.k8s.io", "leases.coordination.k8s.io", "componentstatuses", "endpoints", "nodes",
    "csinodes.storage.k8s.io",
}  # fmt: skip
"""Kinds that Kubernetes itself writes all the time; and the Nodes, which are looked at closer."""


class Traces(NamedTuple):
    """Traces at one moment. A trace that is the same on all nodes is there once."""

    tables: Mapping[str, Mapping[str, str]]
    """All route tables of the VPC: by destination, the state and the target."""
    objects: frozenset[str]
    nodes: frozenset[tuple[str, ...]]
    """Keys of labels, annotations and taints of Nodes."""
    kernels: frozenset[tuple[str, ...]]


def take(fleet: Fleet, kubectl: Callable[..., str]) -> Traces:
    """Look everywhere; `kubectl` runs a command as administrator and returns what it said."""
    kinds = [kind for kind in kubectl("api-resources", "--verbs=list", "-o", "name").split() if kind not in _DYNAMIC]
    objects = kubectl("get", ",".join(kinds), "--all-namespaces", "-o", "name", "--show-kind").split()
    return Traces(
        tables=_tables(fleet),
        objects=frozenset(objects),
        nodes=nodes(fleet),
        kernels=frozenset(map(_kernel, fleet.hosts.values())),
    )


def nodes(fleet: Fleet) -> frozenset[tuple[str, ...]]:
    """Taints of all Nodes, and the names of their labels and annotations."""
    return frozenset(map(_marks, fleet.kube.list("nodes")))


def _tables(fleet: Fleet) -> dict[str, dict[str, str]]:
    scene = fleet.account.aws.scene
    mine = [{"Name": "vpc-id", "Values": [fleet.applied["vpc_id"]]}]
    tables = scene.ec2.describe_route_tables(Filters=mine)["RouteTables"]
    return {
        id_: {cidr: str(sorted(route.items())) for cidr, route in scene.routes(id_).items()}
        for id_ in (table["RouteTableId"] for table in tables)
    }


def _marks(node: Mapping[str, Any]) -> tuple[str, ...]:
    metadata = node["metadata"]
    # Of a node without a network Kubernetes drops this one by chance: two of its loops set and clear it.
    taints = {f"{taint['key']}:{taint['effect']}" for taint in node["spec"].get("taints", ())}
    taints.discard("node.kubernetes.io/not-ready:NoExecute")
    return tuple(sorted([*metadata.get("labels", ()), *metadata.get("annotations", ()), *taints]))


def _kernel(host: ClusterHost) -> tuple[str, ...]:
    """Devices, addresses, routes, rules and tables of a host, besides its NIC and kube-proxy's table."""
    found = []
    for family in ("-4", "-6"):
        found += [f"rule {line}" for line in host.run("ip", family, "rule").splitlines()]
        routes = host.run("ip", family, "route", "show", "table", "all").splitlines()
        # Addresses bring these; the defaults are the VPC's.
        found += [f"route {line}" for line in routes if not {"kernel", "default"} & set(line.split())]
    found += [f"link {line.split()[1]}" for line in host.run("ip", "-o", "link").splitlines()]
    found += [f"nexthop {line}" for line in host.run("ip", "nexthop").splitlines()]
    found += [f"nft {line}" for line in host.run("nft", "list", "tables").splitlines() if "kube-proxy" not in line]
    # Sorted: a kubelet makes its chains for both families at one time, and the kernel lists tables as they were made.
    return tuple(sorted(line for line in found if "link eth0" not in line))

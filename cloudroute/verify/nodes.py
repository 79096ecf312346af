"""Nodes of a cluster as places for probes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudroute.adapters.kube.pods import Pods
from cloudroute.adapters.kube.project import is_ready
from cloudroute.core.verify.model import NodeFacts

_NODES = "/api/v1/nodes"
_ZONE = "topology.kubernetes.io/zone"
_TYPE = "node.kubernetes.io/instance-type"
_GROUPS = (
    "eks.amazonaws.com/nodegroup",
    "karpenter.sh/nodepool",
    "alpha.eksctl.io/nodegroup-name",
    "kops.k8s.io/instancegroup",
    "node.cluster.x-k8s.io/pool",
)
"""Labels by which EKS, Karpenter, eksctl, kOps and Cluster API name a node's group."""


def node_facts(pods: Pods) -> list[NodeFacts]:
    """Read the facts of all Nodes. Raises ApiError."""
    return [_facts(item) for item in pods.list(_NODES)]


def _facts(item: Mapping[str, Any]) -> NodeFacts:
    labels = item["metadata"].get("labels") or {}
    return NodeFacts(
        name=item["metadata"]["name"],
        zone=labels.get(_ZONE, ""),
        instance_type=labels.get(_TYPE, ""),
        group=next((labels[label] for label in _GROUPS if label in labels), ""),
        ready=is_ready(item.get("status") or {}),
    )

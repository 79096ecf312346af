"""Selection of our Nodes by their raw JSON, so that all others cost neither memory nor calls.

Nodes are left alone that have a network of their own, that have no Linux kernel, or that --node-selector leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudroute.adapters.kube import project
from cloudroute.selector import Selector

Json = Mapping[str, Any]

_OS = "kubernetes.io/os"
"""Set by each kubelet: https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-os"""
_COMPUTE_TYPE = "eks.amazonaws.com/compute-type"
_COMPUTE_TYPES = {
    # The label that keeps aws-node off these nodes: https://github.com/pulumi/pulumi-eks/pull/291
    "fargate": "fargate",
    # aws/eks-hybrid, internal/kubelet/config.go, `hybridNodeLabel`.
    "hybrid": "hybrid",
    # https://docs.aws.amazon.com/eks/latest/userguide/associate-workload.html. The providerID is any EC2 node's.
    "auto": "auto-mode",
}
_HYBRID = "eks-hybrid:///"
"""Prefix of the providerID: aws/eks-hybrid, internal/kubelet/config.go, `hybridProviderIdPrefix`."""
_FARGATE = "fargate-"
"""Prefix of the last part of aws:///ZONE/TASK/fargate-ip-10-0-0-1.ec2.internal: cloud-provider-aws,
pkg/providers/v1/variant/fargate/fargate.go, `fargateNodeNamePrefix`."""


def left_alone(raw: Json, selector: Selector) -> str:
    """Reason why a Node is not ours: windows, fargate, hybrid, auto-mode or "not selected"; "" where it is ours."""
    labels = project.labels(raw)
    info = _dict(_dict(raw.get("status")).get("nodeInfo"))
    provider_id = str(_dict(raw.get("spec")).get("providerID") or "")
    if "windows" in (labels.get(_OS), info.get("operatingSystem")):
        return "windows"
    if provider_id.startswith(_HYBRID):
        return "hybrid"
    if provider_id.startswith("aws:") and provider_id.rsplit("/", 1)[-1].startswith(_FARGATE):
        return "fargate"
    if kind := _COMPUTE_TYPES.get(labels.get(_COMPUTE_TYPE, "")):
        return kind
    return "" if selector.matches(labels) else "not selected"


def _dict(value: object) -> Json:
    return value if isinstance(value, dict) else {}

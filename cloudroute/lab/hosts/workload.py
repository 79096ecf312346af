"""Pods on real nodes: one on each that answers with its name; and the state of nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cloudroute.lab.hosts.images import WEB
from cloudroute.lab.kube.remote import RemoteCluster


class Pod(NamedTuple):
    """A running pod."""

    name: str
    node: str
    addresses: tuple[str, ...]


def pod_template(image: str) -> dict[str, Any]:
    """Return the spec of a pod with one container, which tolerates every taint and stops at once."""
    return {
        "containers": [{"name": "main", "image": image, "imagePullPolicy": "Never"}],
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "dnsPolicy": "Default",
        "tolerations": [{"operator": "Exists"}],
    }


def daemonset(name: str, image: str = WEB, namespace: str = "default") -> dict[str, Any]:
    """Return the manifest of a DaemonSet with a pod on each node, new and unreachable ones too. It stops at once."""
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod_template(image)},
        },
    }


def running(cluster: RemoteCluster, name: str, namespace: str = "default") -> dict[str, Pod]:
    """Return the running pods of a DaemonSet, by node, that have addresses and are not being deleted."""
    pods = (_parse(item) for item in cluster.list("pods", namespace) if _runs(item, name))
    return {pod.node: pod for pod in pods if pod.addresses}


def node_ready(cluster: RemoteCluster, name: str) -> bool:
    """Whether a Node exists and its kubelet reports Ready."""
    conditions = [
        condition
        for node in cluster.list("nodes")
        if node["metadata"]["name"] == name
        for condition in node["status"].get("conditions", ())
    ]
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _runs(item: Mapping[str, Any], name: str) -> bool:
    metadata = item["metadata"]
    ours = metadata.get("labels", {}).get("app") == name and "deletionTimestamp" not in metadata
    return ours and item["status"].get("phase") == "Running"


def _parse(item: Mapping[str, Any]) -> Pod:
    addresses = tuple(entry["ip"] for entry in item["status"].get("podIPs", ()))
    return Pod(item["metadata"]["name"], item["spec"]["nodeName"], addresses)

"""Pods on real nodes: one on each that answers with its name, and functions that wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.images import WEB
from cloudroute.lab.kube.remote import RemoteCluster

_Value = TypeVar("_Value")


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


def wait_for(condition: Callable[[], _Value], what: str, seconds: float = 60.0) -> _Value:
    """Poll until the result is true, and return it. Raises CloudrouteError, naming `what`, after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise CloudrouteError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.1)
    return answer


def _runs(item: Mapping[str, Any], name: str) -> bool:
    metadata = item["metadata"]
    ours = metadata.get("labels", {}).get("app") == name and "deletionTimestamp" not in metadata
    return ours and item["status"].get("phase") == "Running"


def _parse(item: Mapping[str, Any]) -> Pod:
    addresses = tuple(entry["ip"] for entry in item["status"].get("podIPs", ()))
    return Pod(item["metadata"]["name"], item["spec"]["nodeName"], addresses)

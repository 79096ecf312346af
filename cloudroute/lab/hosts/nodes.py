"""The writes of kubelets and the cloud controller about the lab's hosts: Node objects, their Ready, their deletion."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import urllib3

from cloudroute.adapters.kube import project
from cloudroute.adapters.kube.transport import STRATEGIC_MERGE_PATCH
from cloudroute.lab.aws import Machine
from cloudroute.lab.hosts.api import Api
from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.kube import Object, StatusError
from cloudroute.types import timestamp

LOOK_SECONDS = 0.05
TROUBLE = (StatusError, urllib3.exceptions.HTTPError)
"""Errors that a client meets while the API server is stopped, or when it refuses."""


def node_object(name: str, machine: Machine, pod_cidrs: Sequence[str] = (), labels: Mapping[str, str] = {}) -> Object:
    """Build a Node as a kubelet and the cloud provider register it, with all addresses of its machine."""
    addresses = [{"type": "InternalIP", "address": address} for address in machine.addresses]
    labels = {"kubernetes.io/hostname": name, project.ZONE: machine.zone.name, **labels}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"providerID": machine.provider_id, **({"podCIDRs": list(pod_cidrs)} if pod_cidrs else {})},
        "status": {"addresses": [*addresses, {"type": "Hostname", "address": name}]},
    }


def condition(node: Object, kind: str) -> str:
    """Return the status of a Node condition: "True", "False", "Unknown", or "" when absent."""
    conditions = node.get("status", {}).get("conditions") or []
    return next((str(one["status"]) for one in conditions if one["type"] == kind), "")


class NodeKeeper:
    """Sets Ready, true once there is a CNI configuration, and deletes the Nodes of terminated instances."""

    def __init__(self, api: Api, hosts: Callable[[], Mapping[str, LabHost]]) -> None:
        self._api = api
        self._hosts = hosts
        self._ready: dict[str, tuple[str, bool]] = {}
        """Last written state by node name: instance id and Ready."""
        self._gone: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nodes", daemon=True)
        self._thread.start()

    def register(self, host: LabHost) -> None:
        """Create the Node."""
        self._api.objects.create(node_object(host.name, host.machine, host.pod_cidrs, host.labels))

    def remove(self, name: str) -> None:
        """Delete the Node: now, or once the API server is reachable again."""
        with self._lock:
            self._gone.add(name)
            self._delete()

    def close(self) -> None:
        """Leave the Nodes as they are."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                with self._lock:
                    self._delete()
                self._report()
            except TROUBLE:
                self._stop.wait(LOOK_SECONDS)

    def _delete(self) -> None:
        for name in list(self._gone):
            try:
                self._api.http.delete("nodes", name)
            except StatusError as error:
                if error.code != 404:
                    return
            except urllib3.exceptions.HTTPError:
                return
            self._gone.discard(name)

    def _report(self) -> None:
        for name, host in self._hosts().items():
            now = (host.machine.id, host.runtime.ready)
            if self._ready.get(name) != now:
                # Not a merge patch: that would remove the controller's condition.
                body = {"status": {"conditions": [_ready_condition(ready=now[1])]}}
                try:
                    self._api.http.request("PATCH", f"/api/v1/nodes/{name}/status", body, STRATEGIC_MERGE_PATCH)
                except StatusError as error:
                    if error.code != 404:
                        raise
                else:
                    self._ready[name] = now


def _ready_condition(*, ready: bool) -> dict[str, Any]:
    reason = "KubeletReady" if ready else "KubeletNotReady"
    message = "" if ready else "container runtime network not ready: cni plugin not initialized"
    now = timestamp(time.time())
    words = {"reason": reason, "message": message, "lastTransitionTime": now, "lastHeartbeatTime": now}
    return {"type": "Ready", "status": "True" if ready else "False", **words}

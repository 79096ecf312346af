"""`ClusterLab`: a lab whose nodes are real. Each host runs a kubelet and containerd; pods are scheduled, not attached.

Real parts beside the packets: the API server with its scheduler and controller manager, the kubelets that register
their Nodes and report Ready, the container runtime that reads the conflist, and the pods.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cloudroute.errors import CloudrouteError
from cloudroute.lab.aws import Machine
from cloudroute.lab.hosts.api import Api, RealApi
from cloudroute.lab.hosts.host import LOOK_SECONDS, LabHost, LabPod
from cloudroute.lab.hosts.image_store import ImageStore
from cloudroute.lab.hosts.images import WEB, make_images
from cloudroute.lab.hosts.kubelet import KubeletHost, missing
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.netns import Namespace, execute
from cloudroute.lab.hosts.workload import Pod, node_ready, pod_template
from cloudroute.lab.kube.real import NODE_USER, RealKubeApi
from cloudroute.lab.kube.remote import RemoteCluster
from cloudroute.lab.kube.status import StatusError
from cloudroute.lab.waiting import wait_for

MOST_NODES = 60
"""Number of node names, node-1 to node-60: an API server reads its users' tokens only when it starts."""


class ClusterHost(LabHost):
    """A node with a kubelet. Its `pods` are scheduled ones, whose network namespaces were given names."""

    kubelet: KubeletHost
    kube: RemoteCluster

    @property
    def kubelet_folder(self) -> Path:
        """The kubelet's folder."""
        return self.folder / "kubelet"

    def boot(
        self,
        kube: RemoteCluster,
        kubeconfig: Path,
        cni_conf_dir: Path | None,
        images: ImageStore,
        settings: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Start the kubelet; see KubeletHost."""
        self.kube = kube
        self.kubelet = KubeletHost(
            self.namespace.name, self.name, self.addresses, self.machine.provider_id, kubeconfig, self.kubelet_folder,
            cni_conf_dir, images, settings,
        )  # fmt: skip
        self.kubelet.start()

    def add_pod(self, name: str, timeout: float = 60.0) -> LabPod:
        """Create a Pod with a node selector for this node, and wait until it runs.

        The kubelet of a machine that has replaced another one runs the Pods of that one again: they are there.
        """
        if name in self.pods:
            raise CloudrouteError(f"{self.name} has a pod {name} already")
        whole = f"{self.name}-{name}"
        selector = {"kubernetes.io/hostname": self.name}
        body = {"metadata": {"name": whole}, "spec": {**pod_template(WEB), "nodeSelector": selector}}
        try:
            self.kube.create({"apiVersion": "v1", "kind": "Pod", **body})
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        status: dict[str, Any] = {}

        def addresses() -> tuple[str, ...]:
            nonlocal status
            status = self.kube.get("pods", whole, "default").get("status", {})
            pod = Pod(whole, self.name, tuple(entry["ip"] for entry in status.get("podIPs", ())))
            return pod.addresses if status.get("phase") == "Running" and self.runs(pod) else ()

        what = f"pod {name} on {self.name} to run"
        running = wait_for(addresses, what, timeout, LOOK_SECONDS, lambda: [f"its status is {status}"])
        return self.adopt_pod(name, whole, running)

    def runs(self, pod: Pod) -> bool:
        """Whether a Pod has processes here, with the addresses that the API server shows of it.

        After a node was replaced, the API server shows the pod of the earlier machine for a while, with that pod's
        addresses, until the new kubelet, which runs the same Pod, has reported its own.
        """
        try:
            shown = execute("nsenter", f"--target={self.kubelet.pod_pid(pod.name)}", "--net", "ip", "-json", "address")
        except CloudrouteError:
            return False
        return {*pod.addresses} <= {address["local"] for link in json.loads(shown) for address in link["addr_info"]}

    def adopt_pod(self, name: str, pod: str, addresses: tuple[str, ...]) -> LabPod:
        """Add a running Pod to `pods`, under a short name."""
        namespace = Namespace(f"{self.prefix}{self.name}-{name}")
        execute("ip", "netns", "attach", namespace.name, str(self.kubelet.pod_pid(pod)))
        self.pods[name] = LabPod(name, namespace, addresses, self, None)
        return self.pods[name]

    def remove_pod(self, pod: LabPod) -> None:
        self.pods.pop(pod.name, None)
        execute("ip", "netns", "del", pod.namespace.name)
        self.kube.delete("pods", f"{self.name}-{pod.name}", "default")

    def delete(self) -> None:
        self.kubelet.kill()
        super().delete()


class ClusterLab(HostLab):
    """A HostLab with `ClusterHost`s. Raises CloudrouteError with a sentence for what this machine lacks."""

    hosts: Mapping[str, ClusterHost]  # type: ignore[assignment] # a dict of ClusterHosts, which nothing else writes to

    def __init__(self, name: str, **options: Any) -> None:
        if problems := missing():
            raise CloudrouteError(f"real nodes can't run here: {'; '.join(problems)}")
        super().__init__(name, real_kube=True, **options)
        self._images: ImageStore

    def make_api(self) -> Api:
        self._kube = RealKubeApi(control_plane=True)
        for number in range(1, MOST_NODES + 1):
            self._kube.add_user(f"{NODE_USER}node-{number}")
        folder = self.folder / "images"
        self._images = ImageStore(folder, make_images(folder))
        return RealApi(self._kube, self.folder)

    # --- hosts --------------------------------------------------------------------------------------

    def _make(self, name: str, zone: int, machine: Machine, folder: Path, flags: Sequence[str]) -> ClusterHost:
        return ClusterHost(name, zone, machine, self.prefix, folder, flags)

    def _boot(self, host: LabHost) -> None:
        assert isinstance(host, ClusterHost)  # noqa: S101 - `_make` returns no other type
        kubeconfig = self._kube.kubeconfig(host.folder / "kubelet.kubeconfig", f"{NODE_USER}{host.name}")
        host.boot(self._kube, kubeconfig, host.conf_dir, self._images)
        self.wait(lambda: self._is_registered(host), f"the Node {host.name}")  # a DaemonSet's pod can't start earlier
        if self._agents:
            host.start_agent()

    def _is_registered(self, host: LabHost) -> bool:
        nodes = {node["metadata"]["name"]: node for node in self._kube.list("nodes")}
        return bool(nodes.get(host.name, {}).get("spec", {}).get("providerID") == host.machine.provider_id)

    def _reported(self) -> Mapping[str, LabHost]:
        return {}  # the kubelets themselves report Ready

    def _is_ready(self) -> bool:
        return super()._is_ready() and all(node_ready(self._kube, name) for name in self.hosts)

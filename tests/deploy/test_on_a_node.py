"""The image by the chart on a real kubelet: a node that waits for its network gets it from the agent's pod."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudroute.lab.hosts.images import make_images
from cloudroute.lab.hosts.kubelet import missing
from cloudroute.lab.hosts.kubelet_config import CNI_BIN
from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.hosts.relay import Relay
from cloudroute.lab.hosts.workload import daemonset, node_ready, running, wait_for
from cloudroute.lab.kube.real import RealKubeApi
from tests.contract.test_crds import ROUTE
from tests.deploy.conftest import CHART, Run
from tests.lab.hosts.test_kubelet import PREFIX, Machine, machine, wait_until_serving
from tests.required import lacking

NODE = "node-1"
SPACE = "cloudroute"


@pytest.fixture
def node(image: Path, tmp_path: Path) -> Iterator[tuple[RealKubeApi, Machine]]:
    """A cluster of one node whose container runtime has the image, and no network yet."""
    if problems := missing():
        lacking("kubelet", "; ".join(problems))
    folder = Path(tempfile.mkdtemp(dir="/run", prefix=PREFIX))  # hosts have a /run of their own
    kube = RealKubeApi(control_plane=True)
    kube.add_user(f"system:node:{NODE}")
    relay = Relay(int(kube.url.rpartition(":")[2]))
    switch = Namespace(f"{PREFIX}deploy")
    one: Machine | None = None
    try:
        kube.start()
        switch.create()
        switch.batch(["link add br0 type bridge", "link set br0 up"])
        one = machine(kube, relay, switch, folder, 1, NODE, [*make_images(tmp_path), image])
        one.kubelet.start()
        wait_until_serving(one.kubelet)
        yield kube, one
    finally:
        if one:
            one.kubelet.stop()
            one.namespace.delete()
        relay.close()
        switch.delete()
        kube.close()
        shutil.rmtree(folder)


def values(kube: RealKubeApi, one: Machine) -> dict[str, Any]:
    """The lab has no kube-proxy that would lead to the API server, no AWS, and its own folders."""
    host, port = kube.url.removeprefix("https://").split(":")
    env = [{"name": "KUBERNETES_SERVICE_HOST", "value": host}, {"name": "KUBERNETES_SERVICE_PORT", "value": port}]
    folders = {"cniBinDir": str(CNI_BIN), "settings": {"cni-conf-dir": str(one.conflist.parent), "interface": "eth0"}}
    return {
        "settings": {"cluster-cidr": ["10.8.0.0/16"]},
        "image": {"pullPolicy": "Never"},
        "controller": {"nodeSelector": {"kubernetes.io/hostname": "elsewhere"}},
        "agent": {**folders, "env": env},
    }


def test_a_node_gets_its_network(node: tuple[RealKubeApi, Machine], helm: Run, tmp_path: Path) -> None:
    """The agent's pod starts on a node that is not ready; its token may write the status; then pods get addresses.

    A new agent takes over from the old one, and the network stays.
    """
    kube, one = node
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values(kube, one)))
    kubeconfig = kube.kubeconfig(tmp_path / "kubeconfig")
    words = ("--namespace", SPACE, "--create-namespace", "--values", str(file))
    answer = helm("install", "cloudroute", str(CHART), *words, kubeconfig=kubeconfig)
    assert answer.returncode == 0, answer.stderr
    spec = {**ROUTE, "podCIDRs": [one.pod_cidr], "nodeIPs": ["10.9.0.1"]}
    head = {"apiVersion": "cloudroute.io/v1alpha1", "kind": "NodeRoute", "metadata": {"name": NODE}}

    kube.create({**head, "spec": spec})
    wait_for(lambda: kube.get("noderoutes", NODE).get("status", {}).get("ready"), "the agent says that all is in place")
    wait_for(lambda: node_ready(kube, NODE), "the node is ready")
    kube.create(daemonset("web"))
    pods = wait_for(lambda: running(kube, "web"), "a pod runs")
    assert pods[NODE].addresses[0].startswith("10.8.1.")

    words = ("--namespace", SPACE, "--reuse-values", "--set", "agent.settings.vni=2")
    answer = helm("upgrade", "cloudroute", str(CHART), *words, kubeconfig=kubeconfig)
    assert answer.returncode == 0, answer.stderr
    wait_for(lambda: _rolled(kube), "the new agent is ready")
    assert "vxlan id 2 " in one.namespace.run("ip", "-d", "link", "show", "cr0")
    assert one.conflist.parent.joinpath("10-cloudroute.conflist").exists()
    assert running(kube, "web") == pods


def _rolled(kube: RealKubeApi) -> bool:
    """Whether the DaemonSet's pods are all of its newest generation, and ready."""
    agents = kube.get("daemonsets", "cloudroute-agent", SPACE)
    status = agents["status"]
    newest: bool = status.get("observedGeneration") == agents["metadata"]["generation"]
    ready: bool = status.get("updatedNumberScheduled") == status.get("numberReady") == 1
    return newest and ready

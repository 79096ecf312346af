"""Real kubelets in network namespaces: they work as nodes do, and are removed completely."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.image_store import ImageStore
from cloudroute.lab.hosts.images import make_images
from cloudroute.lab.hosts.kubelet import KubeletHost, missing, sweep
from cloudroute.lab.hosts.netns import Namespace, execute
from cloudroute.lab.hosts.relay import Relay
from cloudroute.lab.hosts.workload import Pod, daemonset, node_ready, running
from cloudroute.lab.kube.kubeconfig import write_kubeconfig
from cloudroute.lab.kube.real import CONTROL_PLANE, RealKubeApi, find_assets
from tests.required import lacking
from tests.waiting import eventually

PREFIX = f"crkl-{os.getpid()}-"
NODES = ("node-1", "node-2")
NETWORK = "test"
"""Name of the network in the conflist."""
KERNEL_SETTINGS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
"""Kernel settings that a kubelet changes."""


class Machine(NamedTuple):
    """A host, its conflist and its pod CIDR."""

    kubelet: KubeletHost
    namespace: Namespace
    pod_cidr: str
    conflist: Path


class Site(NamedTuple):
    """Two nodes and their API."""

    kube: RealKubeApi
    machines: Mapping[str, Machine]

    def connect(self) -> None:
        """Write each node's conflist, and wait until it is ready."""
        for name, machine in self.machines.items():
            if not machine.conflist.exists():
                machine.conflist.write_text(conflist(machine.pod_cidr))
            eventually(partial(node_ready, self.kube, name), f"{name} is ready")

    def pods(self) -> dict[str, Pod]:
        """Pods of a DaemonSet by node, once each node runs one."""
        if not any(item["metadata"]["name"] == "web" for item in self.kube.list("daemonsets", "default")):
            self.kube.create(daemonset("web"))
        eventually(lambda: len(running(self.kube, "web")) == len(self.machines), "a pod runs on each node")
        return running(self.kube, "web")

    def hears(self, source: Pod, target: Pod) -> bool:
        """Whether a pod gets the answer of another one: its name."""
        pid = self.machines[source.node].kubelet.pod_pid(source.name)
        fetch = ("timeout", "2", "busybox", "wget", "-qO-", f"http://{target.addresses[0]}/hostname")
        return execute("nsenter", f"--target={pid}", "--net", *fetch, check=False).strip() == target.name


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Archives of the lab's images; skips where kubelets can't run."""
    if problems := missing():
        lacking("kubelet", *problems)
    return make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def site(images: list[Path]) -> Iterator[Site]:
    """Two nodes on one bridge, with routes to each other's pods, and nothing in their CNI folders."""
    if find_assets(CONTROL_PLANE) is None:
        lacking("kubelet")
    folder = Path(tempfile.mkdtemp(dir="/run", prefix=PREFIX))  # hosts have a /run of their own
    kube = RealKubeApi(control_plane=True)
    for name in NODES:
        kube.add_user(f"system:node:{name}")
    relay = Relay(int(kube.url.rpartition(":")[2]))
    switch = Namespace(f"{PREFIX}switch")
    machines: dict[str, Machine] = {}
    try:
        kube.start()
        switch.create()
        switch.batch(["link add br0 type bridge", "link set br0 up"])
        for number, name in enumerate(NODES, 1):
            machines[name] = machine(kube, relay, switch, folder, number, name, images)
            machines[name].kubelet.start()
        for one in machines.values():
            wait_until_serving(one.kubelet)
        yield Site(kube, machines)
    finally:
        for one in machines.values():
            one.kubelet.stop()
            one.namespace.delete()
        relay.close()
        switch.delete()
        kube.close()
        shutil.rmtree(folder)


def machine(
    kube: RealKubeApi, relay: Relay, switch: Namespace, folder: Path, number: int, name: str, images: Iterable[Path]
) -> Machine:
    namespace = Namespace(f"{PREFIX}{number}")
    namespace.create()
    address, other = f"10.9.0.{number}", 3 - number
    switch.batch(
        [
            f"link add port{number} type veth peer name eth0 netns {namespace.name}",
            f"link set port{number} master br0 up",
        ]
    )
    namespace.batch(
        [
            f"address add {address}/24 dev eth0",
            "link set eth0 up",
            f"route add 10.8.{other}.0/24 via 10.9.0.{other}",
        ]
    )
    relay.add(namespace)
    home = folder / name
    kubelet = KubeletHost(
        namespace=namespace.name,
        node_name=name,
        node_ips=[address],
        provider_id=f"aws:///eu-central-1a/i-{number:017}",
        kubeconfig=kube.kubeconfig(folder / f"{name}.kubeconfig", f"system:node:{name}"),
        folder=home,
        cni_conf_dir=folder / f"{name}.cni",
        images=ImageStore(folder / "images", images),
    )
    return Machine(kubelet, namespace, f"10.8.{number}.0/24", folder / f"{name}.cni" / "10-test.conflist")


def conflist(pod_cidr: str) -> str:
    ipam = {"type": "host-local", "ranges": [[{"subnet": pod_cidr}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "cbr0", "isGateway": True, "ipam": ipam}
    return json.dumps({"cniVersion": "1.0.0", "name": NETWORK, "plugins": [bridge]})


def leases(machine: Machine) -> set[str]:
    """The addresses that host-local has given to pods of the node."""
    return {path.name for path in (machine.kubelet.folder / "lib/cni/networks" / NETWORK).glob("10.*")}


def waits_for_network(kube: RealKubeApi, node: str) -> bool:
    """Whether the Node exists and is not ready for lack of a conflist."""
    return any(
        "cni plugin not initialized" in condition["message"]
        for item in kube.list("nodes")
        for condition in item["status"].get("conditions", ())
        if item["metadata"]["name"] == node and condition["type"] == "Ready" and condition["status"] == "False"
    )


def wait_until_serving(kubelet: KubeletHost) -> None:
    eventually(lambda: kubelet.ready, f"the kubelet of {kubelet.node_name} serves")


def settings() -> list[str]:
    return [Path("/proc/sys", setting).read_text() for setting in KERNEL_SETTINGS]


def cgroups() -> list[Path]:
    return [path for depth in ("*", "*/*") for path in Path("/sys/fs/cgroup").glob(depth) if PREFIX in path.name]


def alive(pids: tuple[int, ...]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_node_is_ready_while_there_is_a_conflist(site: Site) -> None:
    """Kubelets register with their own identity; Ready comes with the conflist and goes with it."""
    for name, one in site.machines.items():
        one.conflist.unlink(missing_ok=True)
        eventually(partial(waits_for_network, site.kube, name), f"{name} is there, and not ready")
    site.connect()
    first = site.machines[NODES[0]]
    node = site.kube.get("nodes", NODES[0])
    assert node["spec"]["providerID"] == f"aws:///eu-central-1a/i-{1:017}"
    assert {"type": "InternalIP", "address": "10.9.0.1"} in node["status"]["addresses"]
    first.conflist.unlink()
    eventually(partial(waits_for_network, site.kube, NODES[0]), "without a conflist it is not ready")
    assert node_ready(site.kube, NODES[1])
    site.connect()


def test_pods_of_a_daemonset_run_and_answer_each_other(site: Site) -> None:
    """A pod on each node has an address out of its node's range, and its name comes back to the other's pod."""
    site.connect()
    pods = site.pods()
    assert {node: pod.addresses[0].rpartition(".")[0] for node, pod in pods.items()} == {
        NODES[0]: "10.8.1",
        NODES[1]: "10.8.2",
    }
    first, second = (pods[node] for node in NODES)
    eventually(lambda: site.hears(first, second), f"{second} answers")
    eventually(lambda: site.hears(second, first), f"{first} answers")


def test_the_address_of_a_deleted_pod_is_free_again(site: Site) -> None:
    """Deleting a pod frees its address; its successor gets another, and other nodes' leases stay."""
    site.connect()
    first, second = (site.machines[node] for node in NODES)
    gone = site.pods()[NODES[0]]
    before = leases(second)
    site.kube.request("DELETE", f"/api/v1/namespaces/default/pods/{gone.name}")
    eventually(lambda: gone.addresses[0] not in leases(first), "the address is free")
    successor = site.pods()[NODES[0]]
    assert successor.name != gone.name
    assert leases(first) == set(successor.addresses)
    assert leases(second) == before


def test_pods_come_back_after_a_power_failure(site: Site) -> None:
    """After SIGKILL of everything the kubelet runs the same pods again from its disk."""
    site.connect()
    before, other = (site.pods()[node] for node in NODES)
    first = site.machines[NODES[0]]
    pids = first.kubelet.pids
    first.kubelet.kill()
    assert not alive(pids)
    first.kubelet.start()
    wait_until_serving(first.kubelet)

    def restarted() -> bool:
        # The API has the pod as running, at its old address, until the kubelet says otherwise.
        after = running(site.kube, "web").get(NODES[0])
        return after is not None and after.name == before.name and site.hears(other, after)

    eventually(restarted, "the pod answers again")
    eventually(lambda: len(leases(first)) == 1, "the lease of the former one is free")


def test_kubelets_go_on_after_an_outage_of_the_api(site: Site) -> None:
    """After an outage of the API server nodes and pods are as before, and new pods start."""
    site.connect()
    first, second = (site.pods()[node] for node in NODES)
    site.kube.stop_server()
    try:
        assert site.hears(first, second)
        assert site.hears(second, first)
    finally:
        site.kube.start_server()
    site.kube.delete("pods", second.name, "default")
    eventually(lambda: running(site.kube, "web").get(NODES[1], second) != second, "a new pod runs")


def test_nothing_is_left_of_a_stopped_host(site: Site) -> None:
    """Processes, pods' network namespaces, mounts and cgroups are gone, and the kernel's settings are as before."""
    site.connect()
    site.pods()
    first = site.machines[NODES[0]]
    kubelet = first.kubelet
    mounts = Path("/proc/self/mounts").read_text()
    before, pids = settings(), kubelet.pids
    assert "veth" in first.namespace.run("ip", "-o", "link", "show", "master", "cbr0")
    kubelet.stop()
    assert not alive(pids)
    assert not [path for path in cgroups() if path.name == kubelet.namespace]
    assert str(kubelet.folder) not in mounts
    # A pod's end of its veth is in the pod's namespace: both ends go with that.
    eventually(lambda: not first.namespace.run("ip", "-o", "link", "show", "master", "cbr0"), "the pods' devices go")
    kubelet.start()
    wait_until_serving(kubelet)
    assert settings() == before


CRASHING = """
import sys, time
from pathlib import Path
from cloudroute.lab.hosts.image_store import ImageStore
from cloudroute.lab.hosts.kubelet import KubeletHost
namespace, kubeconfig, folder, cni, store, *images = sys.argv[1:]
store = ImageStore(Path(store), map(Path, images))
host = KubeletHost(namespace, "node-1", ["127.0.0.1"], "", Path(kubeconfig), Path(folder), Path(cni), store)
host.start()
while not host.ready:
    time.sleep(0.05)
print(*host.pids, flush=True)
sys.stdin.read()
"""


def test_a_host_ends_with_the_process_that_started_it(images: list[Path], tmp_path: Path) -> None:
    """SIGKILL of the lab ends its hosts; sweeping by prefix removes what it could not, and nothing of others."""
    namespace = Namespace(f"{PREFIX}crash")
    namespace.create()
    kubeconfig = write_kubeconfig("https://127.0.0.1:1", "token", None, "node", tmp_path / "kubeconfig")
    words = [namespace.name, kubeconfig, tmp_path / "host", tmp_path / "cni", tmp_path / "store", *images]
    command = [sys.executable, "-c", CRASHING, *map(str, words)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as lab:
        assert lab.stdout
        pids = tuple(map(int, lab.stdout.readline().split()))
        lab.send_signal(signal.SIGKILL)
    try:
        eventually(lambda: not alive(pids), "its processes are gone")
        assert [path.name for path in cgroups() if path.name == namespace.name]
        assert sweep(namespace.name) == [namespace.name]
        assert not [path for path in cgroups() if path.name == namespace.name]
        assert not (tmp_path / "host").exists()
        assert kubeconfig.exists()
        assert sweep(namespace.name) == []
    finally:
        namespace.delete()


def test_sweeping_ends_hosts_that_still_run(images: list[Path], tmp_path: Path) -> None:
    """Somebody else's hosts are swept while they run: all of them is gone, and their lab is told."""
    namespace = Namespace(f"{PREFIX}sweep")
    namespace.create()
    kubeconfig = write_kubeconfig("https://127.0.0.1:1", "token", None, "node", tmp_path / "kubeconfig")
    store = ImageStore(tmp_path / "images", images)
    host = KubeletHost(
        namespace.name, "node-1", ["127.0.0.1"], "", kubeconfig, tmp_path / "host", tmp_path / "cni", store
    )
    try:
        host.start()
        wait_until_serving(host)
        pids = host.pids
        assert sweep(f"{PREFIX}sw") == [namespace.name]
        eventually(lambda: not alive(pids[1:]), "the killed ones have ended")
        assert not [path for path in cgroups() if path.name == namespace.name]
        with pytest.raises(CloudrouteError, match="the kubelet of node-1 ended"):
            eventually(lambda: host.ready and False, "it is told", 10)
    finally:
        host.stop()
        namespace.delete()


def test_a_kubelet_that_can_not_start_says_why(images: list[Path], tmp_path: Path) -> None:
    """The error contains the end of the kubelet's log."""
    namespace = Namespace(f"{PREFIX}bad")
    namespace.create()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("no kubeconfig\n")
    store = ImageStore(tmp_path / "images", images)
    host = KubeletHost(
        namespace.name, "node-1", ["127.0.0.1"], "", kubeconfig, tmp_path / "host", tmp_path / "cni", store
    )
    try:
        host.start()
        with pytest.raises(CloudrouteError, match=r"(?s)the kubelet of node-1 ended.*kubeconfig"):
            eventually(lambda: host.ready, "it is told", 20)
    finally:
        host.stop()
        namespace.delete()
    assert not [path for path in cgroups() if path.name == namespace.name]


def test_sweeping_needs_a_prefix() -> None:
    """Sweeping without a prefix is refused: it would remove the hosts of every lab."""
    with pytest.raises(CloudrouteError, match="needs a prefix"):
        sweep("")

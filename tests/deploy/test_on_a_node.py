"""The image by the chart on a real kubelet: a node that waits for its network gets it from an agent without privileges.

The tests go on where the one before ended, as the life of a node does.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cloudroute.lab.aws import ROOT_KEY, Aws
from cloudroute.lab.hosts import cgroups
from cloudroute.lab.hosts.images import make_images
from cloudroute.lab.hosts.kubelet import missing
from cloudroute.lab.hosts.kubelet_config import CNI_BIN
from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.hosts.relay import Relay
from cloudroute.lab.hosts.workload import daemonset, node_ready, running
from cloudroute.lab.kube.real import RealKubeApi
from tests.contract.test_crds import ROUTE
from tests.deploy.conftest import CHART, Run
from tests.lab.hosts.test_kubelet import PREFIX, Machine, machine, wait_until_serving
from tests.required import lacking
from tests.waiting import eventually

NODE = "node-1"
SPACE = "cloudroute"
NET_ADMIN = 1 << 12
MIB = 1 << 20
SERVICE = "10.96.0.1"
"""Address of the API server's Service, as pods know it."""


class Site(NamedTuple):
    """A cluster of one node on which the chart is installed. `helm` answers some words about that namespace."""

    kube: RealKubeApi
    kubeconfig: Path
    node: Machine
    helm: Callable[..., Any]

    def sysctl(self, path: str) -> str:
        """Of the node."""
        return self.node.namespace.run("cat", f"/proc/sys/{path}").strip()

    def process(self, command: str) -> Path:
        """The folder in /proc of the one process that runs `cloudroute COMMAND` in a pod."""
        found = []
        for pid in self.node.kubelet.pids:
            with contextlib.suppress(OSError):  # one of others that has ended meanwhile
                if f"cloudroute\0{command}\0" in Path(f"/proc/{pid}/cmdline").read_text():
                    found.append(Path(f"/proc/{pid}"))
        (one,) = found
        return one

    def upgrade(self, *changes: str) -> Any:
        """Helm's answer to an upgrade to the values so far, and these."""
        words = [word for change in changes for word in ("--set", change)]
        answer = self.helm("upgrade", "cloudroute", str(CHART), "--reuse-values", *words)
        assert answer.returncode == 0, answer.stderr
        return answer

    def controllers(self) -> dict[str, set[str]]:
        """The names of the controller's pods that are not on their way out, by phase."""
        found: dict[str, set[str]] = {}
        for pod in self.kube.list("pods", SPACE):
            ours = pod["metadata"]["labels"].get("app.kubernetes.io/component") == "controller"
            if ours and "deletionTimestamp" not in pod["metadata"]:
                found.setdefault(pod["status"]["phase"], set()).add(pod["metadata"]["name"])
        return found

    def deployment(self) -> Any:
        """The status of the controller's Deployment."""
        return self.kube.get("deployments", "cloudroute-controller", SPACE)["status"]

    def rolled(self, plural: str, name: str) -> bool:
        """Whether the pods of a workload with one pod are all of its newest generation, and ready."""
        workload = self.kube.get(plural, name, SPACE)
        status = workload["status"]
        newest: bool = status.get("observedGeneration") == workload["metadata"]["generation"]
        updated = status.get("updatedNumberScheduled", status.get("updatedReplicas"))
        ready = status.get("numberReady", status.get("readyReplicas"))
        return newest and updated == ready == status.get("currentNumberScheduled", status.get("replicas")) == 1

    def status(self) -> Any:
        """The status that the node's agent has written."""
        return self.kube.get("noderoutes", NODE).get("status", {})

    def test_log(self) -> str:
        """The log of the pod of `helm test`."""
        uid = self.kube.get("pods", "cloudroute-test", SPACE)["metadata"]["uid"]
        folder = self.node.kubelet.folder / "log" / "pods" / f"{SPACE}_cloudroute-test_{uid}"
        return (folder / "test" / "0.log").read_text()


@pytest.fixture(scope="module")
def ec2() -> Iterator[tuple[str, str]]:
    """The URL of an EC2 API, and the id of a VPC in it."""
    aws = Aws()
    with aws.serve() as server:
        yield server.url, aws.scene.vpc(zones=1).id


@pytest.fixture(scope="module")
def node(
    image: Path, ec2: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RealKubeApi, Machine]]:
    """A cluster of one node whose container runtime has the image, and no network yet."""
    if problems := missing():
        lacking("kubelet", *problems)
    folder = Path(tempfile.mkdtemp(dir="/run", prefix=PREFIX))  # hosts have a /run of their own
    kube = RealKubeApi(control_plane=True)
    kube.add_user(f"system:node:{NODE}")
    port = int(kube.url.rpartition(":")[2])
    relays = Relay(port), Relay(int(ec2[0].rpartition(":")[2]))
    switch = Namespace(f"{PREFIX}deploy")
    one: Machine | None = None
    try:
        kube.start()
        switch.create()
        switch.batch(["link add br0 type bridge", "link set br0 up"])
        images = [*make_images(tmp_path_factory.mktemp("images")), image]
        one = machine(kube, relays[0], switch, folder, 1, NODE, images)
        relays[1].add(one.namespace)
        serve_the_api(one.namespace, port)
        # As distributions ship them.
        one.namespace.sysctl({"net/ipv4/ip_forward": "0", "net/ipv4/conf/eth0/rp_filter": "1"})
        one.kubelet.start()
        wait_until_serving(one.kubelet)
        yield kube, one
    finally:
        if one:
            one.kubelet.stop()
            one.namespace.delete()
        for relay in relays:
            relay.close()
        switch.delete()
        kube.close()
        shutil.rmtree(folder)


def serve_the_api(host: Namespace, port: int) -> None:
    """Do as a kube-proxy would: the Service of the API server leads to it, from the node and from its pods."""
    host.batch([f"address add {SERVICE}/32 dev lo"])
    host.sysctl({"net/ipv4/conf/all/route_localnet": "1"})
    rule = f"ip daddr {SERVICE} tcp dport 443 dnat to 127.0.0.1:{port};"
    chains = [f"chain {hook} {{ type nat hook {hook} priority -100; {rule} }}\n" for hook in ("prerouting", "output")]
    host.run("nft", "-f", "-", stdin=f"table ip services {{\n{''.join(chains)}}}\n")


def values(one: Machine, url: str, vpc: str) -> dict[str, Any]:
    """The lab has an AWS of its own, and its own folders. There is no node yet for the controller."""
    env = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": ROOT_KEY, "AWS_SECRET_ACCESS_KEY": "any"}
    return {
        "settings": {"cluster-cidr": ["10.8.0.0/16"]},
        "image": {"pullPolicy": "Never"},
        "controller": {
            "nodeSelector": {"kubernetes.io/hostname": "elsewhere"},
            "settings": {"region": "eu-central-1", "vpc-id": vpc},
            "env": [{"name": name, "value": value} for name, value in env.items()],
        },
        "agent": {
            "cniBinDir": str(CNI_BIN),
            "settings": {"cni-conf-dir": str(one.conflist.parent), "interface": "eth0"},
        },
    }


def route(number: int) -> dict[str, Any]:
    """The NodeRoute of a node."""
    spec = {**ROUTE, "podCIDRs": [f"10.8.{number}.0/24"], "nodeIPs": [f"10.9.0.{number}"]}
    head = {"apiVersion": "cloudroute.io/v1alpha1", "kind": "NodeRoute", "metadata": {"name": f"node-{number}"}}
    return {**head, "spec": spec}


@pytest.fixture(scope="module")
def site(
    node: tuple[RealKubeApi, Machine], ec2: tuple[str, str], helm: Run, tmp_path_factory: pytest.TempPathFactory
) -> Site:
    """The chart is installed, and the node has a NodeRoute."""
    kube, one = node
    folder = tmp_path_factory.mktemp("site")
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values(one, *ec2)))
    kubeconfig = kube.kubeconfig(folder / "kubeconfig")

    def does(*words: str) -> Any:
        return helm(*words, "--namespace", SPACE, kubeconfig=kubeconfig)

    answer = does("install", "cloudroute", str(CHART), "--create-namespace", "--values", str(file))
    assert answer.returncode == 0, answer.stderr
    kube.create(route(1))
    return Site(kube, kubeconfig, one, does)


def test_a_node_gets_its_network(site: Site) -> None:
    """The agent's pod starts on a node that is not ready; its token may write the status; then pods get addresses."""
    eventually(lambda: site.status().get("ready"), "the agent says that all is in place")
    eventually(lambda: node_ready(site.kube, NODE), "the node is ready")
    site.kube.create(daemonset("web"))
    pods = eventually(lambda: running(site.kube, "web"), "a pod runs")
    assert pods[NODE].addresses[0].startswith("10.8.1.")


def test_the_agent_has_no_privileges(site: Site) -> None:
    """Its one capability is NET_ADMIN, it can gain none, its system calls are filtered, its /proc/sys is read-only."""
    agent = site.process("agent")
    said = dict(line.split(":\t") for line in (agent / "status").read_text().splitlines() if ":\t" in line)
    for which in ("CapEff", "CapPrm", "CapBnd"):
        assert int(said[which], 16) == NET_ADMIN, which
    assert (said["NoNewPrivs"], said["Seccomp"], said["Uid"].split()[0]) == ("1", "2", "0")
    mounts = {line.split()[4]: line.split()[5].split(",") for line in (agent / "mountinfo").read_text().splitlines()}
    assert {path for path in ("/", "/proc/sys", "/host/proc/sys/net") if "ro" in mounts[path]} == {"/", "/proc/sys"}


def test_it_does_all_of_its_work_so(site: Site) -> None:
    """Settings, devices, a peer's entries and the nftables table; what somebody else changes it sets again."""
    site.kube.create(route(3))
    host = site.node.namespace
    eventually(lambda: host.run("ip", "route", "show", "10.8.3.0/24"), "there is a route to the peer")
    eventually(lambda: "dst 10.9.0.3" in host.run("bridge", "fdb", "show", "dev", "cr0"), "there is an FDB entry")
    assert "mtu 1450" in host.run("ip", "link", "show", "type", "veth")
    assert "masquerade" in host.run("nft", "list", "table", "inet", "cloudroute")
    assert site.sysctl("net/ipv4/ip_forward") == "1"
    for device in ("eth0", "cr0"):
        assert site.sysctl(f"net/ipv4/conf/{device}/rp_filter") == "2"
    host.sysctl({"net/ipv4/ip_forward": "0", "net/ipv4/conf/cr0/rp_filter": "1"})
    eventually(lambda: site.sysctl("net/ipv4/ip_forward") == "1", "forwarding is on again")
    eventually(lambda: site.sysctl("net/ipv4/conf/cr0/rp_filter") == "2", "the filter is loose again")
    eventually(lambda: site.status()["ready"], "the agent says that all is in place")
    site.kube.delete("noderoutes", "node-3")


def test_helm_test_passes_where_all_is_well(site: Site) -> None:
    """Its pod comes from the network of pods to the API server, and finds every node in order."""
    answer = site.helm("test", "cloudroute")
    assert answer.returncode == 0, answer.stderr
    assert f"{NODE} native ok" in site.test_log()


def test_helm_test_fails_where_one_thing_is_wrong(site: Site) -> None:
    """The node's address is not what its NodeRoute says: the exit code tells, and the pod's log which node and why."""
    site.kube.patch("noderoutes", NODE, {"spec": {"nodeIPs": ["10.9.0.9"]}})
    eventually(lambda: site.status()["ready"] is False, "the agent says that something is wrong")
    answer = site.helm("test", "cloudroute")
    assert answer.returncode == 1
    said = site.test_log()
    assert f"{NODE} native {site.status()['message']}" in said
    assert "10.9.0.9" in said
    assert "1 of 1 nodes are not ready" in said
    site.kube.patch("noderoutes", NODE, {"spec": {"nodeIPs": ["10.9.0.1"]}})
    eventually(lambda: site.status()["ready"], "all is in place again")


def test_a_new_agent_takes_over(site: Site) -> None:
    """An upgrade replaces the agent: what it is to change changes, and the pods' network stays."""
    pods = running(site.kube, "web")
    site.upgrade("agent.settings.vni=2")
    eventually(lambda: site.rolled("daemonsets", "cloudroute-agent"), "the new agent is ready")
    assert "vxlan id 2 " in site.node.namespace.run("ip", "-d", "link", "show", "cr0")
    assert site.node.conflist.parent.joinpath("10-cloudroute.conflist").exists()
    assert running(site.kube, "web") == pods


def test_the_only_node_has_room_for_one_controller(site: Site) -> None:
    """Of the two replicas the second waits and the first works; Helm says what to set."""
    answer = site.upgrade(rf"controller.nodeSelector.kubernetes\.io/hostname={NODE}")
    assert "The cluster has one node, which has room for one controller" in answer.stdout
    eventually(lambda: site.controllers().get("Running"), "a controller runs")

    def one_waits() -> bool:
        now = site.deployment()
        return (now.get("readyReplicas"), now.get("updatedReplicas")) == (1, 2)

    eventually(one_waits, "it is ready, and both are of the newest generation")
    assert {phase: len(pods) for phase, pods in site.controllers().items()} == {"Running": 1, "Pending": 1}


def test_with_one_replica_the_only_node_is_upgraded_and_drained(site: Site, kubectl: str) -> None:
    """An upgrade replaces the controller, and a drain evicts it: no budget and no spread is in the way."""
    answer = site.upgrade("controller.replicas=1", "controller.settings.resync-seconds=90")
    assert "The cluster has one node" not in answer.stdout
    eventually(lambda: site.rolled("deployments", "cloudroute-controller"), "the new controller is ready")
    assert b"--resync-seconds=90" in (site.process("controller") / "cmdline").read_bytes()

    def does(*words: str) -> None:
        command = [kubectl, "--kubeconfig", str(site.kubeconfig), *words, NODE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    before = site.controllers()["Running"]
    does("drain", "--ignore-daemonsets", "--timeout=60s")
    assert site.controllers().keys() == {"Pending"}
    does("uncordon")
    eventually(lambda: site.rolled("deployments", "cloudroute-controller"), "a controller is ready again")
    assert site.controllers()["Running"] != before


@pytest.mark.parametrize(
    ("command", "plural", "request_"), [("agent", "daemonsets", 64), ("controller", "deployments", 128)]
)
def test_memory_is_below_its_request(site: Site, command: str, plural: str, request_: int) -> None:
    """At its highest, as the container's cgroup has counted: the request is what the scheduler keeps free."""
    (container,) = site.kube.get(plural, f"cloudroute-{command}", SPACE)["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["memory"] == f"{request_}Mi"
    assert 20 * MIB < peak(site.process(command)) < request_ * MIB


def peak(process: Path) -> int:
    """The most bytes that the container of a process has held."""
    for line in (process / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for hierarchy, name in (("", "memory.peak"), ("memory", "memory.max_usage_in_bytes")):
            file = cgroups.ROOT / hierarchy / path.lstrip("/") / name
            if controllers.split(",") == hierarchy.split(",") and file.exists():
                return int(file.read_text())
    raise AssertionError(f"the memory of {process} is not counted")

"""From flannel to cloudroute by the commands of docs/moving/flannel.md."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.nodes import condition
from cloudroute.lab.hosts.traffic_echo import Echo, reach
from cloudroute.lab.kube.real import RealKubeApi
from tests.moving import flannel, guide
from tests.packets.labs import new_lab, no_loss, settle

PAGE = "flannel"
WRITES = {"CreateRoute": 4, "ModifyNetworkInterfaceAttribute": 2}
"""Two nodes in two tables, and their source/dest checks."""


@pytest.fixture
def lab(parts: None) -> Iterator[HostLab]:
    """Two hosts in two zones with flannel and a pod each; nothing of cloudroute runs."""
    with new_lab("leave", zones=2, ipv6=False, pools=[flannel.POOL], agents=False, agent_flags={"--vni": "2"}) as lab:
        lab.kill_controller()
        hosts = [*lab.join(0), *lab.join(1)]
        flannel.install(lab, hosts)
        for host in hosts:
            host.add_pod("old")
        yield lab


def test_the_whole_move_loses_no_packet_and_leaves_nothing_of_flannel(lab: HostLab) -> None:
    """Nothing of flannel is touched; new pods are ours, beside old ones; then the routes are, and the rest goes."""
    hosts = list(lab.hosts.values())
    before = {host.name: flannel.shown(host) for host in hosts}
    cidrs = pod_cidrs(lab)
    lab.aws.reset_calls()

    with no_loss(hosts):  # 1. beside it
        lab.start_controller()
        for host in hosts:
            host.start_agent()
        lab.wait(lambda: reasons(lab) == ["AddressesInUse"] * 2, "the agents to say whose pods are there")
    assert {host.name: flannel.shown(host) for host in hosts} == before
    assert all(file.name == "10-flannel.conflist" for host in hosts for file in host.conf_dir.iterdir())
    assert pod_cidrs(lab) == cidrs
    lab.wait(lambda: networked(lab) == ["False"] * 2, "the controller to say that all routes are there")
    assert {action: count for (action, _), count in lab.aws.calls.items() if action in WRITES} == WRITES

    for host in hosts:  # 2. the pods: new ones beside those on the bridge
        with no_loss(hosts):
            guide.run(host, guide.script(PAGE, "2. The pods, node by node"))
            conflist = host.conf_dir / "10-cloudroute.conflist"
            lab.wait(conflist.exists, "the agent to see that the leases are linked")
            host.add_pod("new")
            reach_each_other(hosts)
        assert host.pods["new"].addresses != host.pods["old"].addresses

    with no_loss(hosts):  # 3. the routes
        for host in hosts:
            guide.run(host, guide.script(PAGE, "3. Loosen the reverse path filter"))
        for host in hosts:
            guide.run(host, guide.script(PAGE, "4. The routes"))
        lab.wait(lambda: reasons(lab) == ["Ready"] * 2, "the agents to put their own routes")
        reach_each_other(hosts)
    for host in hosts:  # 4. the rest, once the old pods have been replaced
        host.remove_pod(host.pods["old"])
    with no_loss(hosts):
        for host in hosts:
            guide.run(host, guide.script(PAGE, "5. Clean up the nodes"))
        settle(lab)
    assert [flannel.remains(host) for host in hosts] == ["", ""]
    assert pod_cidrs(lab) == cidrs
    assert {len(route["spec"]["nativeIn"]) for route in lab.node_routes()} == {2}
    reach_each_other(hosts)


@pytest.mark.parametrize(("subnet", "cidr"), [("10.244.7.1/24", "10.244.7.0/24"), ("10.244.7.65/26", "10.244.7.64/26")])
def test_a_lease_of_etcd_becomes_the_nodes_pod_cidr(
    real_kube: RealKubeApi, kubectl: str, tmp_path: Path, subnet: str, cidr: str
) -> None:
    """The guide's command, run by kubectl against a real API server."""
    name = f"moving-{cidr.replace('/', '-')}"
    (tmp_path / "subnet.env").write_text(flannel.subnet_env(subnet))
    real_kube.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    commands = guide.script(PAGE, "Leases in etcd").replace("/run/flannel", str(tmp_path)).replace("$(hostname)", name)
    paths = {"PATH": f"{Path(kubectl).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}  # kubectl's cache goes there
    environment = {**paths, "KUBECONFIG": str(real_kube.kubeconfig())}
    subprocess.run(["sh", "-ec", commands], env=environment, check=True, capture_output=True)
    assert real_kube.get("nodes", name)["spec"]["podCIDRs"] == [cidr]
    real_kube.delete("nodes", name)


def reasons(lab: HostLab) -> list[str]:
    """Reasons in the agents' reports."""
    return [route.get("status", {}).get("reason", "") for route in lab.node_routes()]


def networked(lab: HostLab) -> list[str]:
    """Status of each Node's condition NetworkUnavailable, as the controller has set it."""
    return [condition(node, "NetworkUnavailable") for node in lab.kube.list("nodes")]


def pod_cidrs(lab: HostLab) -> dict[str, list[str]]:
    """Of all Nodes."""
    return {node["metadata"]["name"]: node["spec"]["podCIDRs"] for node in lab.kube.list("nodes")}


def reach_each_other(hosts: list[LabHost]) -> None:
    """The pods of all hosts do, by TCP."""
    pods = [pod for host in hosts for pod in host.pods.values()]
    with Echo([pod.namespace.name for pod in pods]):
        for pod in pods:
            assert all(reach(pod.namespace.name, to.addresses[0], "tcp").ok for to in pods)

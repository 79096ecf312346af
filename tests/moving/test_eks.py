"""From the Amazon VPC CNI: what it leaves on a node, and where it runs, by docs/moving/eks-without-aws-node.md."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudroute.lab.hosts.cni import find_conflist
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.traffic_echo import Echo, reach
from cloudroute.lab.kube.real import RealKubeApi
from tests.moving import aws_node, guide
from tests.packets.labs import first_pod, new_lab, settle, wait_for_agents

PAGE = "eks-without-aws-node"


@pytest.fixture
def lab(parts: None) -> Iterator[HostLab]:
    """Two nodes on which aws-node ran, and cloudroute's agents on them."""
    with new_lab("eks", zones=2, ipv6=False, agents=False, real_kube=False) as lab:
        for host in [*lab.join(0), *lab.join(1)]:
            aws_node.install(host)
            host.start_agent()
        wait_for_agents(lab)
        settle(lab)
        yield lab


def test_a_node_that_is_cleaned_and_not_replaced(lab: HostLab) -> None:
    """Its conflist comes before ours, and its SNAT hides the sender behind a node: until the page's block has run."""
    one, other = lab.hosts.values()
    for host in (one, other):
        first = find_conflist(host.conf_dir)
        assert first is not None
        assert first.name == aws_node.CONFLIST
        assert aws_node.CONFLIST in host.agent_log.read_text()
        first.unlink()
        host.add_pod("a")
    source, target = first_pod(one), first_pod(other)
    with Echo([target.namespace.name]):
        assert reach(source.namespace.name, target.addresses[0]).seen_address == other.addresses[0]
        for host in (one, other):
            aws_node_file = host.conf_dir / aws_node.CONFLIST
            aws_node_file.touch()
            guide.run(host, guide.script(PAGE, "Nodes that can't be replaced"))
        assert [aws_node.remains(host) for host in (one, other)] == ["", ""]
        assert reach(source.namespace.name, target.addresses[0]).seen_address == source.addresses[0]


def test_aws_node_keeps_off_the_new_nodes(real_kube: RealKubeApi, kubectl: str, tmp_path: Path) -> None:
    """The page's patch adds a condition to those that the DaemonSet has, by kubectl against a real API server."""
    real_kube.create(aws_node.DAEMON_SET)
    try:
        command = guide.script(PAGE, "2. aws-node stays on the old nodes").replace("kubectl", kubectl, 1)
        environment = {"KUBECONFIG": str(real_kube.kubeconfig()), "HOME": str(tmp_path)}  # it keeps a cache there
        subprocess.run(["sh", "-ec", command], env=environment, check=True, capture_output=True)
        spec = real_kube.get("daemonsets", "aws-node", "kube-system")["spec"]["template"]["spec"]
        required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        ((os, moved),) = [term["matchExpressions"] for term in required["nodeSelectorTerms"]]
        assert os["key"] == "kubernetes.io/os"
        assert moved == {"key": "cloudroute.io/moved", "operator": "DoesNotExist"}
    finally:
        real_kube.delete("daemonsets", "aws-node", "kube-system")

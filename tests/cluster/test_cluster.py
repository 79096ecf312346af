"""All of it together, as it is deployed: Terraform, nodes that wait for a network, the chart, upgrades, replacements.

Each test leaves the cluster as it found it.
"""

from __future__ import annotations

import pytest
import urllib3
from urllib3.exceptions import InsecureRequestWarning

from cloudroute.lab.hosts import coredns
from cloudroute.lab.hosts.program import INTERNET_ADDRESSES
from cloudroute.lab.hosts.workload import daemonset, running
from tests.cluster.fleet import Fleet
from tests.cluster.release import SPACE, Release
from tests.packets.labs import OWN_ENTRIES, everybody_reaches_everybody, kinds, no_loss
from tests.waiting import eventually

ROOMY = "50"
FLOW_MS = 10.0
"""Between two packets of a flow: six nodes have 60 of them, so six packets set out in each millisecond."""


def wanted_routes(fleet: Fleet) -> dict[str, dict[str, str]]:
    """Each pod CIDR to its node's ENI, in each table; a node that has gone has its NodeRoute for a while."""
    routes = {
        cidr: fleet.hosts[route["metadata"]["name"]].machine.interface_id
        for route in fleet.node_routes()
        if route["metadata"]["name"] in fleet.hosts
        for cidr in route["spec"]["podCIDRs"]
    }
    return dict.fromkeys(fleet.applied["route_table_ids"].values(), routes)


def test_nodes_that_waited_for_a_network_have_one(fleet: Fleet, release: Release) -> None:
    """Everything is routed natively, in both families, in each zone's table."""
    wanted = wanted_routes(fleet)
    assert all(len(routes) == 2 * len(fleet.hosts) for routes in wanted.values())
    assert fleet.routes() == wanted
    everybody_reaches_everybody(fleet, fleet.diagnosis)
    assert "failed" not in release.cloudroute("doctor")


def check_exec(fleet: Fleet, release: Release) -> None:
    """A command in a pod of each node gets its stdin, and its output comes back."""
    for pod in running(fleet.kube, "web").values():
        assert release.kubectl("exec", "-i", pod.name, "--", "/bin/busybox", "cat", stdin="a\nb\n") == "a\nb\n"


def test_the_api_server_reaches_kubelets_and_native_pods(fleet: Fleet, release: Release) -> None:
    """From its interface in the VPC: by exec and logs at a node's address, by its proxy at a pod's own."""
    check_exec(fleet, release)
    for pod in running(fleet.kube, "web").values():
        assert release.kubectl("logs", pod.name) == ""
        said = release.kubectl("get", "--raw", f"/api/v1/namespaces/default/pods/{pod.name}:80/proxy/hostname")
        assert said.strip() == pod.name


def test_a_kubelet_serves_nobody_without_a_name(fleet: Fleet, release: Release) -> None:
    (host, *_) = fleet.hosts.values()
    with host.namespace.inside(), urllib3.PoolManager(cert_reqs="NONE") as http, pytest.warns(InsecureRequestWarning):
        assert http.request("GET", f"https://{host.addresses[0]}:10250/pods", retries=False).status == 401


def test_pods_resolve_names_of_the_cluster_and_of_the_world(fleet: Fleet, release: Release) -> None:
    """By the cluster's DNS; a name outside is the Resolver's, which is asked with nodes' addresses."""
    asking = daemonset("asking")
    asking["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
    fleet.kube.create(asking)
    eventually(lambda: len(running(fleet.kube, "asking")) == len(fleet.hosts), "a pod runs on every node")
    for pod in running(fleet.kube, "asking").values():
        for name, addresses in {
            "kubernetes.default.svc.cluster.local": ["10.96.0.1"],
            "kube-dns.kube-system.svc.cluster.local": list(coredns.ADDRESSES),
            "checkip.amazonaws.com": list(INTERNET_ADDRESSES),
        }.items():
            said = release.kubectl("exec", pod.name, "--", "/bin/busybox", "nslookup", name)
            assert all(f"Address: {address}\n" in said for address in addresses), f"{pod.node}: {said}"
    release.kubectl("delete", "daemonset", "asking", "--namespace=default", "--cascade=foreground")


def test_an_upgrade_that_moves_nodes_to_other_paths_loses_no_packet(fleet: Fleet, release: Release) -> None:
    with no_loss(fleet.hosts.values(), FLOW_MS):
        release.upgrade(f"controller.settings.route-limit={OWN_ENTRIES + 1}")
        eventually(lambda: {"direct", "overlay"} <= kinds(fleet), "the limit bites", 90)
        eventually(lambda: release.rolled() and fleet.settled(), "all is in place", 90)
        eventually(lambda: all(len(routes) == 2 for routes in fleet.routes().values()), "the routes are gone", 90)
        everybody_reaches_everybody(fleet, fleet.diagnosis)
        check_exec(fleet, release)
        release.upgrade(f"controller.settings.route-limit={ROOMY}")
        eventually(lambda: kinds(fleet) == {"native"}, "all are native again", 90)
        eventually(lambda: release.rolled() and fleet.settled(), "all is in place", 90)


def test_new_pods_of_everything_lose_no_packet(fleet: Fleet, release: Release) -> None:
    before = {pod["metadata"]["name"] for kind in ("agent", "controller") for pod in release.pods(kind)}
    writes = fleet.writes()
    with no_loss(fleet.hosts.values(), FLOW_MS):
        release.kubectl("rollout", "restart", "--namespace", SPACE, "daemonset,deployment")
        eventually(release.rolled, "all pods are new", 240)
        eventually(fleet.settled, "all is in place", 60)
    after = {pod["metadata"]["name"] for kind in ("agent", "controller") for pod in release.pods(kind)}
    assert not before & after
    assert fleet.writes() == writes


def test_the_leaders_pod_is_deleted(fleet: Fleet, release: Release) -> None:
    """Another leads, and what the first has built stays as it is."""
    leader = release.leader()
    writes = fleet.writes()
    with no_loss(fleet.hosts.values(), FLOW_MS):
        release.kubectl("delete", "pod", "--namespace", SPACE, leader)
        eventually(lambda: release.leader() not in ("", leader), "another one leads", 60)
        eventually(release.rolled, "there are two again", 90)
    assert fleet.writes() == writes
    assert fleet.routes() == wanted_routes(fleet)


def test_a_node_is_drained_and_replaced(fleet: Fleet, release: Release) -> None:
    """The one that leads: its pod goes elsewhere, its routes go, those of the new node come, nobody else is harmed."""
    (leader,) = [pod for pod in release.pods("controller") if pod["metadata"]["name"] == release.leader()]
    name = leader["spec"]["nodeName"]
    gone = fleet.hosts[name]
    stayers = [host for host in fleet.hosts.values() if host is not gone]
    with no_loss(stayers, FLOW_MS):
        release.kubectl("drain", name, "--ignore-daemonsets", "--timeout=90s")
        instance = next(key for key, node in fleet.applied["nodes"].items() if node["instance_id"] == gone.machine.id)
        applied = fleet.account.terraform(
            "apply", "-auto-approve", f'-replace=module.nodes.aws_instance.this["{instance}"]'
        )
        assert "1 added, 0 changed, 1 destroyed" in applied  # no drift in anything else
        fleet.follow()
        (new,) = [host for host in fleet.hosts.values() if host not in stayers]
        eventually(fleet.all_ready, "the new node is ready", 120)
        eventually(lambda: fleet.adopt("web"), "a pod runs on it", 60)
        eventually(lambda: fleet.routes() == wanted_routes(fleet), "its routes are there, and the old ones gone", 60)
        eventually(lambda: release.rolled() and fleet.settled(), "all is in place", 90)
    assert len(fleet.hosts) == len(stayers) + 1
    assert new.machine.id != gone.machine.id
    everybody_reaches_everybody(fleet, fleet.diagnosis)


def test_helm_finds_it_well(release: Release) -> None:
    assert "Succeeded" in release.helm("test", "cloudroute")

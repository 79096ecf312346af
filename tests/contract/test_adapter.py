"""The controller's own client against both APIs: its writes, as users and agents read them.

It runs under the controller's own account: on the real API with no more rights than deploy/rbac/controller.yaml gives.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudroute.adapters.kube import crds
from cloudroute.adapters.kube.client import KubeClient
from cloudroute.adapters.kube.cluster import KubeCluster
from cloudroute.adapters.kube.leases import KubeLeases
from cloudroute.clock import SystemClock
from cloudroute.errors import LostRace
from cloudroute.types import Cidr, Condition, FamilyUse, LeaseRecord, NodeRouteSpec, Notice, RouteTableObject, Subnet
from tests.adapters.kube.conftest import node
from tests.contract.conftest import Api
from tests.waiting import eventually

V4, OTHER_V4, V6 = Cidr.parse("10.1.0.0/24"), Cidr.parse("10.1.1.0/24"), Cidr.parse("fd00:1::/80")
FINE = Condition("False", "RouteCreated", "all is well")


@pytest.fixture
def kubeconfig(kube_api: Api, tmp_path: Path) -> str:
    """A kubeconfig of the controller."""
    return str(kube_api.kubeconfig(tmp_path / "kubeconfig", "controller"))


@pytest.fixture
def cluster(kubeconfig: str) -> Iterator[KubeCluster]:
    """The stores, synced, over pages of two."""
    cluster = KubeCluster(kubeconfig, SystemClock(), list_limit=2)
    crds.check(cluster.transport, cluster.clock)
    cluster.start(lambda: None)
    for store in (cluster.nodes, cluster.node_routes, cluster.route_table_objects):
        assert store.wait_synced(10)
    yield cluster
    cluster.stop()


@pytest.fixture
def client(cluster: KubeCluster) -> KubeClient:
    return KubeClient(cluster.transport, cluster)


def spec(**changes: Any) -> NodeRouteSpec:
    """A NodeRoute in both families."""
    route = NodeRouteSpec(
        (V4, V6),
        ("10.0.0.1", "fd00::1"),
        "i-00000000000000001",
        "eni-00000000000000001",
        "",
        "rtb-00000000000000001",
    )
    return replace(route, **changes)


def test_pages_are_whole_and_the_watch_goes_on(kube_api: Api, kubeconfig: str, cluster: KubeCluster, name: str) -> None:
    """More objects than a page show after the list, and changes by the watch."""
    names = [f"{name}-{number}" for number in range(5)]
    for one in names:
        kube_api.create(node(one))
    eventually(lambda: cluster.nodes.items().keys() >= set(names), "all nodes are known")
    kube_api.patch("nodes", names[0], {"metadata": {"annotations": {"cloudroute.io/priority": "9"}}})
    eventually(lambda: cluster.nodes.items()[names[0]].priority == 9, "the priority is known")
    again = KubeCluster(kubeconfig, SystemClock(), list_limit=2)
    again.start(lambda: None)
    assert again.nodes.wait_synced(10)
    assert again.nodes.items().keys() >= set(names)
    again.stop()
    for one in names:
        kube_api.delete("nodes", one)
    eventually(lambda: not cluster.nodes.items().keys() & set(names), "the deleted nodes are forgotten")


def test_pod_cidrs_are_given_once(kube_api: Api, cluster: KubeCluster, client: KubeClient, name: str) -> None:
    """podCIDR is set along, the store has it at once, and the second of two allocators loses the race."""
    kube_api.create(node(name))
    eventually(lambda: name in cluster.nodes.items(), "the node is known")
    seen = cluster.nodes.items()[name]
    given = client.assign_pod_cidrs(seen, (V4, V6))
    assert given.pod_cidrs == cluster.nodes.items()[name].pod_cidrs == (V4, V6)
    for others in ((OTHER_V4,), (OTHER_V4, V6)):
        with pytest.raises(LostRace):
            client.assign_pod_cidrs(seen, others)
    found = kube_api.get("nodes", name)["spec"]
    assert (found["podCIDR"], found["podCIDRs"]) == (str(V4), [str(V4), str(V6)])
    assert client.assign_pod_cidrs(seen, (V4, V6)).pod_cidrs == (V4, V6), "the same again is no race"


def test_a_second_family_comes_too_late(kube_api: Api, cluster: KubeCluster, client: KubeClient, name: str) -> None:
    """Pod CIDRs can't be extended: a Node registered with one family keeps it, and the write is a lost race."""
    kube_api.create(node(name))
    eventually(lambda: name in cluster.nodes.items(), "the node is known")
    seen = cluster.nodes.items()[name]
    client.assign_pod_cidrs(seen, (V4,))
    with pytest.raises(LostRace):
        client.assign_pod_cidrs(seen, (V4, V6))
    assert kube_api.get("nodes", name)["spec"]["podCIDRs"] == [str(V4)]


def test_a_condition_leaves_the_others_alone(
    kube_api: Api, cluster: KubeCluster, client: KubeClient, name: str
) -> None:
    """NetworkUnavailable is added and replaced beside the kubelet's own conditions."""
    raw = node(name)
    raw["status"]["conditions"] = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ok"}]
    kube_api.create(raw)
    eventually(lambda: name in cluster.nodes.items(), "the node is known")
    seen = client.set_condition(cluster.nodes.items()[name], FINE)
    seen = client.set_condition(seen, Condition("False", "OverlayFallback", "rtb-1 is full"))
    assert (
        seen.condition
        == cluster.nodes.items()[name].condition
        == Condition("False", "OverlayFallback", "rtb-1 is full")
    )
    conditions = {one["type"]: one for one in kube_api.get("nodes", name)["status"]["conditions"]}
    assert conditions["Ready"]["reason"] == "KubeletReady"
    assert conditions["NetworkUnavailable"]["reason"] == "OverlayFallback"
    assert conditions["NetworkUnavailable"]["lastTransitionTime"]


def test_a_write_for_a_predecessor_is_a_lost_race(
    kube_api: Api, cluster: KubeCluster, client: KubeClient, name: str
) -> None:
    """A Node that was registered anew under the same name is not written to."""
    kube_api.create(node(name))
    eventually(lambda: name in cluster.nodes.items(), "the node is known")
    seen = replace(cluster.nodes.items()[name], uid=str(uuid.uuid4()))
    with pytest.raises(LostRace):
        client.assign_pod_cidrs(seen, (V4,))
    with pytest.raises(LostRace):
        client.set_condition(seen, FINE)
    with pytest.raises(LostRace):
        client.set_condition(replace(seen, name=f"{name}-gone"), FINE)
    found = kube_api.get("nodes", name)
    assert not found["spec"].get("podCIDRs")
    assert not any(one["type"] == "NetworkUnavailable" for one in found["status"].get("conditions", ()))


def test_a_node_route_lives_as_its_controller_says(
    kube_api: Api, cluster: KubeCluster, client: KubeClient, name: str
) -> None:
    """Create, update and delete show in the store at once, and leave the agent's status alone."""
    created = client.create_node_route(name, spec())
    assert cluster.node_routes.items()[name] == created
    assert created.spec == spec()
    with pytest.raises(LostRace):
        client.create_node_route(name, spec())
    kube_api.patch_status("noderoutes", name, {"ready": True, "reason": "Synced"})
    with pytest.raises(LostRace):
        client.update_node_route(created, spec(subnet_id="subnet-00000000000000001"))
    eventually(lambda: cluster.node_routes.items()[name].status, "the status is known")
    native = spec(subnet_id="subnet-00000000000000001", native_in=("rtb-00000000000000001", "rtb-00000000000000002"))
    updated = client.update_node_route(cluster.node_routes.items()[name], native)
    assert updated.spec == native
    assert cluster.node_routes.items()[name] == updated
    assert kube_api.get("noderoutes", name)["status"]["ready"] is True
    emptied = client.update_node_route(updated, spec())
    assert emptied.spec == spec(), "lists are replaced, not merged"
    client.delete_node_route(replace(emptied, uid=str(uuid.uuid4())))
    assert kube_api.get("noderoutes", name), "another object of that name was meant"
    client.delete_node_route(emptied)
    client.delete_node_route(emptied)
    assert name not in cluster.node_routes.items()
    assert name not in [one["metadata"]["name"] for one in kube_api.list("noderoutes")]
    again = client.create_node_route(name, spec())
    assert cluster.node_routes.items()[name] == again
    client.delete_node_route(again)


def test_a_route_table_object_is_written_where_it_differs(
    kube_api: Api, cluster: KubeCluster, client: KubeClient
) -> None:
    """Spec and status are read back equal; a learned limit can be removed; an unchanged object is not written."""
    table = f"rtb-{uuid.uuid4().hex[:17]}"
    subnet = Subnet("subnet-00000000000000001", "vpc-00000000000000001", "us-east-1a", (Cidr.parse("10.0.0.0/24"),))
    use = FamilyUse(limit=50, learned_limit=40, used=3, ours=2, foreign=1)
    report = RouteTableObject(table, "", "vpc-00000000000000001", (subnet,), {"ipv4": use, "ipv6": use})
    written = client.write_route_table_object(None, report)
    assert (written.subnets, written.families) == ((subnet,), {"ipv4": use, "ipv6": use})
    assert cluster.route_table_objects.items()[table] == written
    assert client.write_route_table_object(written, report) == written, "the version shows that nothing was written"
    fewer = replace(report, subnets=(), families={"ipv4": replace(use, learned_limit=None, used=0)})
    changed = client.write_route_table_object(written, fewer)
    assert (changed.subnets, changed.families) == (fewer.subnets, fewer.families)
    assert int(changed.version) > int(written.version)
    assert kube_api.get("routetables", table)["status"].get("ipv6") is None
    with pytest.raises(LostRace):
        client.write_route_table_object(written, replace(report, vpc_id="vpc-00000000000000002"))
    client.delete_route_table_object(changed)
    assert table not in cluster.route_table_objects.items()
    assert table not in [one["metadata"]["name"] for one in kube_api.list("routetables")]


def test_a_lease_has_one_writer(kube_api: Api, cluster: KubeCluster) -> None:
    """Create, renew and release work as the lease loop does them; the second writer loses."""
    leases = KubeLeases(cluster.transport, "cloudroute", "cloudroute", 3)
    if leases.read():  # left by another test: the account may use no other name
        kube_api.delete("leases", "cloudroute", "cloudroute")
    assert leases.read() is None
    first = LeaseRecord("a", 15, "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000000Z", 0)
    created = leases.write(first)
    assert replace(created, version="") == first
    with pytest.raises(LostRace):
        leases.write(replace(first, holder="b"))
    renewed = leases.write(replace(created, renew_time="2026-01-01T00:00:02.123456Z"))
    with pytest.raises(LostRace):
        leases.write(replace(created, holder="b"))
    released = leases.write(replace(renewed, holder="", duration_seconds=1))
    assert leases.read() == released
    assert (released.holder, released.renew_time) == ("", "2026-01-01T00:00:02.123456Z")
    kube_api.delete("leases", "cloudroute", "cloudroute")


def test_an_event_reaches_people(kube_api: Api, client: KubeClient, name: str) -> None:
    """It is accepted, regards the object, and can be read in the old API, which kubectl describe uses."""
    client.event(Notice("Node", name, "u1", "OverlayFallback", "rtb-1 is full " + "x" * 2000))
    assert client.events.flush(10)
    events = kube_api.list("events", "default")
    (event,) = [event for event in events if event["involvedObject"].get("name") == name]
    assert (event["type"], event["reason"], event["involvedObject"]["kind"]) == ("Warning", "OverlayFallback", "Node")
    assert event["message"].startswith("rtb-1 is full")


def test_a_pod_is_found_by_both_of_its_addresses(kube_api: Api, client: KubeClient, name: str) -> None:
    """By name, by its first and by its second address."""
    kube_api.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
            "status": {
                "phase": "Running",
                "podIP": "10.99.7.9",
                "podIPs": [{"ip": "10.99.7.9"}, {"ip": "fd00:99::9"}],
            },
        }
    )
    found = client.pod("default", name)
    assert found is not None
    assert (found.node, found.ips, found.host_network) == ("n1", ("10.99.7.9", "fd00:99::9"), False)
    assert client.pod_at("10.99.7.9") == client.pod_at("fd00:99::9") == found
    assert client.pod_at("10.99.7.10") is None
    kube_api.delete("pods", name, "default")


def test_the_range_of_the_services_is_known(client: KubeClient) -> None:
    """By the ServiceCIDRs, or by the address of the Service `kubernetes`, the first of the range."""
    known = client.service_cidrs()
    assert known
    ranges = [Cidr.parse(text) for text in ("10.96.0.0/16", "fd00:96::/112")]
    assert all(any(range_.covers(cidr) for range_ in ranges) for cidr in known)

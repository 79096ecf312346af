"""Failures of the controller's writes. Successful writes are in tests/contract, on both APIs."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cloudroute.adapters.kube.client import KubeClient
from cloudroute.adapters.kube.cluster import KubeCluster
from cloudroute.errors import LostRace, Refused, Throttled, Unreachable
from cloudroute.lab.kube import KubeApi
from cloudroute.types import Cidr, Condition, FamilyUse, NodeRouteSpec, RouteTableObject
from tests.adapters.kube.conftest import node
from tests.waiting import eventually

SPEC = NodeRouteSpec((Cidr.parse("10.1.0.0/24"),), ("10.0.0.1",), "i-1", "eni-1", "", "rtb-1")
FINE = Condition("False", "RouteCreated", "all is well")


@pytest.fixture
def cluster(api: KubeApi, start: Callable[..., KubeCluster]) -> KubeCluster:
    api.create(node("n1"))
    return start()


@pytest.fixture
def client(cluster: KubeCluster) -> KubeClient:
    return KubeClient(cluster.transport, cluster)


def test_a_refused_write_names_what_was_refused(api: KubeApi, cluster: KubeCluster, client: KubeClient) -> None:
    """403 becomes Refused with the verb and the resource of RBAC; the Node stays as it was."""
    api.faults.fail(403, "patch", "nodes/status")
    with pytest.raises(Refused, match="patch nodes/status n1"):
        client.set_condition(cluster.nodes.items()["n1"], FINE)
    assert "conditions" not in api.get("nodes", "n1")["status"]


def test_a_throttled_write_tells_how_long_to_wait(api: KubeApi, cluster: KubeCluster, client: KubeClient) -> None:
    """429 becomes Throttled with the server's own seconds."""
    api.faults.fail(429, "patch", "nodes/status", retry_after=3)
    with pytest.raises(Throttled) as caught:
        client.set_condition(cluster.nodes.items()["n1"], FINE)
    assert caught.value.retry_after == 3


def test_an_answer_lost_after_the_write_shows_by_watch(api: KubeApi, cluster: KubeCluster, client: KubeClient) -> None:
    """Unreachable leaves open whether the write was done; the watch shows it, and a second attempt is a lost race."""
    api.faults.drop("create", "noderoutes")
    with pytest.raises(Unreachable):
        client.create_node_route("n1", SPEC)
    eventually(lambda: "n1" in cluster.node_routes.items(), "the NodeRoute is listed")
    with pytest.raises(LostRace):
        client.create_node_route("n1", SPEC)
    assert cluster.node_routes.items()["n1"].spec == SPEC


def test_only_writes_end_within_the_margin_of_the_lease(cluster: KubeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request that writes has the timeout that the lease leaves it; a read has that of the transport."""
    asked: list[tuple[str, float | None]] = []
    request = cluster.transport.request

    def noted(method: str, *args: Any, **more: Any) -> Any:
        asked.append((method, more.get("timeout")))
        return request(method, *args, **more)

    monkeypatch.setattr(cluster.transport, "request", noted)
    client = KubeClient(cluster.transport, cluster, 3.75)
    found = client.set_condition(cluster.nodes.items()["n1"], FINE)
    client.assign_pod_cidrs(found, SPEC.pod_cidrs)
    route = client.create_node_route("n1", SPEC)
    client.delete_node_route(client.update_node_route(route, replace(SPEC, node_ips=())))
    report = RouteTableObject("rtb-1", "", "vpc-1", (), {"ipv4": FamilyUse(50, None, 1, 1, 0)}, "")
    client.delete_route_table_object(client.write_route_table_object(None, report))
    client.service_cidrs()
    writes = ["PATCH", "PATCH", "POST", "PATCH", "DELETE", "POST", "PATCH", "DELETE"]
    assert asked[: len(writes)] == [(method, 3.75) for method in writes]
    assert {(method, timeout) for method, timeout in asked[len(writes) :]} == {("GET", None)}


def test_a_condition_for_a_predecessor_does_not_reach_its_successor(
    api: KubeApi, cluster: KubeCluster, client: KubeClient
) -> None:
    """A condition for a Node is not written to another one of the same name."""
    old = cluster.nodes.items()["n1"]
    api.delete("nodes", "n1")
    api.create(node("n1", 2))
    with pytest.raises(LostRace):
        client.set_condition(old, FINE)
    with pytest.raises(LostRace):
        client.assign_pod_cidrs(old, SPEC.pod_cidrs)
    assert "conditions" not in api.get("nodes", "n1")["status"]
    assert "podCIDRs" not in api.get("nodes", "n1")["spec"]


def test_only_a_change_of_status_is_a_transition(api: KubeApi, cluster: KubeCluster, client: KubeClient) -> None:
    """lastTransitionTime changes with the status only, not with reason or message."""
    seen = client.set_condition(cluster.nodes.items()["n1"], FINE)
    (first,) = api.get("nodes", "n1")["status"]["conditions"]
    patched = api.get("nodes", "n1")["status"]["conditions"][0] | {"lastTransitionTime": "2020-01-01T00:00:00Z"}
    api.patch_status("nodes", "n1", {"conditions": [patched]})
    seen = client.set_condition(seen, replace(FINE, reason="OverlayFallback"))
    (second,) = api.get("nodes", "n1")["status"]["conditions"]
    assert (second["reason"], second["lastTransitionTime"]) == ("OverlayFallback", "2020-01-01T00:00:00Z")
    client.set_condition(seen, Condition("True", "NoPodCIDR", "none left"))
    (third,) = api.get("nodes", "n1")["status"]["conditions"]
    assert third["lastTransitionTime"] >= first["lastTransitionTime"]


def test_a_status_that_failed_is_all_that_is_written_again(
    api: KubeApi, cluster: KubeCluster, client: KubeClient
) -> None:
    """After a successful spec and a failed status the next attempt writes the status only."""
    report = RouteTableObject("rtb-1", "", "vpc-1", (), {"ipv4": FamilyUse(50, None, 1, 0, 1)})
    api.faults.fail(503, "patch", "routetables/status")
    with pytest.raises(Unreachable):
        client.write_route_table_object(None, report)
    written = client.write_route_table_object(cluster.route_table_objects.items()["rtb-1"], report)
    assert written == cluster.route_table_objects.items()["rtb-1"]
    assert written.families == report.families
    assert api.changes == {("create", "routetables"): 1, ("patch", "routetables/status"): 1}


def test_a_route_table_object_that_is_gone_already_is_no_error(api: KubeApi, client: KubeClient) -> None:
    """Deleting a RouteTable object that is gone is no error."""
    report = client.write_route_table_object(None, RouteTableObject("rtb-1", "", "vpc-1", ()))
    api.delete("routetables", "rtb-1")
    client.delete_route_table_object(report)
    client.delete_route_table_object(report)
    assert api.list("routetables") == []


def test_pods_are_found_by_any_of_their_addresses(api: KubeApi, client: KubeClient) -> None:
    """A pod is found by each of its addresses, unless it has finished or uses the host's network."""
    for name, phase, host, ips in (
        ("done", "Succeeded", False, ["10.1.0.9"]),
        ("host", "Running", True, ["10.0.0.1"]),
        ("web", "Running", False, ["10.1.0.9", "fd00:1::9"]),
    ):
        api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"nodeName": "n1", "hostNetwork": host, "containers": [{"name": "c", "image": "i"}]},
                "status": {"phase": phase, "podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]},
            }
        )
    by_first, by_second = client.pod_at("10.1.0.9"), client.pod_at("fd00:1::9")
    assert by_first == by_second == client.pod("default", "web")
    assert by_first is not None
    assert by_first.ips == tuple(str(ipaddress.ip_address(ip)) for ip in ("10.1.0.9", "fd00:1::9"))
    assert client.pod_at("10.0.0.1") is None
    assert client.pod("default", "missing") is None

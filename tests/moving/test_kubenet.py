"""From kubenet with the cloud provider's routes to cloudroute: real packets, real plugins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

import pytest

from cloudroute.lab.hosts.host import LabHost, LabPod
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.traffic import Flow, Traffic
from cloudroute.lab.hosts.traffic_echo import Echo, reach
from cloudroute.lab.kube import Object
from tests.moving import guide, kubenet
from tests.packets.labs import UDP_MS, check_no_loss, new_lab, settle

PAGE = "cloud-provider"
HEADING = "3. Agents, and the addresses that are in use"


@pytest.fixture(params=["ptp", "bridge"])
def lab(parts: None, request: pytest.FixtureRequest) -> Iterator[HostLab]:
    """Two nodes in two zones with two pods each, and routes to them; nothing of cloudroute runs."""
    plugin: Literal["ptp", "bridge"] = request.param
    with new_lab("kubenet", zones=2, ipv6=False, pools=[kubenet.POOL], agents=False, real_kube=False) as lab:
        lab.kill_controller()
        for number, host in enumerate([*lab.join(0), *lab.join(1)], 1):
            kubenet.install(lab, host, f"100.96.{number}.0/24", plugin)
            for name in ("one", "two"):
                host.add_pod(name)
        yield lab


def test_moving_in_writes_nothing_to_ec2_loses_no_packet_and_gives_no_address_twice(lab: HostLab) -> None:
    """Pods that were there stay where they are; new ones get other addresses; what the old ones had is free again."""
    hosts = list(lab.hosts.values())
    old = [pod for host in hosts for pod in host.pods.values()]
    routes = {table: lab.aws.scene.routes(table) for table in lab.vpc.route_table_ids}
    bridges = {host.name: mac(host) for host in hosts}
    lab.aws.reset_calls()
    with Traffic(flows(old), UDP_MS) as traffic:
        lab.start_controller()
        lab.wait(lambda: natives(lab) == [2, 2], "the controller to publish the routes as they are")
        for host in hosts:
            guide.run(host, guide.script(PAGE, HEADING))
            host.start_agent()
            lab.wait(lambda host=host: ready(lab, host.name), "its agent")  # type: ignore[misc]
        settle(lab)
        assert natives(lab) == [2, 2]
        new = [host.add_pod("new") for host in hosts]
        check_no_loss(traffic.stop())
    assert not [action for action, _ in lab.aws.calls if not action.startswith("Describe")]
    assert {table: lab.aws.scene.routes(table) for table in routes} == routes
    assert all(mac(host) == bridges[host.name] for host in hosts if bridges[host.name]), "pods know their gateway by it"
    assert {pod.addresses for pod in new}.isdisjoint({pod.addresses for pod in old})
    with Echo([pod.namespace.name for pod in (*old, *new)]):
        for pod in (*old, *new):
            assert all(reach(pod.namespace.name, to.addresses[0], "tcp").ok for to in (*old, *new)), pod.name

    host = hosts[0]  # its old pods are started again, one by one
    leases = host.runtime.var_lib / "cni" / "networks" / "cloudroute"
    for name in ("one", "two"):
        host.remove_pod(host.pods[name])
    assert [path.name for path in leases.glob("100.*")] == list(host.pods["new"].addresses)
    guide.run(host, guide.script(PAGE, "5. Clean up the nodes"))
    assert not (host.conf_dir / kubenet.FILE).exists()
    assert "IP-MASQ" not in host.run("iptables-save")
    assert not mac(host)


@pytest.mark.parametrize("lab", ["ptp"], indirect=True)
def test_without_the_links_no_pod_is_started_by_cloudroute(lab: HostLab) -> None:
    """The guide's block is needed: host-local keeps one list for each network's name."""
    host = next(iter(lab.hosts.values()))
    lab.start_controller()
    host.start_agent()
    lab.wait(lambda: "AddressesInUse" in {reason(route) for route in lab.node_routes()}, "its agent to say why")
    assert not (host.conf_dir / "10-cloudroute.conflist").exists()


def mac(host: LabHost) -> str:
    """Of the pods' bridge, "" where there is none."""
    found = [link for link in json.loads(host.run("ip", "-j", "link", "show")) if link["ifname"] == "cbr0"]
    return str(found[0]["address"]) if found else ""


def natives(lab: HostLab) -> list[int]:
    """In how many tables each node is published as native."""
    return [len(route["spec"].get("nativeIn", ())) for route in lab.node_routes()]


def reason(route: Object) -> str:
    """Reason in the report of a node's agent."""
    return str(route.get("status", {}).get("reason", ""))


def ready(lab: HostLab, name: str) -> bool:
    """Whether a node's agent says that all is in place."""
    return bool(lab.kube.get("noderoutes", name).get("status", {}).get("ready"))


def flows(pods: list[LabPod]) -> list[Flow]:
    """Between all of them, UDP."""
    return [
        Flow(one.namespace.name, to.namespace.name, to.addresses[0]) for one in pods for to in pods if one is not to
    ]

"""Gateways: every host of the VPC reaches every pod, by whichever path, and a missing route is a detour."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from cloudroute.lab.hosts.host import LabHost, Vm
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.traffic import Flow, Result, Traffic
from cloudroute.lab.hosts.traffic_echo import Echo, reach
from tests.packets.gateways import FLAGS, LEASE_SECONDS, gateway_of, holders
from tests.packets.labs import (
    OWN_ENTRIES,
    POD_MTU,
    check_no_loss,
    everybody_reaches_everybody,
    first_pod,
    kinds,
    new_lab,
    settle,
    specs,
)

INVALID_DROPPED = (
    "add table inet kube-proxy; add chain inet kube-proxy forward { type filter hook forward priority 0; }; "
    "add rule inet kube-proxy forward ct state invalid drop"
)
"""kube-proxy's rule, as in its nftables mode and its iptables mode (pkg/proxy/iptables/proxier.go, KUBE-FORWARD)."""


@pytest.fixture(scope="module")
def lab() -> Iterator[HostLab]:
    """Two zones with nodes, and a third one whose table no node uses; each table has entries for two nodes of seven."""
    with new_lab("gw", route_limit=OWN_ENTRIES + 1 + 2, controller_flags=FLAGS) as lab:
        lab.controllers.flags["--route-table"] = [zone.route_table_id for zone in lab.vpc.zones]
        lab.controllers.roll()
        for zone in (0, 1):
            lab.join(zone, labels={"role": "gateway"})
        for zone in (0, 0, 1, 1, 1):
            lab.join(zone)
        for zone in (0, 1, 2):
            lab.vm(zone)
        for host in lab.hosts.values():
            host.add_pod("web")
            host.run("nft", INVALID_DROPPED)
        settle(lab)
        lab.wait(lambda: all(holders(lab)), "an aggregate of each family in each table")
        yield lab


def overlay_host(lab: HostLab, zone: int) -> LabHost:
    """A node of another zone that a zone's table has no route of its own to, and that is no gateway."""
    table = lab.vpc.zones[zone].route_table_id
    found = specs(lab)
    return next(
        host
        for name, host in lab.hosts.items()
        if table not in found[name].native_in and host.zone != zone and not found[name].gateway
    )


def flow_through(lab: HostLab, zone: int) -> Flow:
    """From the VPC host of a zone to a pod that only the gateway of the zone's table leads to."""
    pod = first_pod(overlay_host(lab, zone))
    return Flow(vm_of(lab, zone).namespace.name, pod.namespace.name, pod.addresses[0])


def vm_of(lab: HostLab, zone: int) -> Vm:
    """The VPC host of a zone that is no node."""
    return next(vm for vm in lab.vms.values() if vm.zone == zone)


def counted(flow: Flow, act: Callable[[], Any], seconds: float) -> Result:
    """A packet per millisecond while something happens, and for so long after it."""
    with Traffic([flow], 1) as traffic:
        time.sleep(0.3)
        act()
        time.sleep(seconds)
        (result,) = traffic.stop().values()
    return result


def received_by(host: LabHost) -> int:
    """Packets that have come in by a host's NIC."""
    return int(host.run("cat", "/sys/class/net/eth0/statistics/rx_packets"))


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_every_host_of_the_vpc_reaches_every_pod_by_full_size_packets(lab: HostLab, protocol: Any, family: int) -> None:
    """On the own subnet, another one and one without nodes; the pod sees the host's own address."""
    assert kinds(lab) == {"native", "direct", "overlay"}
    with Echo([first_pod(host).namespace.name for host in lab.hosts.values()]):
        for vm in lab.vms.values():
            for host in lab.hosts.values():
                answer = reach(vm.namespace.name, first_pod(host).addresses[family], protocol, POD_MTU)
                assert answer.ok, f"{vm.name} to the pod of {host.name}: {answer.error}"
                assert answer.seen_address == vm.addresses[family]


def test_pods_reach_each_other_as_before(lab: HostLab) -> None:
    everybody_reaches_everybody(lab)


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_pods_are_answered_by_hosts_of_the_vpc(lab: HostLab, family: int) -> None:
    """By the node's address where the table has no route of its own to the pod: an aggregate changes no source."""
    found = specs(lab)
    with Echo([vm.namespace.name for vm in lab.vms.values()]):
        for host in lab.hosts.values():
            for vm in lab.vms.values():
                table = lab.vpc.zones[vm.zone].route_table_id
                routed = table in found[host.name].native_in
                answer = reach(first_pod(host).namespace.name, vm.addresses[family], "tcp")
                assert answer.ok, f"{host.name} to {vm.name}: {answer.error}"
                assert answer.seen_address == (first_pod(host) if routed else host).addresses[family]


def test_pods_keep_their_address_where_agents_are_told_so(lab: HostLab) -> None:
    """With --gateway-keeps-source; the answers come back by the gateway."""
    host = overlay_host(lab, 0)
    vm = vm_of(lab, 0)
    pod = first_pod(host)

    def seen() -> str:
        return reach(pod.namespace.name, vm.addresses[0], "tcp").seen_address

    with Echo([vm.namespace.name]):
        host.stop_agent()
        host.start_agent(("--gateway-keeps-source", "on"))
        lab.wait(lambda: seen() == pod.addresses[0], "the pod's own address")
        host.stop_agent()
        host.start_agent()
        lab.wait(lambda: seen() == host.addresses[0], "the node's address")


def test_a_packet_passes_one_gateway_once_also_where_a_native_route_is_missing(lab: HostLab) -> None:
    """Also the gateway's own: the table sends it back to the gateway, which sends it on by the overlay."""
    table = lab.vpc.zones[0].route_table_id
    gateway, found = gateway_of(lab, 0), specs(lab)
    target = next(h for n, h in lab.hosts.items() if table in found[n].native_in and h is not gateway)
    vm = vm_of(lab, 0)
    # By the gateway's NIC come the question, and for its own pod the answer.
    passes = {vm.namespace: 1, first_pod(gateway).namespace: 2}
    with Echo([first_pod(target).namespace.name]), removed(lab, table, target):
        for source, count in passes.items():
            before = received_by(gateway)
            for _ in range(100):
                assert reach(source.name, first_pod(target).addresses[0], "udp").ok
            assert received_by(gateway) - before in range(100 * count, 100 * count + 20)  # ARP and ND may add some


class removed:  # noqa: N801 - used as a word in `with`
    """A native route is deleted by hand, and made again at the end."""

    def __init__(self, lab: HostLab, table: str, host: LabHost) -> None:
        self._ec2 = lab.aws.session().client("ec2")
        spec = specs(lab)[host.name]
        self._what: dict[str, Any] = {"RouteTableId": table, "DestinationCidrBlock": str(spec.pod_cidrs[0])}
        self._eni = spec.network_interface_id

    def __enter__(self) -> None:
        self._ec2.delete_route(**self._what)

    def __exit__(self, *_: object) -> None:
        self._ec2.create_route(**self._what, NetworkInterfaceId=self._eni)


@pytest.mark.parametrize("stopped", [False, True], ids=["controllers-run", "controllers-stopped"])
def test_a_native_route_that_is_deleted_by_hand_loses_nothing(lab: HostLab, *, stopped: bool) -> None:
    found = specs(lab)
    table = lab.vpc.zones[0].route_table_id
    target = next(h for n, h in lab.hosts.items() if table in found[n].native_in and h.zone != 0)
    source = next(h for h in lab.hosts.values() if h.zone == 0 and h is not gateway_of(lab, 0))
    flow = Flow(first_pod(source).namespace.name, first_pod(target).namespace.name, first_pod(target).addresses[0])
    if stopped:
        lab.controllers.stop()
    try:
        with Traffic([flow], 1) as traffic:
            time.sleep(0.3)
            with removed(lab, table, target):
                time.sleep(1.0)
            time.sleep(0.3)
            check_no_loss(traffic.stop())
    finally:
        if stopped:
            lab.controllers.start()


def test_a_planned_change_of_the_gateway_loses_nothing(lab: HostLab) -> None:
    """The gateway is cordoned: another one takes its routes over, and it still forwards what is under way."""
    before = gateway_of(lab, 0)
    flow = flow_through(lab, 0)

    def cordon() -> None:
        lab.kube.patch("nodes", before.name, {"spec": {"unschedulable": True}})
        lab.wait(lambda: before.name not in holders(lab), "another gateway")

    result = counted(flow, cordon, 1.0)
    check_no_loss({flow: result})
    lab.kube.patch("nodes", before.name, {"spec": {"unschedulable": None}})


def test_an_agent_of_a_gateway_that_is_killed_and_started_again_loses_nothing(lab: HostLab) -> None:
    """Its silence moves the aggregates; its kernel forwards as before."""
    gateway = gateway_of(lab, 1)
    flow = flow_through(lab, 1)

    def kill() -> None:
        gateway.kill_agent()
        time.sleep(1.0)
        gateway.start_agent()

    result = counted(flow, kill, LEASE_SECONDS + 2)
    check_no_loss({flow: result})


def test_an_upgrade_of_agents_and_controllers_loses_nothing(lab: HostLab) -> None:
    """One agent after the other ends on a signal and starts again, as in a rolling update; then the controllers."""
    flow = flow_through(lab, 0)

    def upgrade() -> None:
        for host in lab.hosts.values():
            host.stop_agent()
            host.start_agent()
        lab.controllers.roll()

    result = counted(flow, upgrade, LEASE_SECONDS + 2)
    check_no_loss({flow: result})


def test_a_gateway_that_dies_is_replaced_within_its_lease_and_a_second(lab: HostLab) -> None:
    """Only what went through it is lost. The calls: a describe at most, and one ReplaceRoute for each aggregate."""
    lab.wait(lambda: sum(spec.gateway for spec in specs(lab).values()) >= 2, "two gateways")
    gateway = gateway_of(lab, 0)
    held = holders(lab).count(gateway.name)
    found = specs(lab)
    others = [h for h in lab.hosts.values() if h is not gateway]
    through = flow_through(lab, 0)
    plain = [first_pod(h) for h in others if not found[h.name].gateway and h.zone == 1]
    a, b = (pod for pod in plain if pod.namespace.name != through.target)
    beside = Flow(a.namespace.name, b.namespace.name, b.addresses[0])
    lab.aws.reset_calls()
    with Traffic([through, beside], 1) as traffic:
        time.sleep(0.5)
        lab.hosts[gateway.name].kill_agent()
        lab.hosts[gateway.name].set_carrier(on=False)
        lab.wait(lambda: gateway.name not in holders(lab), "another gateway", 20)
        time.sleep(1.0)
        results: Mapping[Flow, Result] = traffic.stop()
    assert 0 < results[through].lost <= (LEASE_SECONDS + 1) * 1000
    check_no_loss({beside: results[beside]})
    calls = {action: n for (action, _), n in lab.aws.calls.items()}
    assert calls.get("ReplaceRoute") == held
    assert calls.get("DescribeRouteTables", 0) <= 1

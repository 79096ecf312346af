"""To hosts that are no nodes: an answer always, and the pod's own address exactly where a route leads back to it."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator

import pytest

from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.resolver import ask
from cloudroute.lab.hosts.traffic import Flow, Protocol, Traffic
from cloudroute.lab.hosts.traffic_echo import Echo, reach
from tests.packets.labs import OWN_ENTRIES, first_pod, new_lab, settle, specs


@pytest.fixture(scope="module")
def lab() -> Iterator[HostLab]:
    """Three zones with a plain host each; tables with two slots; the third zone's table is not ours."""
    with new_lab("out", route_limit=OWN_ENTRIES + 2, real_kube=False) as lab:
        ours = [zone.route_table_id for zone in lab.vpc.zones[:2]]
        lab.controllers.flags["--route-table"] = ours
        lab.controllers.roll()
        for zone in (0, 0, 1, 1):
            lab.join(zone)
        for zone in range(3):
            lab.vm(zone)
        for host in lab.hosts.values():
            host.add_pod("a")
        settle(lab)
        yield lab


@pytest.fixture(scope="module")
def echo(lab: HostLab) -> Iterator[None]:
    with Echo([*(vm.namespace.name for vm in lab.vms.values()), lab.internet.namespace.name]):
        yield


def seen(host: LabHost, address: str, protocol: str) -> str:
    answer = reach(first_pod(host).namespace.name, address, protocol)  # type: ignore[arg-type]
    assert answer.ok, f"pod of {host.name} to {address}: {answer.error}"
    return answer.seen_address


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.usefixtures("echo")
def test_a_vpc_host_sees_the_pod_exactly_where_its_subnets_table_routes_back(
    lab: HostLab, protocol: str, family: int
) -> None:
    found = specs(lab)
    cases = set()
    for host in lab.hosts.values():
        for vm in lab.vms.values():
            table = lab.vpc.zones[vm.zone].route_table_id
            routed = table in found[host.name].native_in
            cases.add((routed, vm.zone == host.zone, vm.zone == 2))
            expected = first_pod(host).addresses[family] if routed else host.addresses[family]
            assert seen(host, vm.addresses[family], protocol) == expected, f"{host.name} to {vm.name} in {table}"
    # A table with a route and without, in the own zone and another, and one that is not ours.
    assert {(True, False, False), (False, True, False), (False, False, True)} <= cases


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_every_pod_is_answered_by_the_vpcs_resolver(lab: HostLab, protocol: Protocol) -> None:
    """Also where it lies in a subnet whose table leads to the pod: it answers addresses of the VPC alone."""
    server, *_ = lab.net.resolver_addresses
    assert ipaddress.ip_address(server) in ipaddress.ip_network(lab.vpc.zones[0].cidrs[0])
    assert any(lab.vpc.zones[0].route_table_id in spec.native_in for spec in specs(lab).values())
    for host in lab.hosts.values():
        for server in lab.net.resolver_addresses:
            pod = first_pod(host).namespace.name
            assert ask(pod, server, "ip-10-9-8-7.eu-central-1.compute.internal", protocol) == "10.9.8.7"


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.usefixtures("echo")
def test_the_internet_sees_the_node(lab: HostLab, family: int) -> None:
    for host in lab.hosts.values():
        for protocol in ("udp", "tcp"):
            assert seen(host, lab.internet.addresses[family], protocol) == host.addresses[family]


def test_a_connection_to_a_vpc_host_outlives_the_coming_of_the_route_and_not_its_going(lab: HostLab) -> None:
    """A masqueraded connection stays so. A host has no way back any more to a pod that it knew by its own address."""
    vm = next(vm for vm in lab.vms.values() if vm.zone == 0)
    table = lab.vpc.zones[0].route_table_id
    unrouted = next(host for name, host in lab.hosts.items() if table not in specs(lab)[name].native_in)
    flow = Flow(first_pod(unrouted).namespace.name, vm.namespace.name, vm.addresses[0], "tcp")
    with Traffic([flow], 5) as traffic:
        lab.set_route_limit(20)
        lab.wait(lambda: table in specs(lab)[unrouted.name].native_in, "the route to come")
        settle(lab)
        (result,) = traffic.stop().values()
        assert not result.broken
        assert result.sources == {unrouted.addresses[0]}
        assert result.longest_gap_ms < 1000
    with Traffic([flow], 5) as traffic:
        lab.wait(lambda: any(result.received for result in traffic.snapshot().values()), "the first packets")
        (before,) = traffic.snapshot().values()
        assert before.sources == {first_pod(unrouted).addresses[0]}
        lab.set_route_limit(OWN_ENTRIES + 2)
        lab.wait(lambda: table not in specs(lab)[unrouted.name].native_in, "the route to go")
        settle(lab)
        cidr = specs(lab)[unrouted.name].pod_cidrs[0]
        lab.wait(lambda: str(cidr) not in lab.aws.scene.routes(table), "the route to be deleted")
        time.sleep(1)  # for what is under way
        (stuck,) = traffic.snapshot().values()
        time.sleep(1)
        (after,) = traffic.stop().values()
        assert after.received == stuck.received, "nothing comes any more"
    events = lab.kube.list("events")
    assert any(event.get("reason") == "RouteWithdrawn" for event in events), [event.get("reason") for event in events]

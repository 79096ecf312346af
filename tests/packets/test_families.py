"""Nodes with IPv4, with IPv6 and with both addresses in one cluster: whatever two of them share, they use alike."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations

import pytest

from cloudroute.lab.hosts.capture import Capture
from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.traffic_echo import Echo, reach
from cloudroute.types import FAMILIES, Family, family_of
from tests.packets.labs import OWN_ENTRIES, POD_MTU, first_pod, kinds, new_lab, paths, settle

IPV6_ONLY = 2
"""The zone whose subnet has no IPv4."""
NARROW_MTU = POD_MTU - 20
"""MTU of pods whose node has no IPv4 address: their tunnel is over IPv6, whose header is longer."""


@pytest.fixture(scope="module", params=[OWN_ENTRIES + 2, 50], ids=["few entries", "room for all"])
def lab(request: pytest.FixtureRequest) -> Iterator[HostLab]:
    """Three dual-stack nodes, an IPv4-only one on the subnet of two of them, and three IPv6-only ones.

    The last of these has an IPv6 pod CIDR alone.
    """
    with new_lab("families", route_limit=request.param, ipv6_only=1, real_kube=False) as lab:
        lab.join(0, 2)
        lab.join(1)
        lab.join(0, ipv6=False)
        lab.join(IPV6_ONLY, 2)
        lab.join(IPV6_ONLY, pod_cidrs=["fd00:64:0:0:77::/80"])
        for host in lab.hosts.values():
            host.add_pod("a")
        settle(lab)
        yield lab


@pytest.fixture(scope="module")
def echo(lab: HostLab) -> Iterator[None]:
    """Hosts and pods answer."""
    hosts = lab.hosts.values()
    with Echo([host.namespace.name for host in hosts] + [first_pod(host).namespace.name for host in hosts]):
        yield


def of(addresses: tuple[str, ...]) -> dict[Family, str]:
    return {family_of(address): address for address in addresses}


def shared(a: LabHost, b: LabHost) -> bool:
    """Whether a tunnel can lead from one to the other."""
    return bool(of(a.addresses).keys() & of(b.addresses).keys())


def pod_families(a: LabHost, b: LabHost) -> list[Family]:
    return [f for f in FAMILIES if f in of(first_pod(a).addresses) and f in of(first_pod(b).addresses)]


def mtu(host: LabHost) -> int:
    return POD_MTU if "ipv4" in of(host.addresses) else NARROW_MTU


@pytest.mark.usefixtures("echo")
def test_pods_reach_pods_of_each_node_that_shares_an_address_family(lab: HostLab) -> None:
    for a, b in permutations(lab.hosts.values(), 2):
        if not shared(a, b):
            continue
        for family in pod_families(a, b):
            for protocol in ("udp", "tcp"):
                source, target = first_pod(a), of(first_pod(b).addresses)[family]
                size = min(mtu(a), mtu(b))
                answer = reach(source.namespace.name, target, protocol, size)
                about = f"{a.name} to {b.name} ({paths(lab)[a.name, b.name]}, {family}, {protocol})"
                assert answer.ok, f"{about}: {answer.error}"
                assert answer.seen_address == of(source.addresses)[family], about


@pytest.mark.usefixtures("echo")
def test_nodes_reach_pods_and_pods_reach_nodes_by_the_families_that_they_share(lab: HostLab) -> None:
    for a, b in permutations(lab.hosts.values(), 2):
        if not shared(a, b):
            continue
        for family in pod_families(a, b):
            answer = reach(a.namespace.name, of(first_pod(b).addresses)[family], "tcp")
            assert answer.ok, f"{a.name} to pod of {b.name} ({family}): {answer.error}"
            if family in of(a.addresses).keys() & of(b.addresses).keys():
                answer = reach(first_pod(a).namespace.name, of(b.addresses)[family], "tcp")
                assert answer.ok, f"pod of {a.name} to {b.name} ({family}): {answer.error}"
                assert answer.seen_address == of(first_pod(a).addresses)[family]


@pytest.mark.usefixtures("echo")
def test_both_ends_of_a_pair_send_the_same_way(lab: HostLab) -> None:
    hosts = list(lab.hosts.values())
    pairs = [(a, b) for a, b in combinations(hosts, 2) if shared(a, b)]
    with Capture({host.name: host.namespace for host in hosts}) as capture:
        for a, b in pairs:
            for family in pod_families(a, b):
                assert reach(first_pod(a).namespace.name, of(first_pod(b).addresses)[family]).ok
    for a, b in pairs:
        for family in pod_families(a, b):
            ((there, to),) = capture.ways[a.name, of(first_pod(b).addresses)[family]]
            ((back, fro),) = capture.ways[b.name, of(first_pod(a).addresses)[family]]
            about = f"{a.name} and {b.name} ({paths(lab)[a.name, b.name]}, {family}): {there} {to}, {back} {fro}"
            assert there == back, about
            if there == "tunnel":
                assert family_of(to) == family_of(fro) == min(of(a.addresses).keys() & of(b.addresses).keys()), about
    assert "native" in kinds(lab)


@pytest.mark.usefixtures("echo")
def test_a_packet_too_large_for_the_tunnel_over_ipv6_is_answered_with_the_size_that_fits(lab: HostLab) -> None:
    wide, narrow = (first_pod(lab.hosts[name]) for name in ("node-3", "node-5"))
    for family in FAMILIES:
        target = of(narrow.addresses)[family]
        reach(wide.namespace.name, target, "udp", POD_MTU)
        answer = reach(wide.namespace.name, target, "udp", POD_MTU)
        assert answer.error == "Message too long", answer
        route = wide.namespace.run("ip", "route", "get", target)
        assert f"mtu {NARROW_MTU}" in route, route
        assert reach(wide.namespace.name, target, "tcp", 200_000).ok


@pytest.mark.usefixtures("echo")
def test_nodes_that_share_no_address_family_answer_with_unreachable_at_once(lab: HostLab) -> None:
    for a, b in permutations(lab.hosts.values(), 2):
        if shared(a, b):
            continue
        for family in pod_families(a, b):
            answer = reach(first_pod(a).namespace.name, of(first_pod(b).addresses)[family], "tcp", timeout=3)
            assert not answer.ok
            assert "no answer within" not in answer.error, f"{a.name} to {b.name}, {family}: {answer.error}"

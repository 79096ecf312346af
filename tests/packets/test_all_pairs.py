"""Everybody reaches everybody, by the path that was published, without NAT, with packets as large as the MTU says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import permutations

import pytest

from cloudroute.lab.hosts.capture import Capture
from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.traffic_echo import Echo, reach
from cloudroute.types import family_of
from tests.packets.labs import OWN_ENTRIES, POD_MTU, first_pod, kinds, new_lab, paths, settle


@pytest.fixture(scope="module")
def lab() -> Iterator[HostLab]:
    """Six hosts in three zones; each table has room for two of them, so that every path exists."""
    with new_lab("pairs", route_limit=OWN_ENTRIES + 2, real_kube=False) as lab:
        for zone in range(3):
            lab.join(zone, 2)
        for host in lab.hosts.values():
            host.add_pod("a")
        settle(lab)
        assert kinds(lab) == {"native", "direct", "overlay"}
        yield lab


@pytest.fixture(scope="module")
def echo(lab: HostLab) -> Iterator[None]:
    """Hosts and pods answer."""
    hosts = lab.hosts.values()
    with Echo([host.namespace.name for host in hosts] + [first_pod(host).namespace.name for host in hosts]):
        yield


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.usefixtures("echo")
def test_pods_reach_pods_with_full_size_packets_and_are_seen_by_their_own_address(
    lab: HostLab, protocol: str, family: int
) -> None:
    for a, b in permutations(lab.hosts.values(), 2):
        source, target = first_pod(a), first_pod(b)
        answer = reach(source.namespace.name, target.addresses[family], protocol, POD_MTU)  # type: ignore[arg-type]
        assert answer.ok, f"{a.name} to {b.name} ({paths(lab)[a.name, b.name]}): {answer.error}"
        assert answer.seen_address == source.addresses[family]


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.usefixtures("echo")
def test_pods_reach_other_nodes_and_are_seen_by_their_own_address(lab: HostLab, protocol: str, family: int) -> None:
    for a, b in permutations(lab.hosts.values(), 2):
        source = first_pod(a)
        answer = reach(source.namespace.name, b.addresses[family], protocol, POD_MTU)  # type: ignore[arg-type]
        assert answer.ok, f"pod of {a.name} to {b.name} ({paths(lab)[a.name, b.name]}): {answer.error}"
        assert answer.seen_address == source.addresses[family]


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.usefixtures("echo")
def test_nodes_reach_pods_everywhere_by_one_address_whatever_the_path(lab: HostLab, protocol: str, family: int) -> None:
    """Of their pod CIDR: so a connection outlives a change of path."""
    for a, b in permutations(lab.hosts.values(), 2):
        answer = reach(a.namespace.name, first_pod(b).addresses[family], protocol, POD_MTU)  # type: ignore[arg-type]
        assert answer.ok, f"{a.name} to pod of {b.name} ({paths(lab)[a.name, b.name]}): {answer.error}"
        spec = lab.kube.get("noderoutes", a.name)["spec"]
        assert answer.seen_address == spec["podCIDRs"][family].partition("/")[0].removesuffix(":0")


@pytest.mark.usefixtures("echo")
def test_nodes_and_their_own_pods_reach_each_other(lab: HostLab) -> None:
    for host in lab.hosts.values():
        pod = first_pod(host)
        for family in (0, 1):
            assert reach(host.namespace.name, pod.addresses[family], "tcp", POD_MTU).ok
            assert reach(pod.namespace.name, host.addresses[family], "tcp", POD_MTU).ok


def mac(host: LabHost) -> str:
    return str(json.loads(host.run("ip", "-j", "link", "show", "eth0"))[0]["address"])


@pytest.mark.usefixtures("echo")
def test_captures_show_that_packets_went_by_the_published_path(lab: HostLab) -> None:
    hosts = list(lab.hosts.values())
    for family in (0, 1):
        with Capture({host.name: host.namespace for host in hosts}) as capture:
            for a, b in permutations(hosts, 2):
                assert reach(first_pod(a).namespace.name, first_pod(b).addresses[family]).ok
        macs = {host.name: mac(host) for host in hosts}
        for (source, target), path in paths(lab).items():
            address = first_pod(lab.hosts[target]).addresses[family]
            ((how, where),) = capture.ways[source, address]
            if path == "overlay":
                assert (how, where) == ("tunnel", lab.hosts[target].addresses[0])
            elif path == "direct":
                assert (how, where) == ("plain", macs[target])
            else:
                assert how == "plain"
                assert where not in macs.values(), "to the gateway"


@pytest.mark.usefixtures("echo")
def test_a_pod_address_of_no_node_is_answered_with_unreachable_at_once(lab: HostLab) -> None:
    host = next(iter(lab.hosts.values()))
    for address in ("100.64.200.7", "fd00:64:0:0:ffff::7"):
        answer = reach(first_pod(host).namespace.name, address, "tcp", timeout=3)
        assert not answer.ok
        assert "no answer within" not in answer.error, f"{family_of(address)}: {answer.error}"

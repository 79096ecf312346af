"""An upgrade from the version whose pods were on a bridge: they run on, and new pods hang on cables beside them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import pytest

from cloudroute.dataplane import CONFLIST
from cloudroute.lab.hosts.host import LabHost, LabPod
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.traffic import Flow, Traffic
from cloudroute.lab.hosts.traffic_echo import Echo, reach
from tests.moving.former import leave_bridge
from tests.packets.labs import OWN_ENTRIES, POD_MTU, check_no_loss, new_lab, settle, specs, wait_for_agents

FLOW_MS = 5.0
"""Between two packets of each of the 60 flows: one each millisecond would be more than a core can send."""


@pytest.fixture
def lab(parts: None) -> Iterator[HostLab]:
    """Three nodes in two zones, one past the limit; what the former version's agents left, two of its pods on each."""
    with new_lab("former", zones=2, route_limit=OWN_ENTRIES + 2, real_kube=False) as lab:
        hosts = [*lab.join(0, 2), *lab.join(1)]
        settle(lab)
        for host in hosts:
            host.stop_agent()
            leave_bridge(host, specs(lab)[host.name].pod_cidrs, POD_MTU)
            for name in ("one", "two"):
                host.add_pod(name)
        yield lab


def test_the_upgrade_loses_no_packet_and_gives_no_address_twice(lab: HostLab) -> None:
    """Of pods of one node and of several, in both families, while agents start one by one; then all reach all."""
    hosts = list(lab.hosts.values())
    old = pods(hosts)
    with Traffic(flows(old), FLOW_MS) as traffic:
        for host in hosts:
            host.start_agent()
            lab.wait(lambda host=host: "ptp" in (host.conf_dir / CONFLIST).read_text(), "its conflist")  # type: ignore[misc]
        wait_for_agents(lab)
        for host in hosts:
            host.add_pod("new")
        settle(lab)
        check_no_loss(traffic.stop())
    new = [host.pods["new"] for host in hosts]
    given = [address for pod in (*old, *new) for address in pod.addresses]
    assert len(given) == len(set(given)) == 2 * 9

    with Echo([pod.namespace.name for pod in (*old, *new)]):
        for one, other in permutations((*old, *new), 2):
            for address in other.addresses:
                for protocol in ("udp", "tcp"):
                    answer = reach(one.namespace.name, address, protocol, POD_MTU)
                    assert answer.ok, f"{one.namespace.name} to {other.namespace.name}: {answer.error}"

    for pod in old:
        pod.host.remove_pod(pod)
    for host in hosts:
        assert host.run("ip", "-o", "link", "show", "master", "cbr0") == ""
        host.run("ip", "link", "delete", "cbr0")
    with Traffic(flows(new), FLOW_MS) as traffic:
        settle(lab)
        check_no_loss(traffic.stop())


def pods(hosts: list[LabHost]) -> list[LabPod]:
    """All of theirs."""
    return [pod for host in hosts for pod in host.pods.values()]


def flows(among: list[LabPod]) -> list[Flow]:
    """Between all of them, both families, UDP."""
    return [
        Flow(one.namespace.name, other.namespace.name, address)
        for one, other in permutations(among, 2)
        for address in other.addresses
    ]

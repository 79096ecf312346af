"""No change loses a packet: flows send one each millisecond, and TCP never sends a segment twice."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.traffic import Traffic
from tests.packets.labs import (
    FLAGS,
    OWN_ENTRIES,
    UDP_MS,
    check_no_loss,
    first_pod,
    flows,
    kinds,
    new_lab,
    no_loss,
    paths,
    settle,
    wait_for_agents,
    wait_for_paths,
)

ROOMY = 20
DRAIN_SECONDS = float(FLAGS["--drain-seconds"])


def destinations(lab: HostLab, host: LabHost) -> set[str]:
    """Of all routes in the table that a host sends by."""
    return set(lab.aws.scene.routes(lab.vpc.zones[host.zone].route_table_id))


@pytest.fixture(scope="module")
def lab() -> Iterator[HostLab]:
    """Three hosts in as many zones, with room for all: native."""
    with new_lab("loss", route_limit=ROOMY) as lab:
        for zone in range(3):
            lab.join(zone)
        for host in lab.hosts.values():
            host.add_pod("a")
        settle(lab)
        assert kinds(lab) == {"native"}
        yield lab


def test_native_to_overlay_and_back_as_the_limit_falls_and_rises(lab: HostLab) -> None:
    with no_loss(lab.hosts.values()):
        lab.set_route_limit(OWN_ENTRIES + 1)
        wait_for_paths(lab, lambda now: "overlay" in now.values(), "the limit to bite")
        settle(lab)  # the routes are deleted by then, and nobody misses them
        lab.set_route_limit(ROOMY)
        wait_for_paths(lab, lambda now: set(now.values()) == {"native"}, "all to be native again")
        settle(lab)


def test_an_agent_killed_and_started_again(lab: HostLab) -> None:
    with no_loss(lab.hosts.values()):
        for host in lab.hosts.values():
            host.kill_agent()
        time.sleep(1)
        for host in lab.hosts.values():
            host.start_agent()
        wait_for_agents(lab)
        settle(lab)


def test_an_agent_replaced_by_one_with_other_flags(lab: HostLab) -> None:
    with no_loss(lab.hosts.values()):
        for host in lab.hosts.values():
            host.stop_agent()
            host.start_agent(["--masquerade-except", "192.0.2.0/24", "--log-level", "debug"])
        wait_for_agents(lab)
        settle(lab)
    for host in lab.hosts.values():
        assert "192.0.2.0" in host.run("nft", "list", "table", "inet", "cloudroute")


def test_a_node_that_joins_and_one_that_leaves(lab: HostLab) -> None:
    stayers = list(lab.hosts.values())
    with no_loss(stayers):
        (joined,) = lab.join(0, name="late")
        joined.add_pod("a")
        settle(lab)
        with Traffic(flows([joined, *stayers]), 5) as traffic:
            time.sleep(1)
            check_no_loss(traffic.stop())
        lab.terminate("late")
        settle(lab)


def test_no_controller_for_a_while(lab: HostLab) -> None:
    with no_loss(lab.hosts.values()):
        lab.kill_controller()
        time.sleep(5)
        lab.start_controller()
        settle(lab)


def test_no_api_server_for_a_minute_and_agents_that_restart_meanwhile(lab: HostLab) -> None:
    with no_loss(lab.hosts.values(), interval_ms=5):
        lab.stop_api()
        time.sleep(20)
        for host in lab.hosts.values():
            host.kill_agent()
            host.start_agent()
        time.sleep(40)
        assert all(host.agent_alive for host in lab.hosts.values())
        lab.start_api()
        settle(lab)
    assert kinds(lab) == {"native"}


def test_native_to_direct_and_back_as_a_zones_own_node_yields_its_slot() -> None:
    """In a table that serves one subnet, that subnet's nodes come last: they lose the slot and no path."""
    with new_lab("yield", zones=2, route_limit=OWN_ENTRIES + 2, real_kube=False) as lab:
        lab.join(0, 2)
        for host in lab.hosts.values():
            host.add_pod("a")
        settle(lab)
        first = list(lab.hosts.values())
        assert kinds(lab) == {"native"}
        with no_loss(first):
            lab.join(1, 2)  # their routes need both slots of the first zone's table
            wait_for_paths(lab, lambda now: now[first[0].name, first[1].name] == "direct", "the own nodes to yield")
            settle(lab)
            for host in list(lab.hosts.values())[2:]:
                lab.terminate(host.name)
            wait_for_paths(lab, lambda now: set(now.values()) == {"native"}, "the slots to come back")
            settle(lab)


def test_an_agent_that_is_stopped_while_its_peers_leave_the_native_path(lab: HostLab) -> None:
    """An upgrade while the limit falls: their routes stay, beyond the drain, until its successor has heard of it."""
    stopped, *others = lab.hosts.values()
    with no_loss(lab.hosts.values()):
        stopped.stop_agent()
        lab.set_route_limit(OWN_ENTRIES + 1)
        lab.wait(lambda: "overlay" in paths(lab).values(), "the limit to bite")
        routes = destinations(lab, stopped)
        lab.wait(lambda: destinations(lab, others[0]) < routes, "the others' tables to come down to the limit")
        time.sleep(DRAIN_SECONDS)
        assert destinations(lab, stopped) == routes, "what the node without an agent sends by"
        stopped.start_agent()
        wait_for_agents(lab)
        settle(lab)
        assert destinations(lab, stopped) < routes
        lab.set_route_limit(ROOMY)
        wait_for_paths(lab, lambda now: set(now.values()) == {"native"}, "all to be native again")
        settle(lab)


def test_losses_of_a_frozen_agent_begin_with_the_drain_and_end_with_the_thaw(lab: HostLab) -> None:
    """It can't hear that its peers have left the native path: their routes are deleted after --drain-seconds."""
    frozen, *_ = lab.hosts.values()
    pods = {first_pod(frozen).namespace.name}
    with Traffic(flows(lab.hosts.values(), ["udp"]), UDP_MS) as traffic:
        frozen.freeze_agent()
        limited = time.monotonic()  # before the call, which waits for the controller that it starts
        lab.set_route_limit(OWN_ENTRIES + 1)
        lab.wait(lambda: "overlay" in paths(lab).values(), "the limit to bite")
        time.sleep(5)
        frozen.thaw_agent()
        arrived = {flow: result.received for flow, result in traffic.snapshot().items()}
        lab.wait(
            lambda: all(result.received > arrived[flow] for flow, result in traffic.snapshot().items()),
            "packets of each flow to arrive again",
            10,
        )
        arrive = time.monotonic()
        settle(lab)
        lab.set_route_limit(ROOMY)
        settle(lab)
        results = traffic.stop()
    bound = (arrive - limited - DRAIN_SECONDS) * 1000 / UDP_MS
    for flow, result in results.items():
        if pods.isdisjoint((flow.source, flow.target)):
            assert result.lost == 0, f"{flow} has nothing to do with the frozen agent: {result}"
        else:
            assert result.lost <= bound, f"{flow}: {result}"
    assert any(result.lost for result in results.values()), "else this test shows nothing"
    assert kinds(lab) == {"native"}

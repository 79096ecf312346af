"""A gateway's agent: transit is programmed whole or not at all, and its Lease says whether it is."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from cloudroute.agent.loop import LATE_SECONDS
from cloudroute.agent.process import Agent
from cloudroute.clock import SystemClock
from cloudroute.config import AgentSettings
from cloudroute.core.node.peers import base
from cloudroute.dataplane import GUARD_METRIC, KINDS, MAIN, TABLE, TRANSIT_ID, TRANSIT_TABLE, VTEP, Kind, RouteKey, Rule
from cloudroute.errors import CloudrouteError, Unreachable
from cloudroute.telemetry import AgentTelemetry
from cloudroute.types import RENEW_SECONDS, NodeRoute
from tests.agent.in_memory import POOLS, TABLES, MemoryAgents, MemoryKernel, Node, node_route
from tests.waiting import eventually

OWN = node_route(1, TABLES, gateway=True)
NO_GATEWAY = node_route(1, TABLES)
PEERS = (node_route(2, TABLES), node_route(3), node_route(4))
UNREACHABLE = Unreachable("patch leases", "gw-n1", "503", "no leader")


@pytest.fixture
def settled() -> Node:
    """n1, a gateway, with three peers, all in place."""
    node = Node(OWN, *PEERS)
    assert node.settle().ready
    return node


def in_transit(cidr_of: NodeRoute) -> RouteKey:
    """Key of the IPv4 route to a peer in the transit table."""
    cidr = cidr_of.spec.pod_cidrs[0]
    return RouteKey(base(cidr), cidr.length, 0, TRANSIT_TABLE)


def of_transit(node: Node) -> dict[Kind, int]:
    """Number of entries that only a gateway has."""
    state = node.kernel.state
    return {
        "nexthops": len([id_ for id_ in state["nexthops"] if id_ & TRANSIT_ID]),
        "routes": len([key for key in state["routes"] if key.table == TRANSIT_TABLE]),
        "rules": len(state["rules"]),
        "nftables": len(state["nftables"][TABLE].transit),
    }


# --- the kernel ------------------------------------------------------------------------------------


def test_a_node_that_becomes_a_gateway_gets_its_entries_in_order_and_nothing_else_changes() -> None:
    node = Node(NO_GATEWAY, *PEERS)
    node.settle()
    assert set(of_transit(node).values()) == {0}
    node.kernel.writes.clear()
    node.publish(OWN)
    assert node.settle().ready
    kinds = list(dict.fromkeys(kind for kind, _ in node.kernel.writes))
    assert kinds == ["sysctls", "nexthops", "routes", "rules", "nftables"]
    assert Counter(kind for kind, _ in node.kernel.writes) == {
        "sysctls": 2, "nexthops": 6, "routes": 8, "rules": 4, "nftables": 1,
    }  # fmt: skip
    assert of_transit(node) == {"nexthops": 6, "routes": 8, "rules": 4, "nftables": 2}
    assert [rule.table for kind, rule in node.kernel.writes if kind == "rules"] == [MAIN, MAIN, 88, 88]


def test_a_node_that_is_a_gateway_no_longer_loses_the_rules_first_and_all_the_rest() -> None:
    node = Node(OWN, *PEERS)
    node.settle()
    node.kernel.writes.clear()
    node.publish(NO_GATEWAY)
    assert node.settle().ready
    order = [kind for kind, _ in node.kernel.writes if kind not in ("nftables", "sysctls")]
    assert order == ["rules"] * 4 + ["routes"] * 8 + ["nexthops"] * 6
    assert [rule.table for kind, rule in node.kernel.writes if kind == "rules"] == [88, 88, MAIN, MAIN]
    assert set(of_transit(node).values()) == {0}
    fresh = Node(NO_GATEWAY, *PEERS)
    fresh.settle()
    assert node.kernel.state == fresh.kernel.state


def test_a_node_that_is_no_gateway_any_more_when_its_agent_starts_loses_all_of_it(settled: Node) -> None:
    settled.publish(NO_GATEWAY)
    settled.start()
    assert settled.settle().ready
    assert set(of_transit(settled).values()) == {0}


def test_a_change_of_path_is_one_nexthop_for_each_family_and_none_in_transit(settled: Node) -> None:
    settled.kernel.writes.clear()
    settled.publish(node_route(3, TABLES))
    settled.settle()
    assert [(kind, id_ & TRANSIT_ID) for kind, id_ in settled.kernel.writes] == [("nexthops", 0)] * 2


def test_a_fresh_process_adopts_a_gateways_entries_and_changes_nothing(settled: Node) -> None:
    before = settled.kernel.state
    settled.kernel.writes.clear()
    settled.start()
    assert settled.settle().ready
    assert settled.kernel.writes == []
    assert settled.kernel.state == before
    assert settled.heartbeat.due is not None


@pytest.mark.parametrize("kind", ["nexthops", "routes", "rules", "nftables", "sysctls"])
def test_an_entry_of_a_gateway_that_somebody_removes_is_put_back(settled: Node, kind: Kind) -> None:
    before = settled.kernel.state
    for one in list(before[kind]):
        settled.kernel.break_(kind, one)
        assert settled.settle().ready
        assert settled.kernel.state == before


def test_a_flush_of_all_nexthops_brings_all_routes_of_transit_back(settled: Node) -> None:
    """A lost carrier takes them without a message; its return is told."""
    before, tables = settled.kernel.state, settled.kernel.tables
    tables["nexthops"].entries.clear()
    for key in [key for key, to in tables["routes"].entries.items() if to.nexthop]:
        del tables["routes"].entries[key]
    settled.kernel.told({"links", "nexthops", "routes"})
    assert settled.settle().ready
    assert settled.kernel.state == before


@pytest.mark.parametrize("kind", ["nexthops", "routes"])
def test_no_rule_leads_to_a_table_that_lacks_a_route(kind: Kind) -> None:
    """Packets for others are routed by the main table meanwhile. Rules for own pods harm nobody."""
    node = Node(OWN, *PEERS)
    whole = Node(OWN, *PEERS)
    whole.settle()
    key = in_transit(PEERS[0])
    node.kernel.refuse[kind, key if kind == "routes" else whole.kernel.state["routes"][key].nexthop] = ("no memory", 2)
    for _ in range(2):
        assert node.turn().reason == "PeersFailed"
        node.kernel.told({kind})
        assert {rule.table for rule in node.kernel.state["rules"]} == {MAIN}
        assert node.heartbeat.due is None
    assert node.settle().ready
    assert node.kernel.state == whole.kernel.state
    assert node.heartbeat.due is not None


def test_no_rule_leads_to_the_table_that_cannot_be_read() -> None:
    node = Node(OWN, *PEERS)
    node.kernel.tables["routes"].unreadable = "a table changed while it was being read"
    node.turn()
    assert {rule.table for rule in node.kernel.state["rules"]} <= {MAIN}
    assert node.heartbeat.due is None


def test_a_route_that_fails_later_takes_no_rule_away(settled: Node) -> None:
    """Its packets are unreachable; without the rule all others would have lost their path, too."""
    new = node_route(6)
    settled.kernel.refuse["routes", in_transit(new)] = ("EBUSY", 2)
    settled.publish(new)
    assert settled.turn().reason == "PeersFailed"
    assert len(settled.kernel.state["rules"]) == 4
    assert settled.settle().ready


def test_without_the_rule_for_own_pods_no_packets_are_led_past_them() -> None:
    """The transit table has no routes to them."""
    node = Node(OWN, *PEERS)
    cidr = OWN.spec.pod_cidrs[0]
    node.kernel.refuse["rules", Rule(1087, "eth0", base(cidr), cidr.length, MAIN)] = ("no memory", 1)
    assert node.turn().reason == "PeersFailed"
    assert {rule.table for rule in node.kernel.state["rules"]} == {MAIN}
    assert node.settle().ready
    assert len(node.kernel.state["rules"]) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_write_that_fails_once_on_a_gateway_is_done_by_the_next_turns(kind: Kind) -> None:
    whole = Node(OWN, *PEERS)
    whole.settle()
    for one in whole.kernel.state[kind]:
        node = Node(OWN, *PEERS)
        node.kernel.refuse[kind, one] = ("EBUSY", 1)
        node.turn()
        assert node.settle().ready
        assert node.kernel.state == whole.kernel.state


def test_the_unreachable_route_of_one_table_does_not_wait_for_the_other(settled: Node) -> None:
    node = Node(OWN, *PEERS)
    node.kernel.refuse["routes", in_transit(PEERS[0])] = ("EBUSY", 1)
    node.turn()
    tables = [key.table for key in node.kernel.state["routes"] if key.metric == GUARD_METRIC and key.length == 16]
    assert tables == [MAIN]


# --- the Lease ---------------------------------------------------------------------------------------


def renewals(node: Node, seconds: float) -> int:
    """Renew as the thread would for some seconds; return the number of renewals."""
    before, end = len(node.agents.renewed), node.clock.time + seconds
    while (due := node.heartbeat.due) is not None and max(due, node.clock.time) < end:
        node.clock.time = max(node.clock.time, due)
        assert node.heartbeat.renew_next()
    node.clock.time = end
    return len(node.agents.renewed) - before


def test_a_gateway_renews_its_lease_each_second(settled: Node) -> None:
    assert renewals(settled, 10 * RENEW_SECONDS) == 10
    assert set(settled.agents.renewed) == {OWN.uid}


def test_no_other_node_has_a_lease() -> None:
    node = Node(NO_GATEWAY, *PEERS)
    node.settle()
    assert renewals(node, 10) == 0


def test_no_lease_is_renewed_before_all_is_in_place() -> None:
    node = Node(OWN, *PEERS)
    node.agents.node_routes.synced = False
    node.turn()
    assert renewals(node, 10) == 0
    node.agents.node_routes.synced = True
    node.turn()
    assert renewals(node, 3) == 3


def lose_the_nic(node: Node) -> None:
    node.kernel.facts = "eth0 is gone"
    node.kernel.told({"links"})


def fail_to_read(node: Node) -> None:
    node.kernel.tables["nftables"].unreadable = "nft is gone"
    node.kernel.told({"nftables"})


def fail_to_put(kind: Kind) -> Callable[[Node], None]:
    def begin(node: Node) -> None:
        node.kernel.refuse[kind, None] = ("no memory", 1_000_000)
        node.kernel.break_(kind, next(iter(node.kernel.state[kind])))

    return begin


HINDRANCES: dict[str, Callable[[Node], None]] = {
    "no gateway": lambda node: node.publish(NO_GATEWAY),
    "its NodeRoute is gone": lambda node: node.withdraw("n1"),
    "the NIC is gone": lose_the_nic,
    "a kind can't be read": fail_to_read,
    **{f"{kind} fail": fail_to_put(kind) for kind in ("links", "sysctls", "addresses", "nftables", "rules")},
}


@pytest.mark.parametrize("hindrance", HINDRANCES)
def test_a_gateway_that_does_not_forward_is_silent_at_once(settled: Node, hindrance: str) -> None:
    assert renewals(settled, 3) == 3
    HINDRANCES[hindrance](settled)
    settled.turn()
    assert renewals(settled, 10) == 0


@pytest.mark.parametrize("kind", ["fdb", "neighbours", "nexthops", "routes"])
def test_an_entry_of_a_peer_that_fails_silences_no_gateway(settled: Node, kind: Kind) -> None:
    """The path to all other peers works, and its cause may be the same on all gateways: none would be left."""
    fail_to_put(kind)(settled)
    assert settled.turn().reason == "PeersFailed"
    assert renewals(settled, 3) == 3


def test_a_conflist_that_cannot_be_written_stops_no_lease(settled: Node) -> None:
    """It concerns new pods of the node alone."""
    settled.kernel.refuse["files", None] = ("no space", 1_000_000)
    settled.kernel.break_("files", next(iter(settled.kernel.state["files"])))
    assert settled.turn().reason == "ConflistFailed"
    assert renewals(settled, 3) == 3


def test_a_loop_that_hangs_between_turns_is_taken_for_no_gateway(settled: Node) -> None:
    due = settled.loop.turn().due
    settled.clock.time = due + LATE_SECONDS - 1
    assert renewals(settled, 1) == 1
    assert renewals(settled, 100) == 0
    settled.turn()
    assert renewals(settled, 3) == 3


def test_a_loop_that_hangs_in_a_turn_is_taken_for_no_gateway(settled: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    read, during = settled.kernel.tables["routes"].read, []

    def hang(wanted: Collection[RouteKey]) -> dict[RouteKey, Any]:
        during.append(renewals(settled, 10 * LATE_SECONDS))
        return read(wanted)

    monkeypatch.setattr(settled.kernel.tables["routes"], "read", hang)
    settled.kernel.told({"routes"})
    settled.turn()
    assert during == [LATE_SECONDS / RENEW_SECONDS]
    assert renewals(settled, 3) == 3


def test_a_renewal_that_fails_is_told_once_and_tried_again_the_next_second(settled: Node) -> None:
    settled.agents.errors = [UNREACHABLE] * 3
    with capture_logs() as logs:
        assert renewals(settled, 5) == 2
    assert [line["event"] for line in logs] == ["can't renew this gateway's Lease", "this gateway's Lease is renewed"]


def test_a_lease_is_that_of_the_node_route_of_today(settled: Node) -> None:
    settled.publish(replace(OWN, uid="uid-new"))
    settled.turn()
    assert renewals(settled, 1) == 1
    assert settled.agents.renewed[-1] == "uid-new"


def test_a_gateway_without_pools_says_so_and_is_ready() -> None:
    node = Node(OWN, *PEERS)
    node.settings = AgentSettings(node_name="n1")
    node.start()
    with capture_logs() as logs:
        report = node.settle()
    assert (report.ready, report.reason) == (True, "GatewayNoPool")
    assert "give it the controller's --cluster-cidr" in report.message
    assert [line["problem"] for line in logs if line["log_level"] == "warning"] == [report.message]
    node.reporter.write_next()
    assert node.agents.written[-1]["ready"] is True
    assert node.agents.written[-1]["message"] == report.message
    assert set(of_transit(node).values()) == {0}
    assert renewals(node, 10) == 0


# --- the process -------------------------------------------------------------------------------------


def process(**settings: Any) -> tuple[Agent, MemoryAgents]:
    agents = MemoryAgents()
    agents.node_routes.objects = {route.name: route for route in (OWN, *PEERS)}
    chosen = AgentSettings(node_name="n1", cluster_cidr=POOLS, **settings)
    return Agent(chosen, agents, MemoryKernel(), SystemClock(), AgentTelemetry()), agents


def test_a_process_renews_until_a_signal_comes() -> None:
    agent, agents = process()
    before = set(threading.enumerate())

    def signal() -> None:
        try:
            eventually(lambda: len(agents.renewed) == 2, "two renewals")
        finally:
            agent.stop.set()

    thread = threading.Thread(target=signal)
    thread.start()
    agent.run()
    thread.join()
    eventually(lambda: set(threading.enumerate()) <= before, "the end of its threads")
    assert len(agents.renewed) == 2


def test_a_run_of_once_renews_nothing() -> None:
    """Nobody would renew it later."""
    agent, agents = process(once=True)
    agent.run()
    assert agents.renewed == []


def test_a_lease_thread_that_dies_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, agents = process()
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def fail(own: NodeRoute) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(agents, "renew_gateway_lease", fail)
    with pytest.raises(CloudrouteError, match="the thread gateway has ended"):
        agent.run()


def test_a_device_that_is_made_anew_gets_the_entries_of_transit_back(settled: Node) -> None:
    before = settled.kernel.state
    settled.kernel.break_("links", VTEP)
    assert settled.settle().ready
    assert settled.kernel.state == before

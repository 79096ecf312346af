"""Metrics of an agent, as /metrics shows them."""

from __future__ import annotations

from prometheus_client import generate_latest

from cloudroute.core.node.desired import DesiredStateBuilder
from cloudroute.dataplane import PeerBytes, TransitSource
from cloudroute.telemetry import AgentTelemetry
from cloudroute.types import Cidr
from tests.agent.in_memory import HOST, POLICY, TABLES, Node, node_route

TWO, TWO6, FOUR = map(Cidr.parse, ("100.64.2.0/24", "fd00:64:0:0:2::/80", "100.64.4.0/24"))


def series(telemetry: AgentTelemetry, name: str) -> dict[str, float]:
    """Return the values of a series by their labels."""
    lines = generate_latest(telemetry.registry).decode().splitlines()
    found = (line.removeprefix(name).rpartition(" ") for line in lines if line.startswith((f"{name}{{", f"{name} ")))
    return {labels: float(value) for labels, _, value in found}


def test_bytes_are_counted_by_peer_and_path_and_go_on_where_the_kernels_begin_anew() -> None:
    counters = [PeerBytes(TWO, 100, 10), PeerBytes(TWO6, 1, 0), PeerBytes(FOUR, 0, 7)]
    telemetry = AgentTelemetry(lambda: counters)
    routes = {f"n{number}": node_route(number) for number in (1, 2, 4)}
    telemetry.set_gauges(DesiredStateBuilder(POLICY).compose(routes["n1"], routes, {}, HOST), {})
    name = "cloudroute_agent_peer_bytes_total"
    first = {'{path="overlay",peer="n2"}': 101, '{path="native",peer="n2"}': 10, '{path="direct",peer="n4"}': 7}
    assert series(telemetry, name) == first
    assert series(telemetry, name) == first, "a second look counts nothing twice"
    counters[:] = [PeerBytes(TWO, 5, 10), PeerBytes(TWO6, 1, 0), PeerBytes(FOUR, 0, 9)]
    now = {'{path="overlay",peer="n2"}': 106, '{path="native",peer="n2"}': 10, '{path="direct",peer="n4"}': 9}
    assert series(telemetry, name) == now
    telemetry.set_gauges(DesiredStateBuilder(POLICY).compose(routes["n1"], {"n2": routes["n2"]}, {}, HOST), {})
    assert '{path="direct",peer="n4"}' not in series(telemetry, name), "a peer that is gone takes its series along"


def test_peers_failures_and_repairs() -> None:
    node = Node(node_route(1, TABLES), node_route(2, TABLES), node_route(3), node_route(4), node_route(5, cidrs=[]))
    node.settle()
    assert series(node.telemetry, "cloudroute_agent_peers") == {
        '{path="native"}': 1, '{path="direct"}': 1, '{path="overlay"}': 1,
    }  # fmt: skip
    assert series(node.telemetry, "cloudroute_agent_peer_problems") == {"": 1}
    assert series(node.telemetry, "cloudroute_agent_ready") == {"": 1}
    assert set(series(node.telemetry, "cloudroute_agent_failed").values()) == {0}
    one = next(iter(node.kernel.state["fdb"]))
    node.kernel.refuse["fdb", one] = ("no memory", 1)
    node.kernel.break_("fdb", one)
    node.turn()
    assert series(node.telemetry, "cloudroute_agent_failed")['{kind="fdb"}'] == 1
    assert series(node.telemetry, "cloudroute_agent_ready") == {"": 0}
    node.settle()
    assert series(node.telemetry, "cloudroute_agent_ready") == {"": 1}
    assert series(node.telemetry, "cloudroute_agent_sync_seconds_count") == {"": 2}


def test_counters_that_cannot_be_read_for_a_moment_are_not_counted_again() -> None:
    counters = [PeerBytes(TWO, 100, 0)]
    telemetry = AgentTelemetry(lambda: tuple(counters))
    routes = {f"n{number}": node_route(number) for number in (1, 2)}
    telemetry.set_gauges(DesiredStateBuilder(POLICY).compose(routes["n1"], routes, {}, HOST), {})
    name = "cloudroute_agent_peer_bytes_total"
    assert series(telemetry, name) == {'{path="overlay",peer="n2"}': 100}
    counters.clear()
    assert series(telemetry, name) == {'{path="overlay",peer="n2"}': 100}
    counters.append(PeerBytes(TWO, 110, 0))
    assert series(telemetry, name) == {'{path="overlay",peer="n2"}': 110}


def test_packets_in_transit_are_counted_by_source_and_go_on_where_the_kernels_begin_anew() -> None:
    """A node that is no gateway has no such series."""
    packets: dict[TransitSource, int] = {}
    telemetry = AgentTelemetry(transit=lambda: packets)
    name = "cloudroute_gateway_transit_packets_total"
    assert series(telemetry, name) == {}
    packets |= {"pod": 2, "vpc": 10}
    for _ in range(2):
        assert series(telemetry, name) == {'{source="pod"}': 2, '{source="vpc"}': 10}
    packets |= {"pod": 0, "vpc": 1}
    assert series(telemetry, name) == {'{source="pod"}': 2, '{source="vpc"}': 11}
    packets.clear()
    assert series(telemetry, name) == {'{source="pod"}': 2, '{source="vpc"}': 11}

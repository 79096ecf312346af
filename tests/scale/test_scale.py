"""The light lab is like the strict one, and what is counted in it is what was promised, for hundreds of nodes."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Mapping
from threading import Event
from typing import Any
from unittest.mock import patch

import pytest

from cloudroute.agent.report import LASTS_SECONDS, SPREAD_SECONDS
from cloudroute.controller.loop import MOST_PACE_SECONDS, PACE_SECONDS
from cloudroute.selector import Selector
from tests.controller.lab import POOL, Lab, lab
from tests.scale import days, joins
from tests.scale.light_lab import Inline, LightLab

NODES = 100


@pytest.mark.parametrize("tables", [1, 3])
def test_light_and_strict_lab_are_alike(tables: int) -> None:
    """The same nodes on moto and the embedded API: equal calls, writes, seconds and final state; bytes within 2 %."""
    aws = {"throttle": True, "route_quota": 1000}
    # Without threads on either side, or which table gets the next token is a matter of their luck.
    inline = patch("cloudroute.controller.apply.ThreadPoolExecutor", Inline)
    with inline, lab(3, one_table=tables == 1, aws=aws, route_limit=1000) as strict:
        strict.join_many(NODES)
        strict.run()
        light = LightLab(tables, with_agents=False, pool=POOL)
        light.join_many(NODES)
        _run_as_the_lab_does(light)
        assert light.calls() == strict.calls()
        assert dict(light.cluster.writes) == strict.writes()
        assert light.clock.time == pytest.approx(strict.clock.time)
        assert _state_of_light(light) == _state_of_strict(strict)
        assert light.cluster.told["controller"] == pytest.approx(_watch_bytes(strict), rel=0.02)


def _run_as_the_lab_does(light: LightLab) -> None:
    while not (turn := light.loop.turn(Event())).settled:
        light.clock.time = max(light.clock.time, turn.next_at)


def _state_of_light(light: LightLab) -> Mapping[str, object]:
    tables = {table: number for number, table in enumerate(light.ec2.tables)}
    return {
        name: (
            tuple(map(str, route.spec.pod_cidrs)),
            tables[route.spec.route_table_id],
            bool(route.spec.subnet_id),
            sorted(tables[table] for table in route.spec.native_in),
            light.cluster.node(name).condition.reason,  # type: ignore[union-attr] # else it fails, as it should
            sorted(tables[t] for t in tables if str(route.spec.pod_cidrs[0]) in light.ec2.routes[t]),
        )
        for name, route in light.cluster.routes.items()
    }


def _state_of_strict(strict: Lab) -> Mapping[str, object]:
    tables = {table: number for number, table in enumerate(strict.tables())}
    routes = {table: strict.routes(table) for table in tables}
    return {
        name: (
            tuple(map(str, route.spec.pod_cidrs)),
            tables[route.spec.route_table_id],
            bool(route.spec.subnet_id),
            sorted(tables[table] for table in route.spec.native_in),
            (strict.condition(name) or ("", ""))[1],
            sorted(tables[t] for t in tables if str(route.spec.pod_cidrs[0]) in routes[t]),
        )
        for name, route in strict.published().items()
    }


def _watch_bytes(strict: Lab) -> int:
    """Bytes that a watch of NodeRoutes and one of RouteTables were sent."""
    store, total = strict.kube.store, 0
    for plural in ("noderoutes", "routetables"):
        resource: Any = strict.kube.registry.by_plural(plural)
        for change in store.collection(resource.storage).history:
            total += len(b'{"type":"%s","object":%s}\n' % (change.type.encode(), resource.encode(change.item)))
    return total


@pytest.mark.parametrize(("nodes", "tables"), [(100, 1), (100, 3), (300, 1)])
def test_counts_of_a_burst(nodes: int, tables: int) -> None:
    """All nodes at once: the calls and writes that the design names, no throttling, near the bound of the buckets."""
    figures = joins.measure(nodes, tables)
    describes = figures["calls"] - figures["creates"] - nodes
    assert figures["creates"] == nodes * tables
    # A resync a minute until the last agent has told its path, with a page of instances for each 200 nodes.
    resyncs = 1 + (figures["seconds"] + LASTS_SECONDS + SPREAD_SECONDS * nodes) // 60
    assert describes <= resyncs * (1 + -(-nodes // 200)) + 1
    assert figures["node_writes"] == 4 * nodes
    assert figures["writes"] - figures["node_writes"] <= 2 * tables * figures["cycles"]
    assert (figures["throttled"], figures["unavailable"]) == (0, 0)
    # The margin below AWS's buckets is a second's tokens and one more; the loop waits for the budget half a second.
    assert figures["conditions"] <= figures["bound"] + 2
    assert (figures["rest_calls"], figures["rest_writes"]) == (1 + -(-nodes // 200), 0)
    assert (figures["more_calls"], figures["more_writes"]) == (tables + 1, tables + 4)


@pytest.mark.parametrize("on", [True, False])
def test_a_cycle_leaves_the_search_for_garbage_as_it_was(*, on: bool) -> None:
    """It does without, and who has switched it off does so, too."""
    light = LightLab(1)
    light.join(0)
    (gc.enable if on else gc.disable)()
    try:
        light.loop.turn(Event())
        assert gc.isenabled() is on
    finally:
        gc.enable()


def test_cycles_keep_a_distance_by_what_they_cost() -> None:
    """By the nodes, and by the steps that wait for the budget: else ten tables would cost a hundred times one's CPU."""
    burst, calm = LightLab(10), LightLab(1)
    burst.join_many(300)
    burst.loop.turn(Event())
    assert PACE_SECONDS * (300 + 2_900) < burst.loop.pace() < PACE_SECONDS * (300 + 3_600)
    calm.join_many(30)
    calm.rest()
    assert calm.loop.pace() == PACE_SECONDS * 30


def test_cycles_that_are_far_apart_lose_no_token() -> None:
    """As with 20,000 nodes: the distance has an end, before which no bucket is full."""
    nodes = 400
    light = LightLab(1, limit=20, with_agents=False)
    start = light.clock.time
    with patch("cloudroute.controller.loop.PACE_SECONDS", 0.05):
        light.join_many(nodes)
        light.rest()
    calls = {action: number for action, number in light.calls().items() if not action.startswith("Describe")}
    assert (calls, light.throttled()) == ({"ModifyNetworkInterfaceAttribute": nodes, "CreateRoute": 19}, 0)
    assert light.ec2.asked["ModifyNetworkInterfaceAttribute"][1] - start <= joins.bound(calls) + MOST_PACE_SECONDS
    assert light.cycles <= 15
    assert not light.unreachable()


@pytest.mark.parametrize("day", [days.replacement, days.outage])
def test_days_harm_nobody(day: Any) -> None:
    """While nodes are replaced, and while EC2 is gone, no living node loses a path, or is told to have no network."""
    figures = day(60)
    harm = ("unavailable", "unreached", "lost", "yielded", "throttled")
    assert Counter({key: figures[key] for key in harm}).total() == 0
    assert figures["writes"] > 0


def test_a_route_that_vanishes_is_seen() -> None:
    """The count of harmed nodes can count one: a published native node whose route another program removes is named."""
    light = LightLab(1, with_agents=False)
    (name,) = light.join_many(1)
    light.rest()
    assert light.unreachable() == []
    light.ec2.delete_route(
        RouteTableId=light.ec2.tables[0], DestinationCidrBlock=str(light.cluster.route(name).spec.pod_cidrs[0])
    )
    assert light.unreachable() == [name]


@pytest.mark.parametrize("nodes", [10, 300])
def test_a_failover_costs_the_same_in_a_large_cluster(nodes: int) -> None:
    """A gateway falls silent: one describe, and one ReplaceRoute for each of its aggregates, whatever the nodes."""
    light = LightLab(3, limit=50, with_agents=False, gateway_nodes=Selector.parse("role=gateway"), gateway_routes=4)
    gateways = [light.join(zone, "candidate") for zone in (0, 1)]
    light.join_many(nodes)
    light.rest()
    light.renew(6, *gateways)
    light.rest()
    held = {name: light.ec2.aggregates_to(light.machines[name].interface_id) for name in gateways}
    assert sum(held.values()) == 3 * 4
    gone, other = gateways
    before = Counter(light.calls())
    light.renew(5, other)
    assert Counter(light.calls()) - before == {"DescribeRouteTables": 1, "ReplaceRoute": held[gone]}
    assert light.ec2.aggregates_to(light.machines[other].interface_id) == 3 * 4

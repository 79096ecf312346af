"""Gateways through the whole controller: EC2 calls counted, Leases renewed over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event, Thread
from typing import Any

import pytest

from cloudroute.adapters.kube.agents import KubeAgents
from cloudroute.core.cluster.heartbeats import Heard
from cloudroute.errors import Unreachable
from cloudroute.selector import Selector
from cloudroute.types import NodeRoute, Renewal
from tests.controller.lab import POOL, POOL6, Lab
from tests.controller.lab import lab as any_lab
from tests.waiting import eventually

GATEWAYS = {"gateway_nodes": Selector.parse("role=gateway")}


class Leases:
    """The agents of gateways: each renews its Lease when the test says so."""

    def __init__(self, world: Lab) -> None:
        self.world = world
        self._agents: dict[str, KubeAgents] = {}
        world.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloudroute"}})

    def renew(self, *names: str) -> None:
        """These nodes renew their Leases; the controller has heard it."""
        for name in names:
            agent = self._agents.setdefault(name, KubeAgents(str(self.world.server.kubeconfig()), name))
            before = self.world.cluster.heartbeats.known.heard.get(name)
            route = self.world.published()[name]
            eventually(partial(_renews, agent, route), "the API server answers in time")
            eventually(partial(self._heard, name, before), "the renewal is heard")

    def _heard(self, name: str, before: Heard | None) -> bool:
        return self.world.cluster.heartbeats.known.heard.get(name) != before

    def pass_seconds(self, seconds: int, *names: str) -> None:
        """Time passes, and these nodes renew their Leases each second."""
        for _ in range(seconds):
            self.world.pass_seconds(1)
            self.renew(*names)
        self.world.pass_seconds(0.1)


@contextmanager
def lab(*args: Any, **settings: Any) -> Iterator[tuple[Lab, Leases]]:
    with any_lab(*args, **{**GATEWAYS, "resync_seconds": 3600.0, **settings}) as world:
        yield world, Leases(world)


def _renews(agent: KubeAgents, route: NodeRoute) -> bool:
    with suppress(Unreachable):  # as agents do, it tries again
        agent.renew_gateway_lease(route)
        return True
    return False


def joined(world: Lab, leases: Leases) -> list[str]:
    """Two gateways and two other nodes on two zones, settled; the names of the gateways."""
    gateways = [world.join(zone, labels={"role": "gateway"}) for zone in (0, 1)]
    for zone in (0, 1):
        world.join(zone)
    world.run()
    leases.renew(*gateways)
    leases.pass_seconds(4, *gateways)
    return gateways


def holders(world: Lab, destination: str = POOL) -> list[str]:
    """Names of the nodes that the tables route a pool to."""
    names = {world.machine(name).interface_id: name for name in world.published()}
    return [names[world.routes(table)[destination]] for table in world.tables()]


def test_bring_up_costs_one_create_for_each_table_pool_and_part() -> None:
    """Both families, two parts each: eight creates beside those of the nodes' own routes."""
    with lab(2, ipv6=True, cluster_cidr=(POOL, POOL6), gateway_routes=2) as (world, leases):
        joined(world, leases)
        calls = world.calls()
        assert calls["CreateRoute"] == 2 * 2 * 2 + 4 * 2 * 2
        assert "ReplaceRoute" not in calls


def test_the_journal_has_each_aggregate() -> None:
    """`status.ipv4.gateways` of each RouteTable object names destination, node and ENI."""
    with lab(2) as (world, leases):
        gateways = joined(world, leases)
        for table, name in zip(world.tables(), gateways, strict=True):
            status = world.kube.get("routetables", table)["status"]
            interface = world.published()[name].spec.network_interface_id
            entry = {"destination": POOL, "node": name, "interface": interface}
            assert status["ipv4"]["gateways"] == [entry]
            assert world.routes(table)[POOL] == interface


def test_an_idle_cluster_with_gateways_asks_nothing_more() -> None:
    """A minute of renewals: no EC2 call and no write of the controller."""
    with lab(2) as (world, leases):
        gateways = joined(world, leases)
        world.calls(), world.writes()
        leases.pass_seconds(60, *gateways)
        assert world.calls() == {}
        assert world.writes() == {}


def test_a_silent_gateway_is_replaced_by_one_describe_and_one_call_for_each_aggregate() -> None:
    """Within its lease plus one second."""
    with lab(2) as (world, leases):
        gone, other = joined(world, leases)
        world.calls()
        leases.pass_seconds(3, other)
        assert holders(world) == [other, other]
        assert world.calls() == {"DescribeRouteTables": 1, "ReplaceRoute": 1}
        leases.pass_seconds(3, gone, other)
        assert holders(world) == [other, other], "it does not take its route back"


def test_a_cordoned_gateway_is_replaced_while_it_still_forwards() -> None:
    """It stays published as a gateway, since it is still selected; one describe, one call."""
    with lab(2) as (world, leases):
        first, other = joined(world, leases)
        leases.pass_seconds(6, first, other)
        world.calls()
        world.kube.patch("nodes", first, {"spec": {"unschedulable": True}})
        world.turn(), world.turn()
        assert holders(world) == [other, other]
        assert world.calls() == {"DescribeRouteTables": 1, "ReplaceRoute": 1}
        assert world.published()[first].spec.gateway


def test_a_change_of_label_moves_no_aggregate_where_gateways_have_both() -> None:
    """The next controller selects by the new one; then the old one goes."""
    label = "node-restriction.kubernetes.io/role"
    with lab(2) as (world, leases):
        gateways = joined(world, leases)
        for name in gateways:
            world.kube.patch("nodes", name, {"metadata": {"labels": {label: "gateway"}}})
        world.start(gateway_nodes=Selector.parse(f"{label}=gateway"))
        world.calls()
        leases.pass_seconds(6, *gateways)
        for name in gateways:
            world.kube.patch("nodes", name, {"metadata": {"labels": {"role": None}}})
        leases.pass_seconds(6, *gateways)
        assert {"CreateRoute", "ReplaceRoute", "DeleteRoute"}.isdisjoint(world.calls())
        assert holders(world) == gateways


def test_an_api_server_that_is_away_changes_no_gateway() -> None:
    """Nobody renews for ten minutes, then one second later than the other: neither is replaced."""
    with lab(2) as (world, leases):
        first, other = joined(world, leases)
        world.calls()
        world.pass_seconds(600)
        leases.renew(other)
        world.pass_seconds(1)
        leases.renew(first)
        leases.pass_seconds(3, first, other)
        assert world.calls() == {}
        assert holders(world) == [first, other]


def test_a_hand_over_outlives_a_failover_of_the_controller() -> None:
    """The leader ends as a gateway falls silent; the next one finishes within the lease that it listens for."""
    with lab(2) as (world, leases):
        _, other = joined(world, leases)
        world.stop()
        world.start()
        world.run()
        leases.renew(other)
        leases.pass_seconds(4, other)
        assert holders(world) == [other, other]


def test_without_the_flag_no_lease_is_watched_and_nothing_is_published() -> None:
    """The same calls, writes and watches as ever."""
    with any_lab(2) as world:
        names = [world.join(zone, labels={"role": "gateway"}) for zone in (0, 1)]
        world.run()
        assert {table: sorted(world.routes(table)) for table in world.tables()} == {
            table: sorted(world.pod_cidrs(name)[0] for name in names) for table in world.tables()
        }
        assert all("gateway" not in o["spec"] for o in world.kube.list("noderoutes"))
        assert not [key for key in world.kube.calls if key[1].startswith("leases")]


@pytest.mark.parametrize("burst", [False, True])
def test_a_silence_wakes_a_loop_that_rests(monkeypatch: pytest.MonkeyPatch, *, burst: bool) -> None:
    """The loop's own thread starts the failover as a gateway falls silent, also where a burst's pace holds it back."""
    with lab(2) as (world, leases):
        _, other = joined(world, leases)
        if burst:
            monkeypatch.setattr("cloudroute.controller.loop.PACE_SECONDS", 1000.0)
        stop = Event()
        thread = Thread(target=world.loop.run, args=(stop,), daemon=True)
        thread.start()
        for second in range(1, 5):
            world.clock.time += 1.0
            renewal = Renewal(world.published()[other].uid, str(second))
            world.cluster.heartbeats.known.see(other, renewal, world.clock.time)
        end = world.clock.time + 1.0
        eventually(lambda: passed(world, end) and holders(world) == [other, other], "the failover is done")
        stop.set()
        world.loop.wake()
        thread.join(20)


def passed(world: Lab, end: float) -> bool:
    """A millisecond passes, until `end`."""
    world.clock.time = min(world.clock.time + 0.001, end)
    return True


def test_an_aggregate_to_a_dead_gateway_counts_as_a_blackhole() -> None:
    """Not as a route of ours: alerts of missing routes ask for the two apart."""
    with lab(2, resync_seconds=60.0) as (world, leases):
        first, other = joined(world, leases)
        for name in (first, other):
            world.aws.scene.terminate(world.instance(name))
        world.pass_seconds(61)
        counts = {
            (sample.labels["table"], sample.labels["state"]): sample.value
            for metric in world.telemetry.registry.collect()
            for sample in metric.samples
            if sample.name == "cloudroute_routes"
        }
        # The routes of the two dead nodes are gone, and without a successor their aggregates stay.
        assert [counts[table, "blackhole"] for table in world.tables()] == [1, 1]

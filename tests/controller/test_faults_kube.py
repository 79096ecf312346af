"""The Kubernetes API refuses, conflicts, goes silent or away: in the end the world is right all the same."""

from __future__ import annotations

import math
import time
from functools import partial
from threading import Event, Lock
from unittest.mock import patch

import pytest

from cloudroute.adapters.kube.cluster import KubeCluster
from tests.controller.ends import NATIVE, all_native
from tests.controller.lab import Lab, lab
from tests.waiting import eventually

WRITES = (
    ("patch", "nodes"),
    ("patch", "nodes/status"),
    ("create", "noderoutes"),
    ("patch", "noderoutes"),
    ("delete", "noderoutes"),
    ("create", "routetables"),
    ("patch", "routetables/status"),
)
STRIKES = 2


def life(world: Lab) -> list[str]:
    """Nodes join, others leave; who is there in the end. Every kind of write is needed for it."""
    names = world.join_many(3)
    world.run()
    world.terminate(names[0])
    return [*names[1:], world.join(0)]


@pytest.mark.parametrize("code", [409, 410, 429, 500, 503])
def test_each_kind_of_write_is_refused(code: int) -> None:
    """Each kind of write is answered with this status, twice: all is made good."""
    with lab(zones=2) as world:
        for verb, resource in WRITES:
            world.kube.faults.fail(code, verb, resource, count=STRIKES)
        names = life(world)
        world.run()
        all_native(world, names)
        for kind in WRITES:
            assert world.kube.calls[kind] - world.kube.changes[kind] >= STRIKES, f"{kind} was not struck"


def test_each_kind_of_write_loses_its_answer() -> None:
    """Each kind of write is done and its answer lost, twice: nothing is done twice, nothing is forgotten."""
    with lab(zones=2) as world:
        for verb, resource in WRITES:
            world.kube.faults.drop(verb, resource, count=STRIKES)
        names = life(world)
        world.run()
        all_native(world, names)
        assert {str(world.use(table_id)) for table_id in world.tables()} == {
            str({"limit": 50, "used": 4, "ours": 3, "foreign": 1})
        }


def test_a_429_is_not_repeated_before_its_time() -> None:
    """The API server names 30 s in Retry-After: that write waits for so long, the others do not."""
    with lab(zones=1) as world:
        world.kube.faults.fail(429, "create", "noderoutes", retry_after=30)
        names = world.join_many(2)
        start = world.clock.time
        while len(world.published()) < 2:
            world.clock.time = max(world.turn().next_at, world.clock.time)
            if world.clock.time < start + 30:
                assert len(world.published()) <= 1
        assert 30 <= world.clock.time - start < 35
        world.run()
        all_native(world, names)


def test_a_write_is_always_refused_and_slows_no_other() -> None:
    """One node's condition can't be written for minutes: all others are served, then it is made good."""
    with lab(zones=1) as world:
        world.kube.faults.fail(500, "patch", "nodes/status", count=math.inf)
        names = world.join_many(3)
        world.pass_seconds(120)
        assert world.native(world.table()) == sorted(names)
        assert set(world.conditions().values()) == {None}
        assert world.kube.calls["patch", "nodes/status"] <= 3 * 10
        world.kube.faults.clear()
        world.run()
        all_native(world, names)


def test_the_watches_are_too_old() -> None:
    """All watches are cut and answered 410 while nodes come and go: a new list shows what was missed."""
    with lab(zones=2) as world:
        names = world.join_many(2)
        world.run()
        world.kube.faults.fail(410, "watch", count=3)
        world.kube.faults.cut()
        world.terminate(names[0])
        names = [names[1], world.join(0)]
        world.run()
        all_native(world, names)


def test_a_watch_is_silently_dead() -> None:
    """Watches stay open and say nothing any more: they are given up, and what was missed is found."""
    with patch("tests.controller.lab.KubeCluster", partial(KubeCluster, silence=0.5)), lab(zones=1) as world:
        names = world.join_many(2)
        world.run()
        assert world.kube.faults.silence() >= 3
        world.terminate(names[0])
        names = [names[1], world.join()]
        world.run()
        all_native(world, names)


def test_the_api_server_is_gone_for_minutes() -> None:
    """Every write fails and no watch lives: nothing is undone meanwhile, and what waited is done when it is back."""
    with lab(zones=2) as world:
        old = world.join_many(2)
        world.run()
        young = world.join(0)
        world.sync()
        world.kube.faults.down(math.inf)
        end = world.clock.time + 300
        while world.clock.time < end:
            world.clock.time = max(world.loop.turn(Event()).next_at, world.clock.time)
        assert world.conditions() == {**dict.fromkeys(old, NATIVE), young: None}
        assert all(len(world.routes(table_id)) == 2 for table_id in world.tables())
        world.kube.faults.clear()
        world.run()
        all_native(world, [*old, young])


def test_a_write_hangs() -> None:
    """The API server takes a write and never answers: it ends by the client's timeout, and is made good."""
    with patch("cloudroute.adapters.kube.transport.READ_SECONDS", 0.3), lab(zones=1) as world:
        world.kube.faults.hang("patch", "nodes", count=1)
        world.kube.faults.hang("create", "noderoutes", count=1)
        names = world.join_many(2)
        begun = time.monotonic()
        world.run()
        assert time.monotonic() - begun < 5
        all_native(world, names)


def test_a_node_is_given_its_cidr_by_somebody_else() -> None:
    """Between our read and our write another controller sets podCIDRs: the Node's are kept, ours are not believed."""
    with lab(zones=1) as world:
        name = world.join()
        world.start(fence=Meddler(world, name))
        world.run()
        assert world.pod_cidrs(name) == ("100.64.200.0/24",)
        all_native(world, [name])


class Meddler:
    """A fence that always opens; when it is first asked, somebody else gives a Node its pod CIDR."""

    def __init__(self, world: Lab, name: str) -> None:
        cidr = "100.64.200.0/24"
        self._todo = [lambda: world.kube.patch("nodes", name, {"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}})]
        self._lock = Lock()

    def check(self) -> None:
        with self._lock:  # nobody passes before it is done
            while self._todo:
                self._todo.pop()()


def test_events_that_can_not_be_written_hold_up_nothing() -> None:
    """Events are refused: the nodes get their routes all the same."""
    with lab(zones=2, one_table=True, route_limit=3) as world:
        world.kube.faults.fail(500, "create", "events", count=math.inf)
        names = world.join_many(4)
        world.run()
        assert len(world.routes(world.table())) == 2
        assert None not in [world.condition(name) for name in names]
        eventually(lambda: world.kube.calls["create", "events"] > 0, "an Event is asked for")

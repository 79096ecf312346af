"""A controller's threads are watched, and its process ends when one of them does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import pytest

from cloudroute.adapters.kube import project
from cloudroute.adapters.kube.cluster import KubeCluster
from cloudroute.clock import SystemClock
from cloudroute.controller import Controller, Lease
from cloudroute.controller.loop import Loop
from cloudroute.errors import CloudrouteError, LeaseLost
from cloudroute.telemetry import ControllerTelemetry
from tests.controller.lab import settings_of
from tests.controller.servers import seconds_until, servers
from tests.controller.test_lease import Store
from tests.waiting import eventually

DEADLINE = 0.6
SLACK = 1.5


class Stores:
    """A cluster that is synced. `broken` names a thread of it that has died."""

    def __init__(self) -> None:
        self.broken = ""
        self.stopped = False
        self.nodes = self.node_routes = self.route_table_objects = self

    def wait_synced(self, timeout: float) -> bool:
        return True

    def start(self, changed: object) -> None:
        """Nothing to start."""

    trouble = ""

    def dead(self) -> str:
        return self.broken

    def stop(self) -> None:
        self.stopped = True


class Work:
    """A loop that does what `turn` says, then waits for its end."""

    def __init__(self, turn: Callable[[], object]) -> None:
        self._turn = turn
        self.woken = threading.Event()

    def check(self) -> None:
        """All fits."""

    def wake(self) -> None:
        self.woken.set()

    def run(self, stop: threading.Event) -> bool:
        self._turn()
        while not stop.is_set():
            self.woken.wait(10)
        return True


class Supervised:
    """A controller with a lease that nobody contests."""

    def __init__(self, turn: Callable[[], object]) -> None:
        self.cluster, self.store = Stores(), Store()
        self.lease = Lease(self.store, SystemClock(), "me", 4, DEADLINE, 0.1)
        self.controller = Controller(
            settings_of(), cast(Any, self.cluster), self.lease, lambda: cast(Loop, Work(turn)), ControllerTelemetry()
        )

    def holder(self) -> str:
        assert self.store.record
        return self.store.record.holder


def test_a_dead_reflector_ends_the_process() -> None:
    """A thread of the cluster that has ended is named, and the process goes on no longer than a glance."""
    world = Supervised(lambda: setattr(world.cluster, "broken", "reflector-nodes"))
    with pytest.raises(CloudrouteError, match="reflector-nodes"):
        world.controller.run()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reflector_that_dies_is_found(tmp_path: Path) -> None:
    """A defect ends a reflector's thread: the cluster names it; one that was never started, or runs, is well."""
    with servers(tmp_path) as world, patch.object(project, "node", side_effect=ZeroDivisionError):
        cluster = KubeCluster(str(world.kubeconfig), SystemClock())
        assert cluster.dead() == ""
        world.join("first")
        cluster.start(lambda: None)
        eventually(lambda: cluster.dead() == "reflector-nodes", "the reflector's end is known")
        cluster.stop()


def test_a_defect_in_the_loop_ends_the_process() -> None:
    """Any error of the loop comes out; the lease is kept, since steps may still be under way."""
    world = Supervised(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.controller.run()
    assert world.holder() == "me"


def test_a_defect_in_the_lease_ends_the_process() -> None:
    """Nobody would renew any more: the process ends, and the loop's thread is told to."""

    def defect() -> None:
        raise ZeroDivisionError

    world = Supervised(lambda: world.store.before.extend([defect] * 5))
    with pytest.raises(ZeroDivisionError):
        world.controller.run()
    assert world.controller.stop.is_set()


def test_a_lost_lease_ends_the_process_though_the_loop_hangs() -> None:
    """The main thread looks at the clock alone: neither a hanging renewal nor a hanging step holds it up."""
    hang = threading.Event()

    def work() -> None:
        world.store.before.append(lambda: cast(None, hang.wait(10)))
        hang.wait(10)

    world = Supervised(work)
    try:
        assert seconds_until(lambda: raises(world.controller)) < DEADLINE + SLACK
    finally:
        hang.set()


def raises(controller: Controller) -> bool:
    with pytest.raises(LeaseLost):
        controller.run()
    return True


def test_the_lease_is_renewed_while_the_last_steps_end() -> None:
    """A drain that takes longer than the deadline keeps the lease to its end, and then releases it."""

    def drain() -> None:
        world.controller.stop.set()
        threading.Event().wait(2 * DEADLINE)
        world.lease.check()

    world = Supervised(drain)
    assert world.controller.run()
    assert (world.holder(), world.cluster.stopped) == ("", True)

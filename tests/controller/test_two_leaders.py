"""Two leaders never write at once, whatever hangs, freezes, is lost or lies about the time."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudroute.adapters.kube.leases import KubeLeases
from cloudroute.adapters.kube.transport import Transport
from cloudroute.controller import Lease
from cloudroute.errors import LeaseLost
from tests.controller.ends import all_native
from tests.controller.lab import Lab, lab
from tests.controller.simulation import DEADLINE, DURATION, PERIOD, Call, Process, Simulation

seconds = st.one_of(st.floats(0, 0.1), st.floats(0, 8))
calls = st.lists(
    st.builds(Call, seconds, seconds, st.sampled_from(["answered", "answered", "answer lost", "request lost"])),
    max_size=12,
)
pauses = st.lists(st.tuples(st.floats(0, 80), st.floats(0, 40)), max_size=3)
offsets = st.floats(0, 100_000)
lives = st.one_of(st.none(), st.floats(1, 80))
"""Time at which a process is stopped with grace, if ever."""


def forever(process: Process) -> None:
    """A process that leads or stands by."""
    process.lease.run(lambda: None)


def graceful(until: float) -> Callable[[Process], None]:
    """A process that leads or stands by until then, and releases."""

    def life(process: Process) -> None:
        while process.simulation.now < until:
            process.lease.turn()
            process.sleep(PERIOD)
        process.lease.release()

    return life


def kill_leader(simulation: Simulation) -> None:
    """SIGKILL for whoever holds the lease."""
    for process in simulation.processes:
        if process.lease.held:
            process.kill()


def writers(simulation: Simulation) -> list[Process]:
    """Processes that may start a write now, or whose last write may still be on its way."""
    result = []
    for process in simulation.processes:
        simulation.shift = DEADLINE - DURATION
        if process.lease.held:
            result.append(process)
    simulation.shift = 0.0
    return result


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(calls, pauses, offsets, lives), min_size=2, max_size=3), st.floats(0, 80))
def test_no_two_fences_are_open_at_once(
    schedules: list[tuple[list[Call], list[tuple[float, float]], float, float | None]], kill_at: float
) -> None:
    """A process that may write is alone: no delay, lost answer, pause or clock leaves another's write under way."""
    simulation = Simulation()
    for number, (fates, frozen, offset, _) in enumerate(schedules):
        Process(simulation, f"p{number}", fates, frozen, offset)
    for process, (*_, end) in zip(simulation.processes, schedules, strict=True):
        process.start(graceful(simulation.now + end) if end else forever)
    simulation.at(simulation.now + kill_at, lambda: kill_leader(simulation))
    try:
        for _ in simulation.play(120):
            if any(process.lease.held for process in simulation.processes):
                assert len(writers(simulation)) == 1
    finally:
        simulation.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(offsets, min_size=2, max_size=3), st.floats(0, 0.05), st.floats(3, 60))
def test_a_dead_leader_is_followed(clocks: list[float], delay: float, kill_at: float) -> None:
    """Another process holds within lease duration and one retry period of a kill, jitter and answers aside."""
    simulation = Simulation()
    for number, offset in enumerate(clocks):
        Process(simulation, f"p{number}", [Call(delay, delay)], offset=offset)
    for process in simulation.processes:
        process.start(forever)
    try:
        for _ in simulation.play(kill_at):
            pass
        leader = next(process for process in simulation.processes if process.lease.held)
        leader.kill()
        others = [process for process in simulation.processes if process is not leader]
        for _ in simulation.play(DURATION + PERIOD * 1.2 + 6 * delay):
            pass
        assert [process.lease.held for process in others].count(True) == 1
    finally:
        simulation.close()


@settings(max_examples=40, deadline=None)
@given(calls, pauses)
def test_after_the_faults_somebody_leads(fates: list[Call], frozen: list[tuple[float, float]]) -> None:
    """However wildly two candidates were struck, a third that starts afterwards leads: no state is a dead end."""
    simulation = Simulation()
    for number in range(2):
        Process(simulation, f"p{number}", fates, frozen).start(forever)
    try:
        for _ in simulation.play(60):
            pass
        for process in simulation.processes:
            process.kill()
        late = Process(simulation, "late", [])
        late.start(forever)
        for _ in simulation.play(DURATION + 2 * PERIOD + 10):
            pass
        assert late.lease.held
    finally:
        simulation.close()


# --- with EC2 and Kubernetes ----------------------------------------------------------------------


class Freezing:
    """The fence of a process that freezes right after it was told that it may write."""

    def __init__(self, lease: Lease, freeze: Callable[[], None]) -> None:
        self._lease, self._freeze = lease, [freeze]

    def check(self) -> None:
        self._lease.check()
        while self._freeze:
            self._freeze.pop()()


def lease_of(lab: Lab, name: str) -> Lease:
    """A lease of its own over the lab's API."""
    transport = Transport(str(lab.server.kubeconfig()))
    return Lease(KubeLeases(transport, "default", "cloudroute", 3.0), lab.clock, name, DURATION, DEADLINE, PERIOD)


def test_a_frozen_leader_writes_nothing_when_it_thaws() -> None:
    """A leader freezes between its decision and its write; when it thaws another leads, and nothing is written."""
    with lab(zones=1) as simulation:
        old, new = lease_of(simulation, "old"), lease_of(simulation, "new")
        name = simulation.join()
        old.turn()
        new.turn()

        def take_over() -> None:
            simulation.clock.time += DURATION + 1
            new.turn()

        simulation.start(fence=Freezing(old, take_over))
        simulation.calls(), simulation.writes()
        simulation.sync()
        with pytest.raises(LeaseLost):
            simulation.loop.turn(Event())
        assert (old.held, old.lost, new.held) == (False, True, True)
        assert not {action for action in simulation.calls() if not action.startswith("Describe")}
        simulation.start(fence=new)
        simulation.run()
        all_native(simulation, [name])


def test_a_frozen_leader_cannot_send_a_call_that_it_has_prepared() -> None:
    """The freeze strikes after the last step's own check: the check before the bytes leave stops EC2's calls."""
    with lab(zones=1, direct_routing="off") as simulation:
        name = simulation.join(pod_cidrs=("100.64.9.0/24",))
        lease = lease_of(simulation, "old")
        lease.turn()

        def freeze() -> None:
            simulation.clock.time += 60

        simulation.start(fence=Freezing(lease, freeze))
        simulation.sync()
        with pytest.raises(LeaseLost):
            simulation.loop.turn(Event())
        assert simulation.routes(simulation.tables()[0]) == {}
        assert simulation.condition(name) is None

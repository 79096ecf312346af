"""End of an agent's process: on a signal, when a thread dies, and with --once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from cloudroute.agent import process
from cloudroute.agent.process import Agent
from cloudroute.clock import SystemClock
from cloudroute.config import AgentSettings
from cloudroute.errors import CloudrouteError, Unreachable
from cloudroute.telemetry import AgentTelemetry
from tests.agent.in_memory import CONFLIST, POOLS, TABLES, Killed, MemoryAgents, MemoryKernel, node_route
from tests.waiting import eventually


def agent(kernel: MemoryKernel, agents: MemoryAgents, **settings: Any) -> Agent:
    chosen = AgentSettings(node_name="n1", cluster_cidr=POOLS, **settings)
    return Agent(chosen, agents, kernel, SystemClock(), AgentTelemetry())


def run_until(one: Agent, done: Callable[[], object]) -> None:
    """Run an agent in this thread; stop it, as a signal does, when `done` is true."""

    def signal() -> None:
        try:
            eventually(done, "the moment to stop it")
        finally:
            one.stop.set()

    thread = threading.Thread(target=signal)
    thread.start()
    one.run()
    thread.join()


@pytest.fixture
def world() -> tuple[MemoryKernel, MemoryAgents]:
    kernel, agents = MemoryKernel(), MemoryAgents()
    agents.node_routes.objects = {route.name: route for route in (node_route(1, TABLES), node_route(2))}
    return kernel, agents


def test_a_signal_ends_it_well_and_the_kernel_stays(world: tuple[MemoryKernel, MemoryAgents]) -> None:
    """The last status says AgentStopped, so that the controller keeps the routes that this node still uses."""
    kernel, agents = world
    run_until(agent(kernel, agents), lambda: agents.written)
    assert CONFLIST in kernel.state["files"]
    assert [(said["ready"], said["reason"]) for said in agents.written] == [(True, "Ready"), (False, "AgentStopped")]
    assert agents.written[-1]["path"] == agents.written[0]["path"], "what its node has stays said"


def test_the_next_process_takes_its_predecessors_last_word_back(world: tuple[MemoryKernel, MemoryAgents]) -> None:
    """One write is enough: the controller does not wait for a running agent."""
    kernel, agents = world
    run_until(agent(kernel, agents), lambda: agents.written)
    run_until(agent(kernel, agents), lambda: len(agents.written) > 2)
    assert [said["ready"] for said in agents.written] == [True, False, True, False]


def test_an_end_without_an_api_server_takes_seconds(
    world: tuple[MemoryKernel, MemoryAgents], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status that can't be written does not keep the process alive."""
    monkeypatch.setattr(process, "FLUSH_SECONDS", 0.2)
    kernel, agents = world
    agents.errors = [Unreachable("patch noderoutes", "n1", "503", "no leader")] * 100
    run_until(agent(kernel, agents), lambda: CONFLIST in kernel.state["files"])
    assert not agents.written


def test_once_ends_when_all_is_in_place(world: tuple[MemoryKernel, MemoryAgents]) -> None:
    kernel, agents = world
    agent(kernel, agents, once=True).run()
    assert CONFLIST in kernel.state["files"]
    assert agents.written[-1]["ready"] is True, "the status is written before it ends"


def test_once_says_what_keeps_failing(
    world: tuple[MemoryKernel, MemoryAgents], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "PATIENCE_SECONDS", 0.2)
    kernel, agents = world
    kernel.refuse["links", None] = ("Operation not permitted", 1_000_000)
    with pytest.raises(CloudrouteError, match="KernelFailed: links cr0: Operation not permitted"):
        agent(kernel, agents, once=True).run()


def test_once_without_an_api_server_says_its_trouble(
    world: tuple[MemoryKernel, MemoryAgents], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "PATIENCE_SECONDS", 0.2)
    kernel, agents = world
    agents.node_routes.synced = False
    agents.trouble = "list noderoutes: connection refused"
    with pytest.raises(CloudrouteError, match="list noderoutes: connection refused"):
        agent(kernel, agents, once=True).run()


@pytest.mark.parametrize("who", ["agents", "kernel"])
def test_a_thread_that_dies_ends_the_process(
    world: tuple[MemoryKernel, MemoryAgents], who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, agents = world
    one = agent(kernel, agents)
    monkeypatch.setattr(agents if who == "agents" else kernel, "dead", lambda: "netlink-events")
    with pytest.raises(CloudrouteError, match="the thread netlink-events has ended"):
        one.run()


def test_an_error_that_nobody_foresaw_ends_the_process(world: tuple[MemoryKernel, MemoryAgents]) -> None:
    kernel, agents = world
    kernel.life = 3  # the fourth entry raises what is no CloudrouteError
    with pytest.raises(Killed):
        agent(kernel, agents).run()

"""How an agent's process ends: by a signal well, by the death of a thread at once; and what --once says."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from cloudroute.agent import process
from cloudroute.agent.metrics import AgentTelemetry
from cloudroute.agent.process import Agent
from cloudroute.clock import SystemClock
from cloudroute.config import AgentSettings
from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.workload import wait_for
from tests.agent.world import CONFLIST, POOLS, TABLES, Killed, MemoryAgents, MemoryKernel, node_route


def agent(kernel: MemoryKernel, agents: MemoryAgents, **settings: Any) -> Agent:
    chosen = AgentSettings(node_name="n1", cluster_cidr=POOLS, **settings)
    return Agent(chosen, agents, kernel, SystemClock(), AgentTelemetry())


@pytest.fixture
def world() -> tuple[MemoryKernel, MemoryAgents]:
    kernel, agents = MemoryKernel(), MemoryAgents()
    agents.node_routes.objects = {route.name: route for route in (node_route(1, TABLES), node_route(2))}
    return kernel, agents


def test_a_signal_ends_it_well_and_the_kernel_stays(world: tuple[MemoryKernel, MemoryAgents]) -> None:
    kernel, agents = world
    one = agent(kernel, agents)

    def signal() -> None:
        try:
            wait_for(lambda: agents.written, "the first status")
        finally:
            one.stop.set()

    threading.Thread(target=signal).start()
    one.run()
    assert CONFLIST in kernel.state["files"]
    assert agents.written[-1]["ready"] is True


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

"""States of an agent: one after the other, and nothing is written before its state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest

from cloudroute.core.node.startup import BASE, PEERS, AgentState
from cloudroute.dataplane import KINDS, Kind, packed
from cloudroute.errors import Unreachable
from tests.agent.in_memory import CONFLIST, HOST, TABLES, MemoryKernel, Node, node_route

OWN = replace(node_route(1, TABLES), status={"ready": True})
"""The NodeRoute of a node on which an agent has run before."""
UNREACHABLE = Unreachable("get nodes", "n1", "503", "no leader")


class Obstacle(NamedTuple):
    """A condition that keeps an agent in a state."""

    state: AgentState
    reason: str
    begin: Callable[[Node], object]
    end: Callable[[Node], object]


OBSTACLES = (
    Obstacle(
        AgentState.LISTING, "",
        lambda node: setattr(node.agents.node_routes, "synced", False),
        lambda node: setattr(node.agents.node_routes, "synced", True),
    ),
    Obstacle(
        AgentState.LISTING, "",
        lambda node: setattr(node.agents.route_table_objects, "synced", False),
        lambda node: setattr(node.agents.route_table_objects, "synced", True),
    ),
    Obstacle(
        AgentState.IDENTIFYING, "NoNodeRoute",
        lambda node: node.withdraw("n1"),
        lambda node: node.agents.node_routes.objects.update(n1=OWN),
    ),
    Obstacle(
        AgentState.IDENTIFYING, "NoNodeRoute",
        lambda node: setattr(node.agents, "instance", UNREACHABLE),
        lambda node: setattr(node.agents, "instance", OWN.spec.instance_id),
    ),
    Obstacle(
        AgentState.IDENTIFYING, "NoNodeRoute",
        lambda node: setattr(node.agents, "instance", "i-0000beef"),
        lambda node: setattr(node.agents, "instance", OWN.spec.instance_id),
    ),
    Obstacle(
        AgentState.PREPARING, "Interface",
        lambda node: setattr(node.kernel, "facts", "there is no eth0"),
        lambda node: setattr(node.kernel, "facts", HOST),
    ),
    Obstacle(
        AgentState.PREPARING, "NoPodCIDR",
        lambda node: node.publish(node_route(1, cidrs=[])),
        lambda node: node.publish(OWN),
    ),
    Obstacle(
        AgentState.PROGRAMMING, "KernelFailed",
        lambda node: node.kernel.refuse.update({("addresses", None): ("no memory", 1_000_000)}),
        lambda node: node.kernel.refuse.clear(),
    ),
    Obstacle(
        AgentState.PROGRAMMING, "CNIPluginsMissing",
        lambda node: setattr(node.kernel, "installed", frozenset({"ptp"})),
        lambda node: setattr(node.kernel, "installed", frozenset({"ptp", "host-local"})),
    ),
    Obstacle(
        AgentState.PROGRAMMING, "AddressesInUse",
        lambda node: node.kernel.leases.update(cbr0={packed("100.64.1.7")}),
        lambda node: node.kernel.leases.clear(),
    ),
)  # fmt: skip


@pytest.fixture
def booted() -> Node:
    """n1, whose machine has just booted: the kernel is empty, and the conflist is of the former boot."""
    kernel = MemoryKernel()
    kernel.tables["files"].entries[CONFLIST] = b"of the former boot"
    node = Node(node_route(2), kernel=kernel)
    node.agents.node_routes.objects["n1"] = OWN
    return node


def take_kinds(node: Node) -> list[Kind]:
    """Return the kinds of the entries written since the last call, in their order."""
    kinds = [kind for kind, _ in node.kernel.writes]
    node.kernel.writes.clear()
    return kinds


@pytest.mark.parametrize("restarts", [False, True])
def test_an_agent_passes_through_every_state_and_writes_in_none_what_belongs_to_a_later_one(
    booted: Node, *, restarts: bool
) -> None:
    """One condition at a time is missing while those of all later states hold; also with a new process each time."""
    passed: list[AgentState] = []
    for obstacle in OBSTACLES:
        if restarts:
            booted.start()
        obstacle.begin(booted)
        report = booted.turn()
        assert (report.state, report.reason) == (obstacle.state, obstacle.reason)
        assert set(take_kinds(booted)) <= set(obstacle.state.writes)
        assert CONFLIST not in booted.kernel.state["files"]
        obstacle.end(booted)
        passed.append(report.state)
    report = booted.turn()
    assert report.ready
    assert take_kinds(booted) == ["files"]
    passed += [report.state, report.stopped().state]
    assert list(dict.fromkeys(passed)) == list(AgentState)


def test_without_an_obstacle_one_turn_removes_the_old_conflist_then_programs_the_kernel_then_writes_the_new_one(
    booted: Node,
) -> None:
    assert booted.turn().state is AgentState.SERVING
    first, *programmed, last = take_kinds(booted)
    assert (first, last) == ("files", "files")
    assert set(programmed) == {*BASE, *PEERS} - {"fdb6", "neighbours6", "rules"}, "no IPv6 alone, and no gateway"


@pytest.mark.parametrize("obstacle", OBSTACLES[2:], ids=lambda obstacle: obstacle.reason)
def test_an_agent_that_serves_keeps_its_conflist_whatever_comes(booted: Node, obstacle: Obstacle) -> None:
    booted.turn()
    obstacle.begin(booted)
    booted.kernel.told(KINDS)
    booted.turn()
    assert CONFLIST in booted.kernel.state["files"]
    obstacle.end(booted)
    assert booted.settle().ready

"""States of a Node and of a NodeRoute. test_properties.py and test_machine.py see that they change as drawn."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cloudroute.core.cluster import states
from cloudroute.core.cluster.planner import Decision, decide
from cloudroute.core.cluster.states import State
from tests.core.world import World


def seen(world: World) -> Decision:
    """A plan for the world as it is; no step is done."""
    return decide(world.snapshot(), world.policy)


def test_the_drawing_in_the_docs_is_that_of_the_code() -> None:
    drawing = textwrap.dedent((states.__doc__ or "").split("\n\n", 2)[2].rsplit("\n\n", 1)[0])
    assert drawing in Path("docs/design.md").read_text(encoding="utf-8")


# --- Nodes ----------------------------------------------------------------------------------------


def _invalid(world: World, name: str) -> None:
    world.nodes[name] = replace(world.nodes[name], instance_id="")


def _duplicate(world: World, name: str) -> None:
    world.nodes[name] = replace(world.nodes[name], instance_id=world.nodes["settled"].instance_id)


def _refused(world: World, name: str) -> None:
    world.nodes[name] = replace(world.nodes[name], pod_cidrs=world.spec("settled").pod_cidrs)


def _other_vpc(world: World, name: str) -> None:
    instance = world.instances[world.nodes[name].instance_id]
    world.instances[instance.id] = replace(instance, vpc_id="vpc-other")


def _unseen(world: World, name: str) -> None:
    del world.instances[world.nodes[name].instance_id]


def _blocked(world: World, name: str) -> None:
    world.nodes[name] = replace(world.nodes[name], pod_cidrs=world.spec("settled").pod_cidrs)
    del world.nodes["settled"]


def _routable(world: World, name: str) -> None:
    world.switch_check(world.nodes[name].instance_id, on=False)


def _joining(world: World, name: str) -> None:
    assert world.checked(world.instances[world.nodes[name].instance_id].interfaces[0].id)


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (_invalid, State.INVALID),
        (_duplicate, State.DUPLICATE),
        (_refused, State.REFUSED),
        (_other_vpc, State.OTHER_VPC),
        (_unseen, State.UNSEEN),
        (_blocked, State.BLOCKED),
        (_joining, State.JOINING),
        (_routable, State.ROUTABLE),
    ],
)
def test_the_state_of_a_new_node(change: Callable[[World, str], None], state: State) -> None:
    world = World()
    world.join(name="settled")
    world.settle()
    world.join(name="new")
    change(world, "new")
    assert seen(world).membership.node_states["new"] is state


def test_the_states_of_a_node_that_is_published() -> None:
    world = World()
    instance_id = world.join(name="node").instance_id
    world.settle()
    assert seen(world).membership.node_states == {"node": State.ROUTABLE}
    world.switch_check(instance_id, on=True)
    assert seen(world).membership.node_states == {"node": State.JOINING}
    instance = world.instances.pop(instance_id)
    assert seen(world).membership.node_states == {"node": State.MISSING}
    world.instances[instance_id] = instance
    world.state(instance_id, "terminated")
    assert seen(world).membership.node_states == {"node": State.DEAD}


# --- NodeRoutes -----------------------------------------------------------------------------------


def test_the_states_of_a_node_route_whose_node_is_gone() -> None:
    world = World()
    instance_id = world.join(name="node").instance_id
    world.settle()
    assert seen(world).membership.state_of_route("node") is State.ROUTABLE
    del world.nodes["node"]
    assert seen(world).membership.state_of_route("node") is State.LEAVING
    world.cycle()
    assert seen(world).membership.state_of_route("node") is State.DRAINING
    world.state(instance_id, "terminated")
    assert seen(world).membership.state_of_route("node") is State.GONE
    world.join(name="node", cidrs=world.spec("node").pod_cidrs)
    assert seen(world).membership.state_of_route("node") is State.REPLACED


def test_the_node_route_of_a_renamed_node_is_superseded() -> None:
    world = World()
    instance_id = world.join(name="node").instance_id
    world.settle()
    del world.nodes["node"]
    world.join(name="renamed", instance=instance_id)
    membership = seen(world).membership
    assert (membership.node_states, membership.node_route_states) == (
        {"renamed": State.ROUTABLE},
        {"node": State.SUPERSEDED},
    )

"""Invariants of the design over worlds of many shapes. test_machine.py has what happens in sequence."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cloudroute.core.cluster.model import Step
from cloudroute.core.cluster.planner import decide
from cloudroute.types import NodeRouteSpec
from tests.core.history import History
from tests.core.invariants import check_always, check_settled
from tests.core.world import DUAL, POLICY, World


@st.composite
def worlds(draw: st.DrawFn, min_limit: int = 2) -> World:
    """A settled world in which something has happened since: some left, some came, some changed."""
    policy = replace(
        draw(st.sampled_from([POLICY, DUAL])),
        direct_routing=draw(st.sampled_from(["auto", "always", "off"])),
        route_reserve=draw(st.integers(0, 2)),
    )
    world = World(policy, "ab", one_table=draw(st.booleans()), limit=draw(st.integers(min_limit, min_limit + 10)))
    for zone in draw(st.lists(st.sampled_from("ab"), max_size=8)):
        world.join(zone, priority=draw(st.integers(0, 1)))
    world.settle()
    for name in list(world.nodes):
        node = world.nodes[name]
        match draw(st.sampled_from(["stays", "stays", "goes", "dies", "stops", "renamed", "recreated", "interface"])):
            case "goes":
                del world.nodes[name]
            case "dies":
                world.state(node.instance_id, "terminated")
                del world.nodes[name]
            case "stops":
                world.state(node.instance_id, "stopped")
            case "renamed":
                del world.nodes[name]
                world.join(name=f"{name}-renamed", instance=node.instance_id)
            case "recreated":
                world.join("b", name=name)
            case "interface":
                world.replace_interface(node.instance_id)
    for zone in draw(st.lists(st.sampled_from("ab"), max_size=3)):
        world.join(zone)
    world.log.clear()
    return world


def outcome(world: World) -> tuple[dict[str, NodeRouteSpec], dict[str, set[str]], dict[str, str]]:
    """Digest of a world: its NodeRoutes, routes and conditions."""
    return (
        {name: record.spec for name, record in world.records.items()},
        {table: world.ours(table) for table in world.tables},
        {name: world.reason(name) for name in world.nodes},
    )


@given(worlds())
def test_every_world_settles(world: World) -> None:
    """Applying and planning again gives nothing, then everything is as it should be, and states change as drawn."""
    world.watch = History().see
    world.settle()
    check_settled(world)


@given(worlds(), st.integers(0, 30), st.integers(1, 4))
def test_a_restart_at_any_step_ends_in_the_same_state(world: World, step: int, crashes: int) -> None:
    """A successor that takes over in the middle of a plan brings it to the very same end."""
    twin = world.copy()
    for number in range(crashes):
        steps = decide(twin.snapshot(), twin.policy).plan.steps
        twin.run(steps[: (step * (number + 1)) % (len(steps) + 1)])
        twin.restart()
        check_always(twin)
    world.settle()
    twin.settle()
    check_settled(twin)
    assert outcome(twin) == outcome(world)


@given(worlds(), st.randoms(use_true_random=False), st.sampled_from([0.2, 0.5, 0.8]))
def test_failures_delay_the_end_and_break_nothing(world: World, chance: random.Random, share: float) -> None:
    """Steps fail at random while time passes; then all is as it should be."""
    for _ in range(6):
        world.cycle(lambda step: chance.random() < share)
        world.now += chance.choice([0, 1, 3, 11])
        check_always(world)
    world.settle()
    check_settled(world)


@given(worlds(min_limit=40), st.sets(st.sampled_from(["route", "check", "noderoute", "condition", "cidrs", "report"])))
def test_an_api_failure_never_makes_a_healthy_node_unhealthy(world: World, refused: set[str]) -> None:
    """A native path whose prerequisites hold outlasts any failing API, as long as there is room for all."""

    def fails(step: Step) -> bool:
        return step.key[0] in refused

    for _ in range(5):
        before = {name: record.spec for name, record in world.records.items() if name in world.nodes}
        world.cycle(fails)
        for name, spec in before.items():
            record, node = world.records.get(name), world.nodes[name]
            if record is None or node.instance_id != spec.instance_id:
                continue
            kept = {table for table in spec.native_in if world.reaches(table, spec)}
            assert kept <= set(record.spec.native_in)
            assert node.condition is None or node.condition.status == "False"
        world.now += 11

"""Effects of steps on a snapshot: the same as doing them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cloudroute.core.cluster.effects import apply_steps, with_check_off, with_routes
from cloudroute.core.cluster.model import ChangeRoute, Snapshot
from cloudroute.core.cluster.planner import conclude, decide
from tests.core.test_properties import worlds
from tests.core.world import World


def content(snapshot: Snapshot) -> tuple[object, ...]:
    """A snapshot without the versions that Kubernetes gives."""
    records = {name: replace(record, uid="", version="", created="") for name, record in snapshot.node_routes.items()}
    return snapshot.nodes, records, snapshot.instances, snapshot.tables


@given(worlds(), st.integers(0, 3))
def test_a_snapshot_after_steps_is_the_world_after_doing_them(world: World, cycles: int) -> None:
    for _ in range(cycles):
        world.cycle()
    snapshot = world.snapshot()
    plan = decide(snapshot, world.policy).plan
    world.run(plan.steps)
    assert content(apply_steps(snapshot, plan.steps)) == content(world.snapshot())


@given(worlds(), st.integers(0, 3))
def test_the_expected_status_is_the_conclusion_when_no_step_fails(world: World, cycles: int) -> None:
    for _ in range(cycles):
        world.cycle()
    decision = decide(world.snapshot(), world.policy)
    world.run(decision.plan.steps)
    assert decision.plan.publish == conclude(decision, world.snapshot())


def test_only_the_tables_and_instances_of_steps_are_new_objects() -> None:
    """Tables that are the same objects are not searched again."""
    world = World()
    node, _ = world.join("a"), world.join("b")
    world.settle()
    snapshot = world.snapshot()
    (cidr,) = world.spec(node.name).pod_cidrs
    after = apply_steps(snapshot, [ChangeRoute("delete", "rtb-a", cidr, "", node.name)])
    assert cidr not in after.tables["rtb-a"].routes
    assert after.tables["rtb-b"] is snapshot.tables["rtb-b"]
    assert with_routes(snapshot.tables["rtb-a"], {}) is snapshot.tables["rtb-a"]
    assert apply_steps(snapshot, ()) is snapshot


def test_a_check_is_switched_off_for_the_primary_interface_alone() -> None:
    world = World()
    instance = world.instances[world.launch(interfaces=2)]
    primary, second = instance.interfaces
    assert with_check_off(instance, second.id) is instance
    assert with_check_off(instance, primary.id).interfaces == (replace(primary, source_dest_check=False), second)

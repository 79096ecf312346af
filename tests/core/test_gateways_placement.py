"""Properties of placement: which gateway each aggregate leads to, whatever is there before."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import NamedTuple, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudroute.core.cluster.planner import decide
from cloudroute.types import Cidr, GatewayRole, Route
from tests.core.world import DUAL, POLICY, ROOMY, World

ZONES = "abc"


class Gateway(NamedTuple):
    """A node that is, was or may be a gateway."""

    zone: str
    role: GatewayRole
    heard: bool
    """Whether it renews its Lease."""
    holds: frozenset[str]
    """Zones in whose tables the first aggregate leads to it, as far as no other gateway has it."""


GATEWAYS = st.lists(
    st.builds(
        Gateway,
        zone=st.sampled_from(ZONES),
        role=st.sampled_from(get_args(GatewayRole)),
        heard=st.booleans(),
        holds=st.frozensets(st.sampled_from(ZONES)),
    ),
    max_size=5,
)


def world_of(gateways: list[Gateway], parts: int, *, dual: bool) -> World:
    """A world in which these gateways were told, and hold their aggregates."""
    policy = replace(DUAL if dual else POLICY, gateways=True, gateway_routes=parts)
    world = World(replace(policy, gateways=False), ZONES)
    for number, gateway in enumerate(gateways):
        world.join(gateway.zone, f"gw-{number}", gateway="candidate")
    for zone in ZONES:
        world.join(zone)
    world.settle()
    for number, gateway in enumerate(gateways):
        name = f"gw-{number}"
        if not gateway.heard:
            world.silent.add(name)
        world.nodes[name] = replace(world.nodes[name], gateway=gateway.role)
        spec = replace(world.spec(name), gateway=True)
        world.records[name] = replace(world.records[name], spec=spec)
        for zone in gateway.holds:
            routes = world.tables[f"rtb-{zone}"].routes
            assert isinstance(routes, dict)
            routes.setdefault(policy.aggregates[0], Route(policy.aggregates[0], spec.network_interface_id))
    world.policy = policy
    return world


def holders(world: World) -> dict[tuple[str, Cidr], str]:
    """Table and aggregate -> name of the node that it leads to."""
    names = {record.spec.network_interface_id: name for name, record in world.records.items()}
    found = {}
    for table in world.tables.values():
        for to in world.policy.aggregates:
            if route := table.routes.get(to):
                found[table.id, to] = names[route.target]
    return found


@settings(deadline=None)
@given(GATEWAYS, st.sampled_from([1, 2, 4]), st.booleans())
def test_holders_are_candidates_or_stay_and_the_own_zone_comes_first(
    gateways: list[Gateway],
    parts: int,
    dual: bool,  # noqa: FBT001 - drawn
) -> None:
    world = world_of(gateways, parts, dual=dual)
    before = holders(world)
    world.cycle()
    after = holders(world)
    ready = {f"gw-{n}": one.zone for n, one in enumerate(gateways) if one.role == "candidate" and one.heard}
    for entry, name in after.items():
        assert name in ready or (name == before.get(entry) and not ready)
        if before.get(entry) in ready:
            assert name == before[entry], "no failback"
        elif entry[0][-1] in ready.values():
            assert ready[name] == entry[0][-1], "the table's own zone has a candidate"
    if ready:
        assert after.keys() == {(table, to) for table in world.tables for to in world.policy.aggregates}
    world.settle()
    assert decide(world.snapshot(), world.policy).plan.empty


@settings(deadline=None)
@given(st.integers(1, 4), st.sampled_from([1, 2, 4, 8]))
def test_equal_candidates_share_the_aggregates_of_a_table_equally(count: int, parts: int) -> None:
    gateways = [Gateway("a", "candidate", True, frozenset())] * count  # noqa: FBT003 - a tuple's field
    world = world_of(gateways, parts, dual=False)
    world.cycle()
    load = Counter(holders(world).values())
    assert max(load.values()) - min(load[f"gw-{number}"] for number in range(count)) <= 1


@given(
    parts=st.sampled_from([1, 2, 4, 8]),
    dual=st.booleans(),
    before=st.integers(0, 20),
    restart=st.integers(0, 149),
)
@settings(max_examples=10)
def test_each_part_has_an_equal_share_of_the_nodes_past_the_limit(
    parts: int, *, dual: bool, before: int, restart: int
) -> None:
    """Nodes from before gateways were asked for keep their CIDRs; a restart changes no turn."""
    pools = (*ROOMY.pools, *DUAL.pools[1:]) if dual else ROOMY.pools
    policy = replace(POLICY, pools=pools, gateways=True, gateway_routes=parts)
    world = World(replace(policy, gateways=False), one_table=True)
    for _ in range(before):
        world.join()
    world.settle()
    world.policy = policy
    joined = []
    for number in range(150):
        if number == restart:
            world.restart()
        joined.append(world.join())
        if number % 10 == 9:
            world.settle()
    past = [world.spec(node.name) for node in joined if not world.spec(node.name).native_in]
    assert len(past) >= 100
    share = Counter(part for spec in past for part in policy.aggregates for one in spec.pod_cidrs if part.covers(one))
    assert max(share.values()) - min(share[part] for part in policy.aggregates) <= 1

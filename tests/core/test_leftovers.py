"""What `cleanup` lists: routes that are ours, and those that a person has to judge."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudroute.core.cluster.leftovers import delete_command, owned_routes, unclear_routes
from cloudroute.core.cluster.model import ChangeRoute
from cloudroute.core.cluster.planner import Decision
from cloudroute.types import Cidr
from tests.core.world import DUAL, World


def leaving(parts: int = 1, *, journal: bool = True) -> tuple[World, Decision]:
    """A settled world with gateways as `cleanup` finds it; without a journal the CRDs were deleted meanwhile."""
    world = World(replace(DUAL, gateways=True, gateway_routes=parts), "ab")
    world.join("a", gateway="candidate")
    world.join("b")
    world.settle()
    if not journal:
        world.reports.clear()
        world.records.clear()
        world.restart()
    world.policy = replace(world.policy, gateways=False, gateway_routes=1, leave=True)
    return world, world.plan()


def test_the_list_has_every_route_that_is_removed() -> None:
    """Aggregates too; none of them is unclear."""
    world, decision = leaving()
    listed = {(table_id, to) for table_id, to, _ in owned_routes(decision.uses)}
    assert unclear_routes(decision.uses, world.policy) == []
    world.log.clear()
    world.settle()
    deleted = {(s.table_id, s.destination) for s in world.log if isinstance(s, ChangeRoute) and s.verb == "delete"}
    assert listed == deleted
    assert len(listed) == 2 * (2 * 2 + 2)


@pytest.mark.parametrize("parts", [1, 2, 4, 8])
def test_without_a_journal_aggregates_are_unclear(parts: int) -> None:
    """They stay, whatever number of parts was set; the flags of `cleanup` need not have it."""
    world, decision = leaving(parts, journal=False)
    unclear = unclear_routes(decision.uses, world.policy)
    assert len(unclear) == 2 * 2 * parts
    world.settle()
    left = [
        (table.id, route.destination)
        for table in world.tables.values()
        for route in table
        if route.target[:4] == "eni-"
    ]
    assert sorted(left) == [(table_id, to) for table_id, to, _ in unclear]


@pytest.mark.parametrize(
    ("destination", "option"),
    [("100.64.0.0/16", "--destination-cidr-block"), ("fd64::/64", "--destination-ipv6-cidr-block")],
)
def test_the_command_that_deletes_a_route_has_the_option_of_its_family(destination: str, option: str) -> None:
    """As AWS's command line wants it."""
    command = f"aws ec2 delete-route --route-table-id rtb-1 {option} {destination}"
    assert delete_command("rtb-1", Cidr.parse(destination)) == command


def test_a_route_of_a_pool_to_something_else_is_not_a_gateways() -> None:
    """To a transit gateway, say: it needs no judgement."""
    world, _ = leaving(journal=False)
    (table_id, pool, _), *rest = unclear_routes(world.plan().uses, world.policy)
    table = world.tables[table_id]
    table.routes[pool] = table.routes[pool]._replace(target="tgw-1")  # type: ignore[index]
    assert unclear_routes(world.plan().uses, world.policy) == rest

"""Steps of a plan that may be done by tables that were read a while ago."""

from __future__ import annotations

from typing import Any

from cloudroute.core.cluster.model import ChangeRoute, DeleteNodeRoute, SetCondition, WriteNodeRoute
from cloudroute.core.cluster.staleness import safe_on_old_tables
from cloudroute.types import Cidr, Condition, Node, NodeRoute, NodeRouteSpec

SPEC = NodeRouteSpec((), (), "i-1", "eni-1", "", "rtb-1", ())


def route(number: int, verb: Any, *after: tuple[str, ...]) -> ChangeRoute:
    return ChangeRoute(verb, "rtb-1", Cidr.parse(f"100.64.{number}.0/24"), "eni-1", f"n{number}", after)


def test_deletions_replacements_and_all_that_follows_them_wait() -> None:
    """Steps behind one of them, at any distance, wait too; all others are kept, in their order."""
    record, create = WriteNodeRoute("n1", None, SPEC), route(1, "create", ("noderoute", "n1"))
    delete, replace = route(2, "delete"), route(3, "replace", ("noderoute", "n1"))
    in_its_place = route(4, "create", ("noderoute", "n1"), delete.key)
    gone = DeleteNodeRoute(NodeRoute("n2", "uid", "1", "", SPEC), (delete.key,))
    said = SetCondition(Node("n4", "uid", "1", "", "i-4"), Condition("False", "RouteCreated", ""), (in_its_place.key,))
    other = DeleteNodeRoute(NodeRoute("n5", "uid", "1", "", SPEC))
    steps = (record, create, delete, replace, in_its_place, gone, said, other)
    assert safe_on_old_tables(steps) == (record, create, other)


def test_a_step_behind_one_of_another_plan_is_kept() -> None:
    """A predecessor that is not in the plan is done already: nothing waits for it."""
    steps = (route(1, "create", ("route", "rtb-9", "x")),)
    assert safe_on_old_tables(steps) == steps

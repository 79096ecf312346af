"""Bugs at the edges, as in `mutations`: each patches one function of cloudroute, and the storm must find it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from cloudroute.controller import reader
from cloudroute.core.cluster import gateways, publish, routes, tables
from cloudroute.core.cluster.gateways import Placement
from cloudroute.core.cluster.members import Member
from cloudroute.core.cluster.model import Policy, Snapshot
from cloudroute.core.cluster.outside import outside_pools
from cloudroute.types import Aggregate, Node, NodeRoute, Route
from tests.simulation.seams import put


def one_node_outside_ends_each_controller() -> None:
    """Each single Node with a pod CIDR outside the pools counts as a wrong --cluster-cidr."""

    def outside(nodes: Mapping[str, Node], node_routes: Mapping[str, NodeRoute], policy: Policy) -> list[str]:
        single = [problem for name, node in nodes.items() for problem in outside_pools({name: node}, {}, policy)]
        return outside_pools({}, node_routes, policy) + single

    put(reader, "outside_pools", outside)


def any_blackhole_is_our_aggregate() -> None:
    """A blackhole at the destination of an aggregate counts as ours, whatever ENI it led to."""

    def leads_to_gateway(route: Route, entry: Aggregate | None, selection: tables.Selection) -> bool:
        return not route.propagated and (route.target in selection.known or route.blackhole)

    put(tables, "_leads_to_gateway", leads_to_gateway)


def a_holder_keeps_its_aggregates_with_its_check_on() -> None:
    """A gateway whose source/dest check can't be switched off stays one, although it drops every packet."""
    keeps = gateways._keeps

    def without_held(holder: Member, route: Route, snapshot: Snapshot) -> bool:
        return keeps(holder, route, replace(snapshot, held=frozenset()))

    put(gateways, "_keeps", without_held)


def agents_are_told_of_intended_aggregates() -> None:
    """An aggregate is published before its route is there."""
    journals = gateways.journals

    def all_seen(
        snapshot: Snapshot, placement: Placement, uses: Mapping[str, tables.TableUse]
    ) -> dict[str, tables.Journal]:
        found = journals(snapshot, placement, uses).items()
        return {id_: tables.Journal(tuple(sorted(one.seen + one.intended)), ()) for id_, one in found}

    put(publish, "journals", all_seen)
    put(routes, "journals", all_seen)


EDGE_MUTATIONS: tuple[Callable[[], None], ...] = (
    one_node_outside_ends_each_controller, any_blackhole_is_our_aggregate,
    a_holder_keeps_its_aggregates_with_its_check_on, agents_are_told_of_intended_aggregates,
)  # fmt: skip
EDGE_FOUND_BY: dict[str, int] = {}
"""As `mutations.FOUND_BY`."""

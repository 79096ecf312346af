"""Bugs at the edges, as in `mutations`: each patches one function of cloudroute, and the storm must find it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cloudroute.controller import reader
from cloudroute.core.cluster import tables
from cloudroute.core.cluster.model import Policy
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


EDGE_MUTATIONS: tuple[Callable[[], None], ...] = (one_node_outside_ends_each_controller, any_blackhole_is_our_aggregate)
EDGE_FOUND_BY: dict[str, int] = {}
"""As `mutations.FOUND_BY`."""

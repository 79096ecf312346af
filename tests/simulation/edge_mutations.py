"""Bugs at the edges, as in `mutations`: each patches one function of cloudroute, and the storm must find it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cloudroute.controller import reader
from cloudroute.core.cluster.model import Policy
from cloudroute.core.cluster.outside import outside_pools
from cloudroute.types import Node, NodeRoute
from tests.simulation.seams import put


def one_node_outside_ends_each_controller() -> None:
    """Each single Node with a pod CIDR outside the pools counts as a wrong --cluster-cidr."""

    def outside(nodes: Mapping[str, Node], node_routes: Mapping[str, NodeRoute], policy: Policy) -> list[str]:
        single = [problem for name, node in nodes.items() for problem in outside_pools({name: node}, {}, policy)]
        return outside_pools({}, node_routes, policy) + single

    put(reader, "outside_pools", outside)


EDGE_MUTATIONS: tuple[Callable[[], None], ...] = (one_node_outside_ends_each_controller,)
EDGE_FOUND_BY: dict[str, int] = {}
"""As `mutations.FOUND_BY`."""

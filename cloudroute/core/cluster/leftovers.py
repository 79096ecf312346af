"""Routes that `cleanup` removes, and those that only a person can tell from others' routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cloudroute.core.cluster.model import Policy
from cloudroute.core.cluster.tables import TableUse
from cloudroute.types import Cidr, Route

_PARTS = (1, 2, 4, 8)
"""The values of --gateway-routes: a former one may differ from today's."""

Found = list[tuple[str, Cidr, Route]]
"""Table id, destination and route; sorted."""


def owned_routes(uses: Mapping[str, TableUse]) -> Found:
    """Our routes to nodes and to gateways."""
    return sorted(
        (table_id, destination, route)
        for table_id, use in uses.items()
        for destination, route in (*use.ours.items(), *use.aggregates.items())
        if route
    )


def unclear_routes(uses: Mapping[str, TableUse], policy: Policy) -> Found:
    """Routes from a pool, or an equal part of one, to an interface that no RouteTable object names as a gateway's.

    They are a gateway's whose RouteTable objects were deleted, or somebody else's.
    """
    forms = [replace(policy, gateways=True, gateway_routes=parts, leave=False).aggregates for parts in _PARTS]
    whole = {cidr for form in forms for cidr in form}
    return sorted(
        (table_id, destination, use.table.routes[destination])
        for table_id, use in uses.items()
        for destination in use.foreign
        if destination in whole and use.table.routes[destination].target.startswith("eni-")
    )


def delete_command(table_id: str, destination: Cidr) -> str:
    """The command that deletes a route.

    >>> delete_command("rtb-1", Cidr.parse("100.64.0.0/16"))
    'aws ec2 delete-route --route-table-id rtb-1 --destination-cidr-block 100.64.0.0/16'
    """
    option = "--destination-ipv6-cidr-block" if destination.family == "ipv6" else "--destination-cidr-block"
    return f"aws ec2 delete-route --route-table-id {table_id} {option} {destination}"

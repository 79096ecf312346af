"""Other clusters in the VPC, found by routes to their nodes inside our own cluster CIDR.

If neither a Node nor a NodeRoute of ours has the target ENI of such a route, it leads to an instance of another owner
or to a deleted ENI. EC2 is asked which: a route to a deleted ENI is ours to remove, one to a stopped instance is not.
An instance that is tagged for a cluster of our own name means that two clusters share the name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cloudroute.core.cluster.ipam import NodeSized
from cloudroute.core.cluster.model import Policy, Snapshot
from cloudroute.core.cluster.tables import journal_of, select
from cloudroute.types import CLUSTER_TAG, Cidr, Notice


class ForeignRoute(NamedTuple):
    """A route to a node of another cluster of our name."""

    table_id: str
    destination: Cidr
    instance_id: str


def unknown_interfaces(snapshot: Snapshot, policy: Policy) -> set[str]:
    """Targets of routes that could be ours, in tables of ours: ENIs that no known node has."""
    return {target for _, _, target in _unknown_routes(snapshot, policy)}


def notices(snapshot: Snapshot, policy: Policy) -> list[Notice]:
    """A notice for each table that another cluster of our name uses."""
    by_table: dict[str, list[ForeignRoute]] = {}
    for route in _foreign_routes(snapshot, policy):
        by_table.setdefault(route.table_id, []).append(route)
    return [
        Notice("RouteTable", table_id, "", "SameClusterName", _sentence(found, policy.cluster_name))
        for table_id, found in by_table.items()
    ]


def refusal(snapshot: Snapshot, policy: Policy) -> list[str]:
    """Reasons why a new cluster must not start in these tables: another cluster of its name uses them; [] for none.

    A cluster that has started is never stopped: it has NodeRoutes or, if these were lost, a route to one of its nodes.
    """
    if snapshot.node_routes or not snapshot.nodes or policy.leave:
        return []
    found = notices(snapshot, policy)
    return [] if found and _has_begun(snapshot, policy) else [notice.message for notice in found]


def _has_begun(snapshot: Snapshot, policy: Policy) -> bool:
    """Whether a route leads to a node of ours."""
    known = select(snapshot, policy).known
    return any(route.target in known for table in snapshot.tables.values() for route in table)


def _foreign_routes(snapshot: Snapshot, policy: Policy) -> list[ForeignRoute]:
    """Routes to instances tagged for a cluster of our name that are no nodes of ours; by table and destination."""
    if not snapshot.unknown_owners:
        return []
    found = [
        ForeignRoute(table_id, destination, owner.instance_id)
        for table_id, destination, target in _unknown_routes(snapshot, policy)
        if (owner := snapshot.unknown_owners.get(target)) and policy.cluster_name in owner.clusters
    ]
    return sorted(found)


def _sentence(found: list[ForeignRoute], cluster_name: str) -> str:
    """The notice's text: the first of these routes, and the remedy."""
    table_id, destination, instance_id = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return (
        f"{table_id}: the route {destination} leads to {instance_id}{more}, which is tagged "
        f"{CLUSTER_TAG}{cluster_name} and is no Node here: another cluster of this name uses the table. Give "
        f"this one a --cluster-name and tables of its own; or, where {instance_id} is left of a cluster that is no "
        "more, terminate it or delete the route"
    )


def _unknown_routes(snapshot: Snapshot, policy: Policy) -> Iterator[tuple[str, Cidr, str]]:
    """Table, destination and target of each route to an unknown ENI: a node-sized one, or one of an old journal."""
    selection = select(snapshot, policy)
    known = selection.known
    node_sized = NodeSized(policy.pools, policy.node_mask)
    for table_id in selection.table_ids:
        unrecorded = {one.destination for one in journal_of(snapshot, table_id) if not one.interface}
        for destination, target, _, propagated in snapshot.tables[table_id]:
            if (
                target not in known  # first, since nearly all targets in a large table are known
                and target.startswith("eni-")
                and not propagated
                and isinstance(destination, Cidr)
                and (destination in node_sized or destination in unrecorded)
            ):
                yield table_id, destination, target

"""Effects of steps that succeed: on a snapshot, on a route table, on an instance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cloudroute.core.cluster.model import (
    AssignPodCidrs,
    ChangeRoute,
    DeleteNodeRoute,
    DisableSourceDestCheck,
    Snapshot,
    Step,
    WriteNodeRoute,
    WriteRouteTableObject,
)
from cloudroute.types import Cidr, Instance, NodeRoute, Route, RouteTable


def apply_steps(snapshot: Snapshot, steps: Sequence[Step]) -> Snapshot:
    """The snapshot after all `steps` of a plan: pod CIDRs, NodeRoutes, journals, routes and source/dest checks.

    A new NodeRoute has no uid, version or time of creation.
    """
    if not steps:
        return snapshot
    nodes, node_routes, instances = dict(snapshot.nodes), dict(snapshot.node_routes), dict(snapshot.instances)
    reports = dict(snapshot.route_table_objects)
    targets: defaultdict[str, dict[Cidr, str | None]] = defaultdict(dict)
    for step in steps:
        match step:
            case AssignPodCidrs():
                nodes[step.node.name] = replace(step.node, pod_cidrs=step.cidrs)
            case WriteNodeRoute():
                old = step.old or NodeRoute(step.name, "", "", "", step.spec)
                node_routes[step.name] = replace(old, spec=step.spec)
            case DeleteNodeRoute():
                del node_routes[step.old.name]
            case DisableSourceDestCheck():
                instances[step.instance_id] = with_check_off(instances[step.instance_id], step.interface_id)
            case WriteRouteTableObject():
                reports[step.report.id] = step.report
            case ChangeRoute():
                targets[step.table_id][step.destination] = step.interface_id or None
    tables = {id_: with_routes(table, targets[id_]) for id_, table in snapshot.tables.items()}
    return replace(
        snapshot, nodes=nodes, node_routes=node_routes, route_table_objects=reports, instances=instances, tables=tables
    )


def with_routes(table: RouteTable, targets: Mapping[Cidr, str | None]) -> RouteTable:
    """The route table with active routes to these targets, None for no route; the same object without any."""
    if not targets:
        return table
    routes = dict(table.routes)
    for destination, target in targets.items():
        routes.pop(destination, None)
        if target is not None:
            routes[destination] = Route(destination, target)
    return replace(table, routes=routes)


def with_check_off(instance: Instance, interface_id: str) -> Instance:
    """The instance with the source/dest check of its primary ENI off; unchanged if that is another ENI."""
    primary = instance.primary
    if primary is None or primary.id != interface_id:
        return instance
    return replace(instance, interfaces=(replace(primary, source_dest_check=False), *instance.interfaces[1:]))

"""Reports on nodes and route tables: conditions and RouteTable objects.

They are right for the route tables of the moment, so that a failed step is never reported as done.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from cloudroute.core.cluster.diff import Comparison
from cloudroute.core.cluster.model import (
    DeleteRouteTableObject,
    SetCondition,
    Snapshot,
    Step,
    WriteRouteTableObject,
)
from cloudroute.core.cluster.states import State
from cloudroute.core.cluster.tables import reports
from cloudroute.types import Condition

ROUTED = Condition("False", "RouteCreated", "every route table of the cluster leads to this node, or needs no route")
OVERLAY = Condition("False", "OverlayFallback", "a route table has no entry for this node: VXLAN carries its traffic")
LIMIT = Condition("True", "RouteLimit", "a route table has no entry for this node, and --overlay is off")


def publish(snapshot: Snapshot, found: Comparison) -> tuple[Step, ...]:
    """Conditions that differ, then RouteTable objects that differ.

    `found` has the route tables of `snapshot`, compared with the slots that a plan granted.
    """
    refusals = [_set(snapshot, node.name, node.uid, condition) for node, condition in found.membership.refusals]
    steps = [step for step in (*refusals, *_conditions(snapshot, found)) if step]
    return (*steps, *_reports(snapshot, found))


def _set(snapshot: Snapshot, name: str, uid: str, wanted: Condition) -> SetCondition | None:
    """Write a condition where the Node has another one."""
    node = snapshot.nodes.get(name)
    # A Node that was deleted and recreated meanwhile may be another instance, of which nothing is known yet.
    if node is None or node.uid != uid:
        return None
    now = node.condition
    if now is not None and now.reason == wanted.reason and now.status == wanted.status:
        return None
    return SetCondition(node, wanted)


def _conditions(snapshot: Snapshot, found: Comparison) -> list[SetCondition | None]:
    """Conditions of the members.

    Omits a member whose requested routes or source/dest check are not in place yet: its former condition stays right,
    and a node whose first route could not be requested has no condition.
    """
    policy, members = found.policy, found.membership.members
    managed = [use for use in found.uses.values() if use.managed]
    if not managed:
        return []
    neighbours: defaultdict[str, list[int]] = defaultdict(list)
    if policy.direct_routing != "off":
        for index, member in enumerate(members):
            neighbours[member.subnet_id].append(index)
    tables: Counter[int] = Counter()
    """By member: number of managed tables whose senders reach it, or will, without the overlay."""
    missing: set[int] = set()
    for use in managed:
        routed = found.grants[use.table.id]
        direct = [index for index in neighbours.get(use.only_subnet, ()) if index not in routed]
        tables.update(routed.keys())
        tables.update(direct)
        missing.update([index for index, gap in found.gaps[use.table.id].items() if not gap.blackhole])
        missing.update([index for index in direct if members[index].state is State.JOINING])
    if not policy.overlay:  # nothing else carries the node's traffic until its source/dest check is off
        missing.update([index for index, member in enumerate(members) if member.state is State.JOINING])
    less = OVERLAY if policy.overlay else LIMIT
    return [
        _set(snapshot, member.name, member.node.uid, ROUTED if tables[index] == len(managed) else less)
        for index, member in enumerate(members)
        if member.state in (State.JOINING, State.ROUTABLE)
        and member.name in snapshot.node_routes
        and index not in missing
    ]


def _reports(snapshot: Snapshot, found: Comparison) -> list[Step]:
    wanted = reports(snapshot, found.uses)
    steps: list[Step] = [
        WriteRouteTableObject(snapshot.route_table_objects.get(table_id), report)
        for table_id, report in wanted.items()
        if snapshot.route_table_objects.get(table_id) != report
    ]
    steps.extend(
        DeleteRouteTableObject(old) for table_id, old in snapshot.route_table_objects.items() if table_id not in wanted
    )
    return steps

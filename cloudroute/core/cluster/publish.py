"""Reports on nodes and route tables: conditions and RouteTable objects.

One function computes both the end of a plan (from the tables as they will be) and the end of a cycle (from the tables
as they are), so that a failed step is never reported as done.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping

from cloudroute.core.cluster.diff import Gaps
from cloudroute.core.cluster.members import Membership
from cloudroute.core.cluster.model import (
    DeleteRouteTableObject,
    Policy,
    SetCondition,
    Snapshot,
    Step,
    WriteRouteTableObject,
)
from cloudroute.core.cluster.slots import Grants
from cloudroute.core.cluster.tables import TableUse, reports
from cloudroute.types import Condition, Node

ROUTED = Condition("False", "RouteCreated", "every route table of the cluster leads to this node, or needs no route")
OVERLAY = Condition("False", "OverlayFallback", "a route table has no entry for this node: VXLAN carries its traffic")
LIMIT = Condition("True", "RouteLimit", "a route table has no entry for this node, and --overlay is off")


def publish(
    snapshot: Snapshot,
    policy: Policy,
    membership: Membership,
    grants: Grants,
    gaps: Gaps,
    uses: Mapping[str, TableUse],
    journal: Collection[str],
) -> tuple[Step, ...]:
    """Conditions that differ, then RouteTable objects that differ. `journal`: names that have a NodeRoute."""
    steps: list[Step] = []
    members = _conditions(policy, membership, grants, gaps, uses, journal)
    for node, condition in itertools.chain(membership.refused, members):
        now = snapshot.nodes.get(node.name)
        # A Node that was deleted and recreated meanwhile may be another instance, of which nothing is known yet.
        if now and now.uid == node.uid and not _has(now.condition, condition):
            steps.append(SetCondition(now, condition))
    return (*steps, *_reports(snapshot, uses))


def _conditions(
    policy: Policy,
    membership: Membership,
    grants: Grants,
    gaps: Gaps,
    uses: Mapping[str, TableUse],
    journal: Collection[str],
) -> Iterator[tuple[Node, Condition]]:
    """The condition of each member, as EC2 is now.

    Omits a member whose requested routes or source/dest check are not in place yet: its former condition stays right,
    and a node whose first route could not be requested has no condition.
    """
    members = membership.members
    managed = [use for use in uses.values() if use.managed]
    if not managed:
        return
    neighbours: defaultdict[str, list[int]] = defaultdict(list)
    if policy.direct_routing != "off":
        for index, member in enumerate(members):
            neighbours[member.subnet_id].append(index)
    tables: Counter[int] = Counter()
    """By member: number of managed tables whose senders reach it, or will, without the overlay."""
    missing: set[int] = set()
    for use in managed:
        routed = grants[use.table.id]
        direct = [index for index in neighbours.get(use.only_subnet, ()) if index not in routed]
        tables.update(routed.keys())
        tables.update(direct)
        missing.update([index for index, gap in gaps[use.table.id].items() if not gap.blackhole])
        missing.update([index for index in direct if members[index].checked])
    if not policy.overlay:  # nothing else carries the node's traffic until its source/dest check is off
        missing.update([index for index, member in enumerate(members) if member.checked])
    less = OVERLAY if policy.overlay else LIMIT
    for index, member in enumerate(members):
        if member.known and member.name in journal and index not in missing:
            yield member.node, ROUTED if tables.get(index) == len(managed) else less


def _has(condition: Condition | None, wanted: Condition) -> bool:
    return condition is not None and condition.status == wanted.status and condition.reason == wanted.reason


def _reports(snapshot: Snapshot, uses: Mapping[str, TableUse]) -> list[Step]:
    wanted = reports(snapshot, uses)
    steps: list[Step] = [
        WriteRouteTableObject(snapshot.route_table_objects.get(table_id), report)
        for table_id, report in wanted.items()
        if snapshot.route_table_objects.get(table_id) != report
    ]
    steps.extend(
        DeleteRouteTableObject(old) for table_id, old in snapshot.route_table_objects.items() if table_id not in wanted
    )
    return steps

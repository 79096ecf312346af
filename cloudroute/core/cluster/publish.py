"""Reports on nodes and route tables: conditions and RouteTable objects.

They are right for the route tables of the moment, so that a failed step is never reported as done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cloudroute.core.cluster.diff import Comparison
from cloudroute.core.cluster.gateways import journals
from cloudroute.core.cluster.model import DeleteRouteTableObject, SetCondition, Snapshot, Step, WriteRouteTableObject
from cloudroute.core.cluster.states import JOINING, SHOWN
from cloudroute.core.cluster.tables import reports
from cloudroute.types import Condition, Node, RouteTableObject

ROUTED = Condition("False", "RouteCreated", "every route table of the cluster leads to this node, or needs no route")
OVERLAY = Condition("False", "OverlayFallback", "a route table has no entry for this node: VXLAN carries its traffic")
LIMIT = Condition("True", "RouteLimit", "a route table has no entry for this node, and --overlay is off")


def publish(snapshot: Snapshot, found: Comparison) -> tuple[Step, ...]:
    """Conditions that differ, then RouteTable objects that differ.

    `found` has the route tables of `snapshot`, compared with the slots that a plan granted.
    """
    refusals = [
        SetCondition(now, condition)
        for node, condition in found.membership.refusals
        if (now := snapshot.nodes.get(node.name)) and now.uid == node.uid and not _has(now, condition)
    ]
    return (*refusals, *_conditions(snapshot, found), *_reports(snapshot, found))


def _has(node: Node, wanted: Condition) -> bool:
    now = node.condition
    return now is not None and now.reason == wanted.reason and now.status == wanted.status


def _conditions(snapshot: Snapshot, found: Comparison) -> Iterator[SetCondition]:
    """Conditions of the members.

    Omits a member whose requested routes or source/dest check are not in place yet, or whose routes may be deleted: its
    former condition stays right, and a node whose first route could not be requested has no condition.
    """
    policy, members = found.policy, found.membership.members
    managed = [use for use in found.uses.values() if use.managed]
    if not managed:
        return
    reached = set(range(len(members)))
    """Members that the senders of every managed table reach, or will, without the overlay."""
    missing: set[int] = set()
    for use in managed:
        routed = found.grants[use.table.id].keys()
        direct = found.membership.neighbours.get(use.only_subnet, frozenset())
        reached &= routed | direct
        missing.update([index for index, gap in found.gaps[use.table.id].items() if not gap.blackhole])
        missing.update([index for index in direct - routed if members[index].state is JOINING])
    if not policy.overlay:  # nothing else carries the node's traffic until its source/dest check is off
        missing.update([index for index, member in enumerate(members) if member.state is JOINING])
    less = OVERLAY if policy.overlay else LIMIT
    inherited = {cidr for _, cidr in snapshot.inherited}
    for index, member in enumerate(members):
        wanted = ROUTED if index in reached else less
        now = snapshot.nodes.get(member.name)
        if now is None or _has(now, wanted) or index in missing:
            continue
        if wanted is ROUTED and now.condition and not inherited.isdisjoint(member.routed):
            continue  # a former leader has written it, and may have deleted the route
        # A Node that was deleted and recreated meanwhile may be another instance, of which nothing is known yet.
        if now.uid == member.node.uid and member.state in SHOWN and member.name in snapshot.node_routes:
            yield SetCondition(now, wanted)


def _says(stored: RouteTableObject | None, report: RouteTableObject) -> bool:
    """Whether a RouteTable object has all that is to be reported.

    A lack of all ENIs, or of all that is intended, is no reason for a write: the CRD of an older release drops them.
    """
    if stored is None or stored == report:
        return stored is not None
    families = dict(report.families)
    if not any(one.interface for use in stored.families.values() for one in use.gateways):
        for family, use in families.items():
            families[family] = replace(use, gateways=tuple([one._replace(interface="") for one in use.gateways]))
    if not any(use.intended for use in stored.families.values()):
        families = {family: replace(use, intended=()) for family, use in families.items()}
    return stored == replace(report, families=families)


def _reports(snapshot: Snapshot, found: Comparison) -> list[Step]:
    wanted = reports(snapshot, found.uses, journals(snapshot, found.placement, found.uses))
    steps: list[Step] = [
        WriteRouteTableObject(snapshot.route_table_objects.get(table_id), report)
        for table_id, report in wanted.items()
        if not _says(snapshot.route_table_objects.get(table_id), report)
    ]
    steps.extend(
        DeleteRouteTableObject(old) for table_id, old in snapshot.route_table_objects.items() if table_id not in wanted
    )
    return steps

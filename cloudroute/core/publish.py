"""What is said of nodes and tables once EC2 is as it is: conditions and RouteTable objects.

The same function makes the end of a plan (from the tables as they will be) and the end of a cycle (from the tables as
they are), so that a step which failed is never reported as done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from cloudroute.core.members import Member, Membership
from cloudroute.core.model import (
    DeleteTableReport,
    Policy,
    SetCondition,
    Snapshot,
    Step,
    WriteTableReport,
)
from cloudroute.core.phases import Grants
from cloudroute.core.tables import TableUse, reports
from cloudroute.types import Condition

ROUTED = Condition("False", "RouteCreated", "routes lead to this node from every route table of the cluster")
OVERLAY = Condition("False", "OverlayFallback", "a route table has no entry for this node: VXLAN carries its traffic")
LIMIT = Condition("True", "RouteLimit", "a route table has no entry for this node, and --overlay is off")


def publish(
    snapshot: Snapshot,
    policy: Policy,
    membership: Membership,
    grants: Grants,
    uses: Mapping[str, TableUse],
    journal: Collection[str],
) -> tuple[Step, ...]:
    """Conditions that differ, then RouteTable objects that differ. `journal`: names that have a NodeRoute."""
    return (
        *_conditions(snapshot, policy, membership, grants, uses, journal),
        *_reports(snapshot, uses),
    )


def _conditions(
    snapshot: Snapshot,
    policy: Policy,
    membership: Membership,
    grants: Grants,
    uses: Mapping[str, TableUse],
    journal: Collection[str],
) -> list[Step]:
    managed = [use for use in uses.values() if use.managed]
    granted: dict[int, list[TableUse]] = {}
    for use in managed:
        for index in grants[use.table.id]:
            granted.setdefault(index, []).append(use)
    direct = Counter(use.only_subnet for use in managed if policy.direct_routing != "off")
    wanted = dict(membership.refused)
    for index, member in enumerate(membership.members):
        if managed and member.known and member.name in journal:
            mine = granted.get(index, [])
            covered = direct[member.subnet_id] - sum(1 for use in mine if use.only_subnet == member.subnet_id)
            if condition := _condition(member, mine, covered, len(managed), policy):
                wanted[member.name] = condition
    nodes = ((snapshot.nodes[name], condition) for name, condition in wanted.items() if name in snapshot.nodes)
    return [SetCondition(node, condition) for node, condition in nodes if _differs(node.condition, condition)]


def _condition(
    member: Member, granted: Sequence[TableUse], covered: int, tables: int, policy: Policy
) -> Condition | None:
    """What is true of a member with slots in `granted` and `covered` more of the `tables` reached without a route.

    None while something was asked for that is not there yet: what was said before stays right, and of a node whose
    first route could not be asked for nothing is said.
    """
    if (covered and member.checked) or not all(_exists(use, member) for use in granted):
        return None
    if len(granted) + covered >= tables:
        return ROUTED
    return OVERLAY if policy.overlay else LIMIT


def _differs(old: Condition | None, new: Condition) -> bool:
    return old is None or (old.status, old.reason) != (new.status, new.reason)


def _exists(use: TableUse, member: Member) -> bool:
    return all(
        (route := use.ours.get(cidr)) is not None and route.target == member.interface_id for cidr in member.cidrs
    )


def _reports(snapshot: Snapshot, uses: Mapping[str, TableUse]) -> list[Step]:
    wanted = reports(snapshot, uses)
    steps: list[Step] = [
        WriteTableReport(snapshot.table_reports.get(table_id), report)
        for table_id, report in wanted.items()
        if snapshot.table_reports.get(table_id) != report
    ]
    steps.extend(DeleteTableReport(old) for table_id, old in snapshot.table_reports.items() if table_id not in wanted)
    return steps

"""One snapshot in, one plan out.

    route tables (tables) ── members and pod CIDRs (members, ipam) ── slots in the tables (slots)
        ── missing routes (diff) ── steps now or later (transitions) ── conditions and reports (publish)

No state is kept here: the next plan finds all that it needs in the snapshot or in the plan's `carryover`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from cloudroute.core.cluster import foreign_clusters, tables
from cloudroute.core.cluster.diff import diff, remaining_gaps
from cloudroute.core.cluster.members import Membership, identify
from cloudroute.core.cluster.model import Carryover, ChangeRoute, Plan, Policy, Snapshot, Step, WriteNodeRoute
from cloudroute.core.cluster.publish import publish
from cloudroute.core.cluster.slots import Grants, grant
from cloudroute.core.cluster.tables import TableUse
from cloudroute.core.cluster.transitions import Transitions
from cloudroute.types import Cidr, Family


class Decision(NamedTuple):
    """A plan with the facts it was decided from, so that `conclude` can report its outcome."""

    plan: Plan
    policy: Policy
    membership: Membership
    managed: frozenset[str]
    table_of: Mapping[str, str]
    known: frozenset[str]
    """ENIs whose routes are ours."""
    grants: Grants
    uses: Mapping[str, TableUse]

    @property
    def free(self) -> Mapping[Cidr, int]:
        """Pod CIDRs that each pool can still give."""
        return self.membership.ipam.free()


def decide(snapshot: Snapshot, policy: Policy) -> Decision:
    """Decide all steps for `snapshot`."""
    table_of = tables.table_by_subnet(snapshot)
    selected = tables.managed_tables(snapshot, policy, table_of)
    managed = frozenset() if policy.leave else frozenset(selected)
    known = tables.known_interfaces(snapshot)
    uses = tables.table_uses(snapshot, policy, selected | tables.known_tables(snapshot), managed, table_of, known)
    excluded = tables.excluded_ranges(policy, uses)
    membership = identify(replace(snapshot, nodes={}) if policy.leave else snapshot, policy, excluded, table_of)
    members = membership.members
    by_cidr = {cidr: index for index, member in enumerate(members) for cidr in member.cidrs}
    grants = grant(uses, members, by_cidr, policy)

    gaps = diff(uses, grants)

    transitions = Transitions(snapshot, policy, uses, grants, gaps)
    transitions.find_stopped_agents()
    transitions.publish(membership)
    transitions.withdraw(membership)
    transitions.route(membership, by_cidr)
    transitions.forget()

    steps: tuple[Step, ...] = (
        *membership.assign,
        *transitions.replaced,
        *transitions.records.values(),
        *transitions.checks,
        *transitions.routes,
        *transitions.gone,
    )

    def expected_status() -> tuple[Step, ...]:
        journal = snapshot.node_routes.keys() | transitions.records.keys()
        left, full = remaining_gaps(gaps, transitions.routes), _after(uses, transitions.routes)
        return publish(snapshot, policy, membership, grants, left, full, journal)

    plan = Plan(
        steps,
        tuple(transitions.waits),
        (
            *membership.notices,
            *transitions.notices,
            *tables.notices(policy, uses, snapshot.refused),
            *foreign_clusters.notices(snapshot, policy),
        ),
        Carryover(
            membership.ipam.cursors,
            transitions.settling,
            transitions.draining,
            transitions.stopped,
            _learned(snapshot, uses),
        ),
        expected_status,
    )
    return Decision(plan, policy, membership, managed, table_of, known, grants, uses)


def conclude(decision: Decision, snapshot: Snapshot) -> tuple[Step, ...]:
    """Return the conditions and reports to write once the steps were tried and `snapshot` was read after them."""
    snapshot = replace(snapshot, refused=frozenset(), carryover=decision.plan.carryover)
    uses = tables.table_uses(
        snapshot, decision.policy, decision.uses, decision.managed, decision.table_of, decision.known
    )
    grants, journal = decision.grants, snapshot.node_routes.keys()
    return publish(snapshot, decision.policy, decision.membership, grants, diff(uses, grants), uses, journal)


def _after(uses: Mapping[str, TableUse], steps: Sequence[ChangeRoute]) -> Mapping[str, TableUse]:
    """The tables' use when all steps are done."""
    change = Counter([(s.table_id, s.destination.family) for s in steps if s.verb == "create"])
    change.subtract([(s.table_id, s.destination.family) for s in steps if s.verb == "delete"])
    return {
        table_id: use._replace(
            families={
                family: replace(fill, used=fill.used + more, ours=fill.ours + more)
                for family, fill in use.families.items()
                for more in [change[table_id, family]]
            }
        )
        for table_id, use in uses.items()
    }


def _learned(snapshot: Snapshot, uses: Mapping[str, TableUse]) -> dict[tuple[str, Family], int]:
    """Learned limits that the RouteTable objects do not have yet."""
    result = {}
    for table_id, use in uses.items():
        report = snapshot.route_table_objects.get(table_id)
        for family, fill in use.families.items():
            reported = report.families.get(family) if report else None
            if fill.learned_limit is not None and (reported is None or reported.learned_limit != fill.learned_limit):
                result[table_id, family] = fill.learned_limit
    return result


def summary(steps: tuple[Step, ...]) -> str:
    """Describe the steps in one English sentence; "" for none.

    >>> summary(())
    ''
    """
    counts: dict[str, int] = {}
    for step in steps:
        words = _words(step)
        counts[words] = counts.get(words, 0) + 1
    return ", ".join(words.replace("#", str(n)).replace("(s)", "" if n == 1 else "s") for words, n in counts.items())


def _words(step: Step) -> str:
    if isinstance(step, ChangeRoute):
        return f"{step.verb} # route(s)"
    if isinstance(step, WriteNodeRoute):
        return "publish # new node(s)" if step.old is None else "change the path of # node(s)"
    return {
        "AssignPodCidrs": "give # node(s) pod CIDRs",
        "DeleteNodeRoute": "forget # node(s)",
        "DisableSourceDestCheck": "switch # source/dest check(s) off",
        "SetCondition": "set # condition(s)",
        "WriteRouteTableObject": "report # table(s)",
        "DeleteRouteTableObject": "forget # table(s)",
    }[type(step).__name__]

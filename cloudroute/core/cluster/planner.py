"""One snapshot in, one plan out.

    route tables (tables) ── members and pod CIDRs (members, claims, ipam) ── gateways (gateways) ── slots (slots)
        ── missing routes (diff) ── NodeRoutes (settling, draining) and routes (routes), now or later
        ── conditions and reports (publish), right for the steps that succeeded, or for all (effects)

No state is kept here: the next plan finds all that it needs in the snapshot or in the plan's `carryover`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from cloudroute.core.cluster import foreign_clusters, tables
from cloudroute.core.cluster.diff import Comparison, diff, diff_table
from cloudroute.core.cluster.draining import delete_node_routes, stopped_agents, withdraw
from cloudroute.core.cluster.effects import apply_steps
from cloudroute.core.cluster.gateways import place
from cloudroute.core.cluster.members import identify
from cloudroute.core.cluster.model import Carryover, ChangeRoute, Plan, Policy, Snapshot, Step, WriteNodeRoute
from cloudroute.core.cluster.publish import publish
from cloudroute.core.cluster.routes import change_routes, write_journals
from cloudroute.core.cluster.settling import publish_members
from cloudroute.core.cluster.slots import grant
from cloudroute.core.cluster.tables import TableUse
from cloudroute.types import Cidr, Family


@dataclass(frozen=True)
class Decision(Comparison):
    """A plan with the facts it was decided from, so that `conclude` can report its outcome."""

    plan: Plan

    @property
    def free(self) -> Mapping[Cidr, int]:
        """Pod CIDRs that each pool can still give."""
        return self.membership.ipam.free()


def decide(snapshot: Snapshot, policy: Policy) -> Decision:
    """Decide all steps for `snapshot`."""
    found = compare(snapshot, policy)
    agents = stopped_agents(snapshot)
    members = publish_members(snapshot, found)
    departures = withdraw(snapshot, policy, found.membership, agents)
    writes = {**members.writes, **departures.writes}
    routes = change_routes(snapshot, found, agents, writes, departures.ready)
    steps: tuple[Step, ...] = (
        *found.membership.assign,
        *write_journals(snapshot, found),
        *members.replaced,
        *writes.values(),
        *members.checks,
        *routes.steps,
        *delete_node_routes(found.membership, writes, departures.ready, found.uses, routes.steps),
    )
    drains = (*found.placement.drains, *departures.drains, *routes.drains)
    carryover = Carryover(
        found.membership.ipam.given,
        members.settling,
        {drain.key: drain.since for drain in drains},
        agents.since,
        _learned(snapshot, found.uses),
    )
    plan = Plan(
        steps,
        (*found.placement.waits, *members.waits, *[drain.wait for drain in drains if drain.wait]),
        (
            *found.membership.notices,
            *agents.notices,
            *members.notices,
            *found.placement.notices,
            *tables.notices(policy, found.uses, snapshot.refused),
            *foreign_clusters.notices(snapshot, policy),
        ),
        carryover,
        lambda: _conclude(found, carryover, apply_steps(snapshot, steps)),
    )
    return Decision(**vars(found), plan=plan)


def compare(snapshot: Snapshot, policy: Policy) -> Comparison:
    """Find the members and their slots in the route tables, and compare these with the routes that there are."""
    selection = tables.select(snapshot, policy)
    uses = tables.table_uses(snapshot, policy, selection)
    excluded = tables.excluded_ranges(policy, uses)
    nodes = {} if policy.leave else snapshot.nodes
    membership = identify(replace(snapshot, nodes=nodes), policy, excluded, selection.table_of)
    grants = grant(uses, membership, policy)
    placement = place(snapshot, policy, membership, uses)
    return Comparison(policy, selection, membership, uses, grants, diff(uses, grants), placement)


def conclude(decision: Decision, snapshot: Snapshot) -> tuple[Step, ...]:
    """Return the conditions and reports to write once the steps were tried and `snapshot` was read after them."""
    return _conclude(decision, decision.plan.carryover, snapshot)


def _conclude(found: Comparison, carryover: Carryover, snapshot: Snapshot) -> tuple[Step, ...]:
    snapshot = replace(snapshot, refused=frozenset(), carryover=carryover)
    uses = tables.table_uses(snapshot, found.policy, found.selection, found.uses)
    gaps = {
        table_id: found.gaps[table_id]
        if use.ours is found.uses[table_id].ours
        else diff_table(use, found.grants[table_id])
        for table_id, use in uses.items()
    }
    return publish(snapshot, replace(found, uses=uses, gaps=gaps))


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

"""Make before break: the steps for now, and the steps that wait for a timer.

To native: journal (NodeRoute), route and source/dest check, `settle_seconds`, a wait while the agent reports not ready,
publish.
To overlay: publish, `drain_seconds`, delete the route. A node whose agent is stopped meanwhile (an upgrade) continues
to send by that route: the deletion waits until an agent runs there again, at most `ABSENCE_SECONDS`. Routes to a dead
instance need no drain, since no packet arrives there. The timers are in `Carryover`; a controller that lost it (a
restart) starts them anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from cloudroute.core.cluster.diff import Gap, Gaps
from cloudroute.core.cluster.members import DEAD, Member, Membership
from cloudroute.core.cluster.model import (
    ChangeRoute,
    DeleteNodeRoute,
    DisableSourceDestCheck,
    Key,
    Notice,
    Policy,
    Snapshot,
    Wait,
    WriteNodeRoute,
)
from cloudroute.core.cluster.notices import agent_missing, agent_trouble, held_back, is_stopped, withdrawn
from cloudroute.core.cluster.slots import Grants
from cloudroute.core.cluster.tables import TableUse
from cloudroute.types import Cidr, Family, NodeRoute, NodeRouteSpec

ABSENCE_SECONDS = 300.0
"""Longest wait of a deletion for a stopped agent: enough to pull an image, and a bound for an agent that never
returns."""


@dataclass
class Transitions:
    """Collects the steps of one plan, and the timers for the next."""

    snapshot: Snapshot
    policy: Policy
    uses: Mapping[str, TableUse]
    grants: Grants
    gaps: Gaps
    settling: dict[tuple[str, str], float] = field(default_factory=dict)
    draining: dict[tuple[str, Cidr | str], float] = field(default_factory=dict)
    stopped: dict[str, float] = field(default_factory=dict)
    awaited: dict[str, tuple[float, str]] = field(default_factory=dict)
    """By route table ("": any): among the agents that send by it, the one stopped first: since when, and its node."""
    waits: list[Wait] = field(default_factory=list)
    records: dict[str, WriteNodeRoute] = field(default_factory=dict)
    checks: list[DisableSourceDestCheck] = field(default_factory=list)
    routes: list[ChangeRoute] = field(default_factory=list)
    replaced: list[DeleteNodeRoute] = field(default_factory=list)
    gone: list[DeleteNodeRoute] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    ready_to_delete: dict[str, tuple[NodeRoute, list[Key]]] = field(default_factory=dict)
    """NodeRoutes that may be deleted now, by name, each with the keys of the deletions of its routes."""

    # --- agents that are stopped ------------------------------------------------------------

    def find_stopped_agents(self) -> None:
        """Record the agents that deletions must wait for; warn of each agent that has been stopped for too long."""
        snapshot = self.snapshot
        for name, record in snapshot.node_routes.items():
            if not is_stopped(record.status):
                continue
            instance = snapshot.instances.get(record.spec.instance_id)
            if instance is not None and instance.state != "running":
                continue
            since = self.stopped[name] = snapshot.carryover.stopped.get(name, snapshot.now)
            if since + ABSENCE_SECONDS > snapshot.now:
                for table_id in ("", record.spec.route_table_id):
                    self.awaited[table_id] = min((since, name), self.awaited.get(table_id, (since, name)))
            elif node := snapshot.nodes.get(name):
                self.notices.append(agent_missing(node, ABSENCE_SECONDS))

    # --- what is published ------------------------------------------------------------------

    def publish(self, membership: Membership) -> None:
        """Add writes for NodeRoutes that differ from their members, and for source/dest checks that are still on."""
        self.replaced = [DeleteNodeRoute(record) for record in membership.predecessors.values()]
        before: dict[str, Key] = {step.node.name: step.key for step in membership.assign}
        before |= {step.old.name: step.key for step in self.replaced}
        reached, lacking = self._granted()
        for index, member in enumerate(membership.members):
            spec, old = self._spec(member, reached.get(index, ()), lacking.get(index, ())), member.record
            if old is None or old.name != member.name or (old.spec is not spec and old.spec != spec):
                after = (before[member.name],) if member.name in before else ()
                own = old if old and old.name == member.name else None
                self.records[member.name] = WriteNodeRoute(member.name, own, spec, after)
            if old and old.spec is not spec and (notice := withdrawn(member, old, spec, self.uses)):
                self.notices.append(notice)
            if member.checked:
                self.checks.append(
                    DisableSourceDestCheck(member.interface_id, member.instance_id, member.name, member.table_id)
                )
        for member, record in membership.superseded:
            self.gone.append(DeleteNodeRoute(record, self._after(member.name)))

    def _granted(self) -> tuple[dict[int, list[str]], dict[int, list[tuple[str, Gap]]]]:
        """By member: the tables that have all its routes, and the tables with a gap."""
        reached: dict[int, list[str]] = {}
        lacking: dict[int, list[tuple[str, Gap]]] = {}
        for table_id in sorted(self.grants):
            gaps = self.gaps[table_id]
            for index in self.grants[table_id]:
                if index in gaps:
                    lacking.setdefault(index, []).append((table_id, gaps[index]))
                elif index in reached:
                    reached[index].append(table_id)
                else:
                    reached[index] = [table_id]
        return reached, lacking

    def _spec(self, member: Member, reached: Sequence[str], lacking: Iterable[tuple[str, Gap]]) -> NodeRouteSpec:
        """The spec to publish. `reached`: tables with the member's routes, sorted; `lacking`: tables with a gap."""
        old = member.record.spec if member.record else None
        native = () if member.checked else tuple(reached)
        subnet = "" if self.policy.direct_routing == "off" or member.checked else member.subnet_id
        if (old is None or old.native_in != native or old.subnet_id != subnet) and not self._settled(
            member, old, native, subnet, lacking
        ):
            # All changes of a node are published together: one write, not one for each table and the check.
            native = tuple([table_id for table_id in native if old and table_id in old.native_in])
            subnet = subnet if old and old.subnet_id == subnet else ""
        if old and (native, subnet) == (old.native_in, old.subnet_id) and _same_place(old, member):
            return old
        return NodeRouteSpec(
            member.cidrs, member.node.node_ips, member.instance_id, member.interface_id, subnet, member.table_id, native
        )

    def _settled(
        self,
        member: Member,
        old: NodeRouteSpec | None,
        native: Sequence[str],
        subnet: str,
        lacking: Iterable[tuple[str, Gap]],
    ) -> bool:
        """Whether the new paths can be published: in place for long enough, and no further one about to follow."""
        if not member.known:
            return False  # the state of its source/dest check is not known either
        new = [table_id for table_id in native if old is None or table_id not in old.native_in]
        if subnet and (old is None or old.subnet_id != subnet):
            new.append("")
        until = max([self._settles(what, member.instance_id) for what in new], default=0.0)
        if any(self._coming(table_id, member, gap) for table_id, gap in lacking):
            return False
        if until > self.snapshot.now:
            self.waits.append(Wait(until, f"{member.name} to settle"))
            return False
        return not (new and self._held_back(member, new))

    def _held_back(self, member: Member, new: Sequence[str]) -> bool:
        """Whether the node's own agent reports that it can't receive: the `new` paths then wait for the agent.

        A missing report counts as ready: there may be no agent yet, or an older one. Published paths stay in any case.
        """
        status = member.record.status if member.record else {}
        trouble = agent_trouble(status)
        # An upgrade stops every agent for a moment: no Event for that.
        if trouble and not is_stopped(status):
            self.notices.append(held_back(member, [table_id for table_id in new if table_id], trouble))
        return bool(trouble)

    def _coming(self, table_id: str, member: Member, gap: Gap) -> bool:
        """Whether a missing route will exist soon: it can be requested now and has not failed.

        If it waits for another route to drain or for a back-off, the node's other paths do not wait for it.
        """
        keys: list[Key] = [("route", table_id, str(cidr)) for cidr in (*gap.missing, *gap.astray)]
        if member.checked:
            keys.append(("check", member.interface_id))
        room = all(self._free(self.uses[table_id], cidr.family) > 0 for cidr in gap.missing)
        return bool(keys) and room and not any(key in self.snapshot.held for key in keys)

    def _settles(self, table_id: str, instance_id: str) -> float:
        """Monotonic second at which the present state will have been in place for `settle_seconds`."""
        key = (table_id, instance_id)
        since = self.snapshot.carryover.settling.get(key, self.snapshot.now)
        self.settling[key] = since
        return since + self.policy.settle_seconds

    # --- routes -----------------------------------------------------------------------------

    def route(self, membership: Membership, by_cidr: Mapping[Cidr, int]) -> None:
        """Create and replace the routes of members with a slot; drain and delete our routes without one."""
        members = membership.members
        elsewhere = {cidr for cidrs in membership.released_cidrs.values() for cidr in cidrs}
        elsewhere.update(cidr for member in membership.blocked for cidr in member.cidrs)
        for table_id, use in self.uses.items():
            granted = self.grants[table_id]
            freed: dict[Family, list[Key]] = {family: [] for family in use.families}
            entries = sum([len(member.routed) for member in granted.values()])
            if self.gaps[table_id] or len(use.ours) != entries:  # else each entry is a granted one
                rightful = {cidr for member in granted.values() for cidr in member.routed}
                for cidr in use.ours:
                    if cidr not in rightful and cidr not in elsewhere:
                        index = by_cidr.get(cidr)
                        self._drain(use, cidr, None if index is None else members[index], freed)
            self._delete_routes_of_leaving(use, membership.released_cidrs, freed)
            self._fill(use, freed)

    def _fill(self, use: TableUse, freed: Mapping[Family, list[Key]]) -> None:
        """Add routes to the members, in their order, as far as entries are free now or freed by a deletion before."""
        room = {family: _Room(self._free(use, family), keys) for family, keys in freed.items()}
        granted = self.grants[use.table.id]
        for index, gap in self.gaps[use.table.id].items():
            member = granted[index]
            if not member.known:
                continue
            for cidr in gap.astray:
                self._change("replace", use, cidr, member)
            if all(room[cidr.family].left for cidr in gap.missing):
                for cidr in gap.missing:
                    self._change("create", use, cidr, member, room[cidr.family].take())

    def _free(self, use: TableUse, family: Family) -> int:
        """Entries that new routes may take now; below 0 when the table holds more than it should."""
        return use.free(family) - self.policy.route_reserve

    def _change(
        self, verb: Literal["create", "replace"], use: TableUse, cidr: Cidr, member: Member, after: tuple[Key, ...] = ()
    ) -> None:
        # The journal comes before the route: after a crash in between, the route would count as foreign.
        after = (*self._after(member.name), *after)
        self.routes.append(ChangeRoute(verb, use.table.id, cidr, member.interface_id, member.name, after))

    def _drain(self, use: TableUse, cidr: Cidr, member: Member | None, freed: dict[Family, list[Key]]) -> None:
        """Delete a route without a slot: at once if it leads nowhere, else when no agent uses it any more."""
        record = member.record if member else None
        withdrawn = record is None or use.table.id not in record.spec.native_in
        withdrawn = withdrawn or (member is not None and cidr not in member.routed)
        name = member.name if member else ""
        if use.ours[cidr].blackhole or (member and member.dead):
            self._delete(use, cidr, name, self._after(name), freed)
        elif withdrawn and self._drained(use.table.id, cidr, f"the route {cidr} in {use.table.id} to drain"):
            self._delete(use, cidr, name, (), freed)

    def _delete(
        self, use: TableUse, cidr: Cidr, name: str, after: tuple[Key, ...], freed: dict[Family, list[Key]]
    ) -> Key:
        step = ChangeRoute("delete", use.table.id, cidr, "", name, after)
        self.routes.append(step)
        freed[cidr.family].append(step.key)
        return step.key

    def _drained(self, table_id: str, what: Cidr | str, words: str) -> bool:
        since = self.snapshot.carryover.draining.get((table_id, what), self.snapshot.now)
        self.draining[table_id, what] = since
        until = since + self.policy.drain_seconds
        stopped_at, name = self.awaited.get(table_id, (until, ""))
        # An agent that stopped after the drain has applied the change. `cleanup` ends the pods' network: no wait.
        if stopped_at < until and not self.policy.leave:
            until = max(until, stopped_at + ABSENCE_SECONDS)
            words = f"{words}: the agent of {name} is stopped and has not heard of it"
        if until > self.snapshot.now:
            self.waits.append(Wait(until, words))
        return until <= self.snapshot.now

    # --- nodes that are gone ----------------------------------------------------------------

    def withdraw(self, membership: Membership) -> None:
        """Publish no native path to nodes that are gone; mark the NodeRoutes that have drained for deletion."""
        for record in membership.leaving:
            if record.spec.native_in:
                self.records[record.name] = WriteNodeRoute(record.name, record, replace(record.spec, native_in=()))
            instance = self.snapshot.instances.get(record.spec.instance_id)
            dead = instance is not None and instance.state in DEAD
            if dead or (not record.spec.native_in and self._drained("", record.name, f"{record.name} to leave")):
                self.ready_to_delete[record.name] = (record, [])

    def _delete_routes_of_leaving(
        self, use: TableUse, released_cidrs: Mapping[str, tuple[Cidr, ...]], freed: dict[Family, list[Key]]
    ) -> None:
        """Delete the routes of the NodeRoutes in `ready_to_delete`."""
        deleted: dict[Cidr, Key] = {}
        for name, (_, keys) in self.ready_to_delete.items():
            for cidr in released_cidrs[name]:
                if cidr in use.ours:
                    # A node that was renamed and removed at once has two leaving NodeRoutes with the same CIDR.
                    if cidr not in deleted:
                        deleted[cidr] = self._delete(use, cidr, name, self._after(name), freed)
                    keys.append(deleted[cidr])

    def forget(self) -> None:
        """Delete the NodeRoutes in `ready_to_delete`, each after the last of its routes."""
        for name, (record, keys) in self.ready_to_delete.items():
            self.gone.append(DeleteNodeRoute(record, (*self._after(name), *keys)))

    def _after(self, name: str) -> tuple[Key, ...]:
        """Key of the write of a node's NodeRoute, if this plan has one."""
        step = self.records.get(name)
        return (step.key,) if step else ()


class _Room:
    """Entries of one family that a table can still take: the free ones, then one for each deletion."""

    def __init__(self, free: int, freed: Sequence[Key]) -> None:
        over = max(0, -free)
        self._free = max(0, free)
        self._over, self._freed = tuple(freed[:over]), list(freed[over:])

    @property
    def left(self) -> bool:
        """Whether an entry is left."""
        return bool(self._free or self._freed)

    def take(self) -> tuple[Key, ...]:
        """Take an entry; return the deletions that must come first. A table above its limit must come down first."""
        if self._free:
            self._free -= 1
            return ()
        return (*self._over, self._freed.pop(0))


def _same_place(old: NodeRouteSpec, member: Member) -> bool:
    """Whether ENI, route table, node IPs and pod CIDRs are as published: all that is known of an unseen instance."""
    return (
        old.network_interface_id == member.interface_id
        and old.route_table_id == member.table_id
        and old.node_ips == member.node.node_ips
        and old.pod_cidrs == member.cidrs
    )

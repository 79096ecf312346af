"""Make before break: what to do now, and what only after a while.

To native: journal (NodeRoute), route and source/dest check, `settle_seconds`, publish.
To overlay: publish, `drain_seconds`, delete the route. What a dead instance leaves behind needs no drain: no packet
comes through. The timers live in `Memory`; whoever lost it (a restart) settles and drains anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from cloudroute.core.members import DEAD, Member, Membership
from cloudroute.core.model import (
    ChangeRoute,
    DeleteNodeRoute,
    DisableSourceDestCheck,
    Key,
    Policy,
    Snapshot,
    Wait,
    WriteNodeRoute,
)
from cloudroute.core.tables import TableUse
from cloudroute.types import Cidr, Family, NodeRoute, NodeRouteSpec

Grants = Mapping[str, Mapping[int, Member]]
"""Table id -> index of a member -> member: who shall be routed where."""


@dataclass
class Phases:
    """The steps of one plan as they come together, and the timers for the next."""

    snapshot: Snapshot
    policy: Policy
    uses: Mapping[str, TableUse]
    settling: dict[tuple[str, str], float] = field(default_factory=dict)
    draining: dict[tuple[str, Cidr | str], float] = field(default_factory=dict)
    waits: list[Wait] = field(default_factory=list)
    records: dict[str, WriteNodeRoute] = field(default_factory=dict)
    checks: list[DisableSourceDestCheck] = field(default_factory=list)
    routes: list[ChangeRoute] = field(default_factory=list)
    gone: list[DeleteNodeRoute] = field(default_factory=list)
    departing: dict[str, tuple[NodeRoute, list[Key]]] = field(default_factory=dict)
    """NodeRoutes that may go now, by name, each with the deletions of its routes."""

    # --- what is published ------------------------------------------------------------------

    def publish(self, membership: Membership, grants: Grants) -> None:
        """The NodeRoute of every member, and the source/dest checks that are still on."""
        assigned = {step.node.name: step.key for step in membership.assign}
        where: dict[int, list[str]] = {}
        for table_id, members in grants.items():
            for index in members:
                where.setdefault(index, []).append(table_id)
        for index, member in enumerate(membership.members):
            self._publish_member(member, where.get(index, ()), assigned.get(member.name))
        for name, record in membership.superseded.items():
            self.gone.append(DeleteNodeRoute(record, self._after(name)))

    def _publish_member(self, member: Member, granted: Iterable[str], assigned: Key | None) -> None:
        spec, old = self._spec(member, granted), member.record
        if old is None or old.name != member.name or old.spec != spec:
            after = (assigned,) if assigned else ()
            own = old if old and old.name == member.name else None
            self.records[member.name] = WriteNodeRoute(member.name, own, spec, after)
        if member.checked:
            self.checks.append(DisableSourceDestCheck(member.interface_id, member.name, member.table_id))

    def _spec(self, member: Member, granted: Iterable[str]) -> NodeRouteSpec:
        old = member.record.spec if member.record else None
        published = old.native_in if old else ()
        kept, settled, until = [], [], 0.0
        for table_id in granted:
            if not self._routed(table_id, member):
                if self._coming(table_id, member):
                    until = max(until, float("inf"))
            elif table_id in published:
                kept.append(table_id)
            else:
                until = max(until, self._settles(table_id, member.instance_id))
                settled.append(table_id)
        subnet = "" if self.policy.direct_routing == "off" or member.checked else member.subnet_id
        if subnet and (old is None or old.subnet_id != subnet):
            until = max(until, self._settles("", member.instance_id))
        # All that a node becomes is published together: one write, not one for each table and the check.
        if until > self.snapshot.now:
            settled = []
            subnet = subnet if old and old.subnet_id == subnet else ""
            if until < float("inf"):
                self.waits.append(Wait(until, f"{member.name} to settle"))
        native = tuple(sorted((*kept, *settled)))
        if old and (native, subnet) == (old.native_in, old.subnet_id) and _same_place(old, member):
            return old
        return NodeRouteSpec(
            member.cidrs, member.node.node_ips, member.instance_id, member.interface_id, subnet, member.table_id, native
        )

    def _routed(self, table_id: str, member: Member) -> bool:
        """Whether packets by this table reach the member: an active route per family, and the check off."""
        ours = self.uses[table_id].ours
        return not member.checked and all(
            (route := ours.get(cidr)) is not None and route.target == member.interface_id and not route.blackhole
            for cidr in member.cidrs
        )

    def _coming(self, table_id: str, member: Member) -> bool:
        """Whether a route that is missing is about to be there: it can be asked for now and has not failed.

        Where it waits for another route to drain or for a back-off, the rest of the node is not kept waiting.
        """
        use = self.uses[table_id]
        missing = [cidr for cidr in member.cidrs if cidr not in use.ours]
        keys: list[Key] = [("route", table_id, str(cidr)) for cidr in missing]
        if member.checked:
            keys.append(("check", member.interface_id))
        elif not missing:
            return False  # a blackhole: nothing to be done but to wait for the instance
        room = all(use.free(cidr.family) > 0 for cidr in missing)
        return room and not any(key in self.snapshot.held for key in keys)

    def _settles(self, table_id: str, instance_id: str) -> float:
        """When what is in place now will have been so for long enough."""
        key = (table_id, instance_id)
        since = self.snapshot.memory.settling.get(key, self.snapshot.now)
        self.settling[key] = since
        return since + self.policy.settle_seconds

    # --- routes -----------------------------------------------------------------------------

    def route(self, grants: Grants, by_cidr: Mapping[Cidr, int], membership: Membership) -> None:
        """Create and replace what is granted; drain and delete what is ours and granted to nobody."""
        leaving = {cidr for record in membership.leaving for cidr in record.spec.pod_cidrs}
        for table_id, use in self.uses.items():
            granted = grants[table_id]
            wanted = {cidr: member for member in granted.values() for cidr in member.cidrs}
            freed: dict[Family, list[Key]] = {}
            for cidr in use.ours:
                if cidr not in wanted and cidr not in leaving:
                    index = by_cidr.get(cidr)
                    self._drain(use, cidr, membership.members[index] if index is not None else None, freed)
            self._leave_in(use, freed)
            self._fill(use, granted.values(), freed)

    def _fill(self, use: TableUse, members: Iterable[Member], freed: Mapping[Family, list[Key]]) -> None:
        """Routes to the members, in their order, as far as entries are free now or freed by a deletion before."""
        free = {family: use.free(family) for family in use.families}
        for member in members:
            if not member.known:
                continue
            missing = []
            for cidr in member.cidrs:
                route = use.ours.get(cidr)
                if route is None:
                    missing.append(cidr)
                elif route.target != member.interface_id:
                    self._change("replace", use, cidr, member)
            if any(free[cidr.family] <= 0 and not freed.get(cidr.family) for cidr in missing):
                continue
            for cidr in missing:
                after: tuple[Key, ...] = ()
                if free[cidr.family] > 0:
                    free[cidr.family] -= 1
                else:
                    after = (freed[cidr.family].pop(0),)
                self._change("create", use, cidr, member, after)

    def _change(self, verb: str, use: TableUse, cidr: Cidr, member: Member, after: tuple[Key, ...] = ()) -> None:
        # The journal comes before the route: after a crash in between, nobody would know the route for ours.
        after = (*self._after(member.name), *after)
        step = ChangeRoute("create", use.table.id, cidr, member.interface_id, member.name, after)
        self.routes.append(step if verb == "create" else replace(step, verb="replace"))

    def _drain(self, use: TableUse, cidr: Cidr, member: Member | None, freed: dict[Family, list[Key]]) -> None:
        """Take away a route that has no slot: at once if it leads nowhere, else when no agent uses it any more."""
        record = member.record if member else None
        withdrawn = record is None or use.table.id not in record.spec.native_in
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
        freed.setdefault(cidr.family, []).append(step.key)
        return step.key

    def _drained(self, table_id: str, what: Cidr | str, words: str) -> bool:
        since = self.snapshot.memory.draining.get((table_id, what), self.snapshot.now)
        self.draining[table_id, what] = since
        until = since + self.policy.drain_seconds
        if until > self.snapshot.now:
            self.waits.append(Wait(until, words))
        return until <= self.snapshot.now

    # --- nodes that are gone ----------------------------------------------------------------

    def withdraw(self, membership: Membership) -> None:
        """Tell all agents not to send natively to nodes that are gone; those that have drained may leave."""
        for record in membership.leaving:
            if record.spec.native_in:
                self.records[record.name] = WriteNodeRoute(record.name, record, replace(record.spec, native_in=()))
            instance = self.snapshot.instances.get(record.spec.instance_id)
            dead = instance is not None and instance.state in DEAD
            if dead or (not record.spec.native_in and self._drained("", record.name, f"{record.name} to leave")):
                self.departing[record.name] = (record, [])

    def _leave_in(self, use: TableUse, freed: dict[Family, list[Key]]) -> None:
        for name, (record, keys) in self.departing.items():
            for cidr in record.spec.pod_cidrs:
                if cidr in use.ours:
                    keys.append(self._delete(use, cidr, name, self._after(name), freed))

    def forget(self) -> None:
        """Delete the NodeRoutes of those that left, each after the last of its routes."""
        for name, (record, keys) in self.departing.items():
            self.gone.append(DeleteNodeRoute(record, (*self._after(name), *keys)))

    def _after(self, name: str) -> tuple[Key, ...]:
        """The write of a node's NodeRoute, where this plan has one."""
        step = self.records.get(name)
        return (step.key,) if step else ()


def _same_place(old: NodeRouteSpec, member: Member) -> bool:
    """Whether what identifies and places the member is as published; of an unseen one nothing else is known."""
    return (
        old.network_interface_id == member.interface_id
        and old.route_table_id == member.table_id
        and old.node_ips == member.node.node_ips
        and old.pod_cidrs == member.cidrs
    )

"""Bugs put in on purpose: each patches one function of cloudroute, and the storm must find it.

A bug is put into the fork that runs a scenario, and ends with it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import cloudroute.adapters.ec2.calls as calls
import cloudroute.controller.reconciler as reconciler
from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.adapters.kube.client import KubeClient
from cloudroute.agent.sync import Done, Sync
from cloudroute.controller.apply import Applier
from cloudroute.controller.backoff import BackOff
from cloudroute.controller.lease import Lease
from cloudroute.controller.reconciler import Reconciler
from cloudroute.core.cluster import claims, draining, gateways, heartbeats, members, planner, routes, settling, tables
from cloudroute.core.cluster.claims import Claims
from cloudroute.core.cluster.draining import Drain, StoppedAgents
from cloudroute.core.cluster.heartbeats import Heartbeats
from cloudroute.core.cluster.ipam import Ipam
from cloudroute.core.cluster.members import Departure, Member
from cloudroute.core.cluster.model import ChangeRoute, Snapshot, Step
from cloudroute.core.cluster.pending import PendingWrites
from cloudroute.core.cluster.states import State
from cloudroute.core.cluster.tables import TableUse
from cloudroute.core.node import desired, peers
from cloudroute.dataplane import KINDS, TRANSIT_ID, Kind
from cloudroute.ports import Ec2
from cloudroute.types import Cidr, Condition, Family, Instance, LeaseRecord, Node, NodeRoute, RouteTable
from tests.simulation.edge_mutations import EDGE_FOUND_BY, EDGE_MUTATIONS
from tests.simulation.seams import put

# --- the lease ------------------------------------------------------------------------------------


def no_fence() -> None:
    """A process writes without checking that it holds the lease, and does not end when it has lost it."""
    put(Lease, "check", lambda _self: None)
    put(Lease, "lost", value=False)


def no_margin() -> None:
    """The holder counts on the lease for longer than the others: there is no margin for writes in flight."""
    init = Lease.__init__

    def longer(self: Lease, *args: Any) -> None:
        init(self, *args)
        self._deadline = self._duration + 5.0

    put(Lease, "__init__", longer)


def fence_before_the_lookup() -> None:
    """The fence is not checked again after a name lookup, however long that took."""
    put(calls, "_fenced", lambda connection, _fence: connection)


def fence_from_the_answer() -> None:
    """The fence counts from the answer to a renewal and not from its request: a slow one is counted on for too long."""
    original = Lease._write

    def write(self: Lease, start: float, record: LeaseRecord) -> None:
        original(self, start, record)
        self._valid_until = self._clock.monotonic() + self._deadline

    put(Lease, "_write", write)


def lease_by_its_date() -> None:
    """A standby judges the lease by the date in it and not by its own monotonic clock: clocks differ."""

    def attempt(self: Lease, start: float) -> None:
        found = self._leases.read()
        if found and found.holder not in ("", self._identity):
            from datetime import datetime

            if self._clock.now() < datetime.fromisoformat(found.renew_time).timestamp() + found.duration_seconds:
                return
        self._write(start, replace(found or replace(self._seen, version=""), holder=self._identity))
        self.acquired.set()

    put(Lease, "_try", attempt)


# --- what EC2 shows -------------------------------------------------------------------------------


def own_writes_forgotten() -> None:
    """A describe is believed even if it is older than a write of our own."""
    put(PendingWrites, "keys", lambda _self, _now: ())


def left_out_counts_as_dead() -> None:
    """An instance that a describe leaves out is taken for a terminated one."""
    original = Ec2Client.instances

    def instances(self: Ec2Client, ids: Collection[str]) -> Mapping[str, Instance]:
        return {**{id_: Instance(id_, "terminated", "", "", ()) for id_ in ids}, **original(self, ids)}

    put(Ec2Client, "instances", instances)


# --- routes ---------------------------------------------------------------------------------------


def delete_before_create() -> None:
    """A route with a wrong target is deleted and created, not replaced: in between there is none."""

    def call(self: Applier, step: Any) -> None:
        ec2: Ec2 = self._ec2
        if isinstance(step, ChangeRoute) and step.verb == "replace":
            ec2.delete_route(step.table_id, step.destination)
            ec2.create_route(step.table_id, step.destination, step.interface_id)
        else:
            original(self, step)

    original = Applier._call_ec2
    put(Applier, "_call_ec2", call)


def ours_by_destination() -> None:
    """A route is ours by its destination alone, whatever its target."""

    def split(table: RouteTable, node_sized: Any, _seen: Any, _selection: Any, aggregates: Any) -> tuple[Any, ...]:
        ours = {to: route for to, route in table.routes.items() if isinstance(to, Cidr) and to in node_sized}
        return ours, [to for to in table.routes if to not in ours and to not in aggregates]

    put(tables, "_split", split)
    put(tables, "_leads_to_gateway", lambda _route, _entry, _selection: True)


def limit_off_by_one() -> None:
    """The limit of a table is taken to be one entry higher than it is."""
    put(TableUse, "limit", lambda self, family: self.families[family].capacity + 1)


def foreign_not_counted() -> None:
    """Foreign routes do not count against the limit."""
    original = tables._use

    def use(snapshot: Snapshot, table_id: str, family: Family, ours: int, foreign: int) -> Any:
        return original(snapshot, table_id, family, ours, min(foreign, 1))

    put(tables, "_use", use)


def no_drain() -> None:
    """A route is deleted as soon as agents were told not to use it."""
    for module in (draining, routes):
        put(module, "drain", lambda snapshot, _policy, _agents, key, _words: Drain(key, snapshot.now, None))


def stopped_agents_not_awaited() -> None:
    """A route is deleted although a stopped agent, whose node still sends by it, can't have heard of that."""
    put(planner, "stopped_agents", lambda _: StoppedAgents({}, {}, ()))


def no_settling() -> None:
    """A new route is published at once, without waiting for it to take effect."""
    put(settling, "_since", lambda *_: float("-inf"))


def journal_after_the_route() -> None:
    """The NodeRoute is not written before the route."""
    put(routes, "journal", lambda *_: ())


def deletes_on_old_tables() -> None:
    """Routes are deleted on the grounds of an old read of the tables."""
    put(Reconciler, "_timely", lambda _, steps: steps)


def dependents_do_not_wait() -> None:
    """A deletion waits for a new read of the tables, and the steps that depend on it do not."""

    def split(steps: Sequence[Step]) -> Sequence[Step]:
        return [step for step in steps if not (isinstance(step, ChangeRoute) and step.verb != "create")]

    put(reconciler, "safe_on_old_tables", split)


def deleted_node_counts_as_dead() -> None:
    """A node whose Node is deleted counts as dead: its routes are deleted at once, though its instance runs."""
    original = members._departing

    def departing(record: NodeRoute, snapshot: Snapshot) -> State:
        instance = snapshot.instances.get(record.spec.instance_id)
        return State.GONE if instance and instance.state == "running" else original(record, snapshot)

    put(members, "_departing", departing)


# --- identity of nodes ----------------------------------------------------------------------------


def freed_cidr_at_once() -> None:
    """The lowest free CIDR is assigned, even if it was freed a moment ago."""
    order = Ipam._order
    put(Ipam, "_order", lambda self, ranges, _last: order(self, ranges, None))


def both_keep_a_duplicate() -> None:
    """Two Nodes with one CIDR both keep it."""
    put(Claims, "_problem", lambda *_: "")


def identified_by_name() -> None:
    """A node is identified by its name: another instance with that name is taken for the same node."""
    put(claims, "_same", lambda node, record: not node.pod_cidrs or record.spec.pod_cidrs == node.pod_cidrs)


def node_route_before_its_routes() -> None:
    """The NodeRoute of a node that leaves is deleted before its routes, which then have no owner."""
    from cloudroute.core.cluster.model import DeleteNodeRoute

    original = draining.delete_node_routes

    def delete(
        membership: Any, writes: Any, ready: Sequence[Departure], _uses: Any, _routes: Any
    ) -> tuple[DeleteNodeRoute, ...]:
        return (*original(membership, writes, (), {}, ()), *[DeleteNodeRoute(departure.record) for departure in ready])

    put(planner, "delete_node_routes", delete)


# --- conditions -----------------------------------------------------------------------------------


def condition_before_the_route() -> None:
    """The condition states the plan, not the outcome of its writes."""
    put(reconciler, "conclude", lambda decision, _snapshot: decision.plan.publish)


def an_error_makes_a_node_unavailable() -> None:
    """A route that could not be created makes its node unavailable."""
    original = BackOff.failed
    clients: list[KubeClient] = []
    init = KubeClient.__init__

    def created(self: KubeClient, *args: Any) -> None:
        init(self, *args)
        clients.append(self)

    def failed(self: BackOff, step: Step, error: Any) -> None:
        original(self, step, error)
        if isinstance(step, ChangeRoute) and clients:
            node: Node | None = clients[-1]._cluster.nodes.items().get(step.node)
            if node:
                clients[-1].set_condition(node, Condition("True", "CreateRouteFailed", str(error)))

    put(KubeClient, "__init__", created)
    put(BackOff, "failed", failed)


# --- agents ---------------------------------------------------------------------------------------


def drop_before_put() -> None:
    """An agent removes an entry before it writes the new one."""

    def run(self: Sync, kinds: Sequence[Kind]) -> Done:
        done = Done()
        for kind in reversed(KINDS):
            if kind in kinds:
                tracker = self.read(kind)
                if changed := [key for key in tracker.puts() if key in tracker.actual]:
                    self._write(tracker, {}, changed)
                    self.mark((kind,))
        for kind in KINDS:
            if kind in kinds:
                self._put(kind, done)
        for kind in reversed(KINDS):
            if kind in kinds and kind not in self.broken:
                self._drop(kind, done)
        return done

    put(Sync, "run", run)


# --- gateways -------------------------------------------------------------------------------------


def gateway_that_says_nothing() -> None:
    """An aggregate is given to a node that has been told to be a gateway, before its kernel forwards."""
    original = gateways._is_ready

    def is_ready(member: Member, snapshot: Snapshot) -> bool:
        heard = snapshot.pulse._replace(fresh={member.name: member.record.uid if member.record else ""})
        return original(member, replace(snapshot, pulse=heard))

    put(gateways, "_is_ready", is_ready)


def aggregates_placed_anew() -> None:
    """A gateway that comes back takes its aggregates back, from one that lives."""
    put(gateways, "_keeps", lambda *_: False)


def gateways_judged_at_once() -> None:
    """A new leader takes each gateway that it has not heard yet for a silent one."""
    original = Heartbeats.judge
    put(Heartbeats, "judge", lambda self, now: original(self, now)._replace(judged=True))


def silence_of_all_counts() -> None:
    """A gateway counts as silent though no other one is heard either: the API server was away."""
    put(heartbeats, "QUIET_SECONDS", 1e9)


def silence_unforeseen() -> None:
    """A controller that rests learns of a gateway's silence when something else wakes it."""
    put(Heartbeats, "next_change", lambda _self, _now: float("inf"))


def gateway_journal_after_the_route() -> None:
    """An aggregate is not written into the RouteTable object before its route is created."""
    put(routes, "unwritten", lambda *_: False)


def native_in_transit() -> None:
    """A gateway sends packets in transit as its own: natively, where both nodes are routed."""
    original = peers.peer_entries

    def entries(*args: Any) -> Any:
        found = original(*args)
        own = dict(found.nexthops)
        return found._replace(nexthops=tuple((id_, own.get(id_ & ~TRANSIT_ID, hop)) for id_, hop in found.nexthops))

    put(desired, "peer_entries", entries)


def gateway_ends_at_once() -> None:
    """A node that is not selected any more is told so before its aggregates lead elsewhere."""
    original = gateways.place

    def place(snapshot: Snapshot, *args: Any) -> Any:
        found = original(snapshot, *args)
        selected = {name for name, node in snapshot.nodes.items() if node.gateway != "none"}
        return found._replace(published=found.published & selected)

    put(planner, "place", place)


def ipv4_to_any_gateway() -> None:
    """A gateway without an IPv4 address gets IPv4 aggregates."""
    put(gateways, "_takes", lambda *_: True)


def no_room_for_aggregates() -> None:
    """Nodes get all entries of a table, so that none is left for its aggregates."""
    put(TableUse, "room_for_ours", lambda self, family: self.limit(family) - self.families[family].foreign)


MUTATIONS: Mapping[str, Callable[[], None]] = {
    bug.__name__: bug
    for bug in (
        no_fence, no_margin, fence_before_the_lookup, fence_from_the_answer, lease_by_its_date,
        own_writes_forgotten, left_out_counts_as_dead, delete_before_create,
        ours_by_destination, limit_off_by_one, foreign_not_counted, no_drain, stopped_agents_not_awaited,
        no_settling, journal_after_the_route, deletes_on_old_tables, dependents_do_not_wait,
        deleted_node_counts_as_dead, freed_cidr_at_once, both_keep_a_duplicate, identified_by_name,
        node_route_before_its_routes, condition_before_the_route, an_error_makes_a_node_unavailable, drop_before_put,
        gateway_that_says_nothing, aggregates_placed_anew, gateways_judged_at_once, silence_of_all_counts,
        silence_unforeseen, gateway_journal_after_the_route, native_in_transit, gateway_ends_at_once,
        ipv4_to_any_gateway, no_room_for_aggregates, *EDGE_MUTATIONS,
    )
}  # fmt: skip
"""Name -> function that puts the bug in; its docstring says which."""
FOUND_BY: Mapping[str, int] = {
    "fence_from_the_answer": 21, "own_writes_forgotten": 164, "left_out_counts_as_dead": 6, "delete_before_create": 20,
    "no_drain": 10, "stopped_agents_not_awaited": 215, "journal_after_the_route": 18, "deletes_on_old_tables": 3,
    "deleted_node_counts_as_dead": 21, "freed_cidr_at_once": 17, "both_keep_a_duplicate": 6, "identified_by_name": 17,
    "condition_before_the_route": 6, "an_error_makes_a_node_unavailable": 10, "drop_before_put": 25,
    "silence_of_all_counts": 10, "silence_unforeseen": 186, "native_in_transit": 24, "gateway_ends_at_once": 24,
    "ipv4_to_any_gateway": 112, **EDGE_FOUND_BY,
}  # fmt: skip
"""Name -> the lowest seed that found the bug, where that is not among the first three.

A seed gives another scenario once the code draws a random number at another moment; the search then goes on from there.
"""

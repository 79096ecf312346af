"""To overlay: agents are told first, `drain_seconds` pass, then routes and NodeRoutes are deleted.

A node whose agent is stopped meanwhile (an upgrade) continues to send by such a route: the deletion waits until an
agent runs there again, at most `ABSENCE_SECONDS`. Routes to a dead instance need no drain, since no packet arrives
there. The timers are in `Carryover`; a controller that lost it (a restart) starts them anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from cloudroute.core.cluster.members import Departure, Membership
from cloudroute.core.cluster.model import ChangeRoute, DeleteNodeRoute, Key, Policy, Snapshot, Wait, WriteNodeRoute
from cloudroute.core.cluster.notices import agent_missing, is_stopped
from cloudroute.core.cluster.states import State
from cloudroute.core.cluster.tables import TableUse
from cloudroute.types import Cidr, Notice

ABSENCE_SECONDS = 300.0
"""Longest wait of a deletion for a stopped agent: enough to pull an image, and a bound for an agent that never
returns."""


class StoppedAgents(NamedTuple):
    """Agents that deletions must wait for."""

    since: Mapping[str, float]
    """By NodeRoute: monotonic second since which its agent is known to be stopped."""
    awaited: Mapping[str, tuple[float, str]]
    """By route table ("": any): among the agents that send by it, the one stopped first: since when, and its node."""
    notices: tuple[Notice, ...]
    """Warnings of agents that have been stopped for too long: nothing waits for them."""


NOTHING_STOPPED = StoppedAgents({}, {}, ())


def stopped_agents(snapshot: Snapshot) -> StoppedAgents:
    """Find the stopped agents of nodes whose instance runs, as far as is known."""
    stopped: dict[str, float] = {}
    awaited: dict[str, tuple[float, str]] = {}
    notices = []
    for name, record in snapshot.node_routes.items():
        if not is_stopped(record.status):
            continue
        instance = snapshot.instances.get(record.spec.instance_id)
        if instance is not None and instance.state != "running":
            continue
        since = stopped[name] = snapshot.carryover.stopped.get(name, snapshot.now)
        if since + ABSENCE_SECONDS > snapshot.now:
            for table_id in ("", record.spec.route_table_id):
                awaited[table_id] = min((since, name), awaited.get(table_id, (since, name)))
        elif node := snapshot.nodes.get(name):
            notices.append(agent_missing(node, ABSENCE_SECONDS))
    return StoppedAgents(stopped, awaited, tuple(notices))


class Drain(NamedTuple):
    """The timer of something that no agent is told to use any more."""

    key: tuple[str, Cidr | str]
    """Table id and destination of a route; "" and the name of a NodeRoute; "gateway" and the name of a former one."""
    since: float
    wait: Wait | None
    """None when it has drained."""


def drain(snapshot: Snapshot, policy: Policy, agents: StoppedAgents, key: tuple[str, Cidr | str], words: str) -> Drain:
    """Time a drain, from now unless the last plan has timed it already. `words` describe it for people."""
    since = snapshot.carryover.draining.get(key, snapshot.now)
    until = since + policy.drain_seconds
    stopped_at, name = agents.awaited.get(key[0], (until, ""))
    # An agent that stopped after the drain has applied the change. `cleanup` ends the pods' network: no wait.
    if stopped_at < until and not policy.leave:
        until = max(until, stopped_at + ABSENCE_SECONDS)
        words = f"{words}: the agent of {name} is stopped and has not heard of it"
    return Drain(key, since, Wait(until, words) if until > snapshot.now else None)


class Withdrawal(NamedTuple):
    """Treatment of the NodeRoutes without a Node."""

    writes: Mapping[str, WriteNodeRoute]
    """By name: writes that publish no native path any more."""
    drains: tuple[Drain, ...]
    ready: tuple[Departure, ...]
    """Departures whose routes and NodeRoute are deleted now."""


def withdraw(snapshot: Snapshot, policy: Policy, membership: Membership, agents: StoppedAgents) -> Withdrawal:
    """Publish no native path to nodes that are gone, and let the NodeRoutes drain that have none."""
    writes, drains, ready = {}, [], []
    for departure in membership.departures:
        record, state, _ = departure
        if record.spec.native_in:
            writes[record.name] = WriteNodeRoute(record.name, record, replace(record.spec, native_in=()))
        if state is State.DRAINING:
            drains.append(drain(snapshot, policy, agents, ("", record.name), f"{record.name} to leave"))
        if state is State.GONE or (state is State.DRAINING and not drains[-1].wait):
            ready.append(departure)
    return Withdrawal(writes, tuple(drains), tuple(ready))


def journal(writes: Mapping[str, WriteNodeRoute], name: str) -> tuple[Key, ...]:
    """Key of the write of a node's NodeRoute, if this plan has one: steps that need it come after it."""
    step = writes.get(name)
    return (step.key,) if step else ()


def delete_node_routes(
    membership: Membership,
    writes: Mapping[str, WriteNodeRoute],
    ready: Iterable[Departure],
    uses: Mapping[str, TableUse],
    routes: Iterable[ChangeRoute],
) -> tuple[DeleteNodeRoute, ...]:
    """Delete superseded NodeRoutes after their Node's own is written, and departures after the last of their routes."""
    aggregates: defaultdict[str, list[Key]] = defaultdict(list)
    for table_id, use in uses.items():
        for destination, route in use.aggregates.items():
            if route:
                aggregates[route.target].append(("route", table_id, str(destination)))
    superseded = [
        DeleteNodeRoute(record, journal(writes, member.name))
        for member in membership.members
        for record in member.superseded
    ]
    deletions: defaultdict[Cidr, list[Key]] = defaultdict(list)
    for step in routes:
        if step.verb == "delete":
            deletions[step.destination].append(step.key)
    departed = [
        DeleteNodeRoute(
            record,
            (
                *journal(writes, record.name),
                *[key for cidr in cidrs for key in deletions[cidr]],
                *aggregates[record.spec.network_interface_id],
            ),
        )
        for record, _, cidrs in ready
    ]
    return (*superseded, *departed)

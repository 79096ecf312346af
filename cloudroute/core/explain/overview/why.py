"""Reasons why nodes are not native, in the same words for all nodes in the same situation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from cloudroute.core.cluster.members import Member
from cloudroute.core.cluster.notices import agent_trouble
from cloudroute.core.cluster.states import State
from cloudroute.core.cluster.tables import TableUse, table_uses
from cloudroute.core.explain.overview.cycle import Cycle
from cloudroute.core.explain.overview.pairs import Pairs
from cloudroute.types import NodeRoute

LONGEST = 300
"""Most characters of untrusted text that are shown."""


class Reasons:
    """Answers for each node of a cycle; data that all answers need is prepared once."""

    def __init__(self, cycle: Cycle, pairs: Pairs) -> None:
        decision, snapshot = cycle.decision, cycle.snapshot
        self._snapshot, self._policy, self._pairs = snapshot, decision.policy, pairs
        self.uses = table_uses(snapshot, decision.policy, decision.selection, decision.uses)
        """Use of the route tables at the end of the cycle."""
        self._managed = {use.table.id: use for use in self.uses.values() if use.managed}
        self._members = {member.name: (index, member) for index, member in enumerate(decision.membership.members)}
        self._states = decision.membership.node_states
        self._refused = {node.name: condition.message for node, condition in decision.membership.refusals}
        self._grants = {table_id: granted for table_id, granted in decision.grants.items() if granted}
        self._full = {table_id: self._is_full(use) for table_id, use in self._managed.items()}
        self._foreign = {table_id: frozenset(use.foreign) for table_id, use in self._managed.items()}

    def of(self, name: str) -> str:
        """Reason why the node is not native; "" when it is."""
        record = self._snapshot.node_routes.get(name)
        if record is None:
            return self._unpublished(name)[:LONGEST]
        if name not in self._snapshot.nodes:
            return "its Node is gone: its routes drain, then they are removed"
        path = self._pairs.path.get(name)
        if path == "native":
            return ""
        words = [*self._of_itself(name, record), *self._by_table(name, record)]
        if path == "direct":
            words.insert(0, "all others are on its subnet")
        return "; ".join(words)

    def _is_full(self, use: TableUse) -> bool:
        reserve = self._policy.route_reserve
        return any(use.free(family) <= reserve for family in use.families)

    def _unpublished(self, name: str) -> str:
        node = self._snapshot.nodes[name]
        if node.problem or not node.instance_id:
            return node.problem or "its providerID names no EC2 instance"
        if name in self._refused:
            return self._refused[name]
        if self._states.get(name) is State.BLOCKED:
            return "it waits until a node that has gone has given up its name or its pod CIDR"
        instance = self._snapshot.instances.get(node.instance_id)
        if instance is None:
            return "EC2 does not show its instance"
        if instance.vpc_id != self._snapshot.vpc_id:
            return f"its instance is in {instance.vpc_id or 'no VPC'}, not in {self._snapshot.vpc_id}"
        return "it has just come: nothing is published of it yet"

    def _of_itself(self, name: str, record: NodeRoute) -> Iterator[str]:
        """Reasons why the node can't be native in any table."""
        state = self._states.get(name)
        if state is State.DEAD:
            yield "its instance is terminated"
        elif state is State.MISSING:
            yield "EC2 does not show its instance"
        elif self._checked(record):
            yield "its source/dest check is on"

    def _checked(self, record: NodeRoute) -> bool:
        instance = self._snapshot.instances.get(record.spec.instance_id)
        primary = instance.primary if instance else None
        return primary is not None and primary.source_dest_check

    def _by_table(self, name: str, record: NodeRoute) -> Iterator[str]:
        """Reasons by route table of the node's senders; tables with the same reason share one sentence."""
        lacking: defaultdict[str, list[str]] = defaultdict(list)
        index, member = self._members.get(name, (-1, None))
        for table_id in self._tables_without(name, record):
            granted = member if index in self._grants.get(table_id, ()) else None
            lacking[self._lack(table_id, record, granted)].append(table_id or "a table that is not known")
        for words, table_ids in lacking.items():
            yield f"{words} in {', '.join(table_ids)}"

    def _tables_without(self, name: str, record: NodeRoute) -> tuple[str, ...]:
        """Ids of its senders' tables without its routes; for the only node, its own table stands for later senders."""
        if len(self._pairs.path) == 1 and self._pairs.path[name] == "overlay":
            return (record.spec.route_table_id,)
        return self._pairs.lacking[name]

    def _lack(self, table_id: str, record: NodeRoute, granted: Member | None) -> str:
        """Reason why a node is not native in a table; `granted` if it has a slot there."""
        if table_id not in self._managed:
            return "cloudroute keeps no routes"
        cidrs = record.spec.pod_cidrs
        if not self._foreign[table_id].isdisjoint(cidrs):
            return "somebody else's route has its pod CIDR"
        if granted is None:
            return "no entry is left" if self._full[table_id] else "no route is meant for it"
        routes = [self._managed[table_id].ours.get(cidr) for cidr in cidrs]
        if any(route is None or route.target != granted.interface_id for route in routes):
            return "its route is still to be made"
        if any(route and route.blackhole for route in routes):
            return "its route leads to an instance that does not run"
        if trouble := agent_trouble(record.status):
            return f"it waits for its agent, which says {trouble[:LONGEST]},"
        return "its route settles"

"""Decisions that an old state of the route tables must not mislead.

AWS refuses to create a route that exists already. DeleteRoute and ReplaceRoute have no such condition, and would remove
a route that another program has made meanwhile. So these two wait until the tables have been read again.

A process knows its own writes (`pending`), not those of the leader before it, and its first describes may be older than
these. So a path that nobody is told to use yet is published by a later describe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cloudroute.core.cluster.model import ChangeRoute, Key, Step
from cloudroute.types import Cidr, NodeRoute, RouteTable

INHERITED_SECONDS = 30.0
"""Time after its first read of the tables at which a new leader reads again the routes that nobody uses yet.

AWS gives no figure for the lag of describes. Until then such a node's traffic takes the overlay.
"""


def safe_on_old_tables(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Steps that neither delete nor replace a route, nor come after a step that does; in their order.

    `steps` are in the order of a plan: each stands behind all steps in its `after`.
    """
    kept, waiting = [], set[Key]()
    for step in steps:
        takes = isinstance(step, ChangeRoute) and step.verb != "create"
        if takes or not waiting.isdisjoint(step.after):
            waiting.add(step.key)
        else:
            kept.append(step)
    return tuple(kept)


def unpublished(records: Iterable[NodeRoute], tables: Mapping[str, RouteTable]) -> frozenset[tuple[str, Cidr]]:
    """Return (table id, pod CIDR) of the routes of nodes that no agent is told to use.

    They settle, or drain and may be deleted already.
    """
    return frozenset(
        [
            (table_id, cidr)
            for record in records
            for table_id in tables.keys() - record.spec.native_in
            for cidr in record.spec.pod_cidrs
            if cidr in tables[table_id].routes
        ]
    )

"""Steps that are safe although the route tables were read a while ago.

AWS refuses to create a route that exists already. DeleteRoute and ReplaceRoute have no such condition, and would remove
a route that another program has made meanwhile. So these two wait until the tables have been read again.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudroute.core.cluster.model import ChangeRoute, Key, Step


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

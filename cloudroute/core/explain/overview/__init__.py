"""What the status page shows, composed from one cycle of the leader: values in, JSON's own types out, no I/O.

cycle ── what a cycle leaves behind        pairs ── every pair of nodes, by path
why ──── why a node is not native          findings ── what doctor would say of the same snapshot
compose  joins them

Names and messages in it are other people's words: they are data here, and text on the page.
"""

from cloudroute.core.explain.overview.compose import compose
from cloudroute.core.explain.overview.cycle import Cycle, timestamp

__all__ = ["Cycle", "compose", "timestamp"]

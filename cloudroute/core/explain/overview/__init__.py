"""Content of the status page, composed from one cycle of the leader: values in, JSON's own types out, no I/O.

cycle ── result of a cycle                   pairs ── every pair of nodes, by path
why ──── reason why a node is not native     findings ── doctor's findings on the same snapshot
compose  joins them

Names and messages in it are untrusted text: data here, and plain text on the page.
"""

from cloudroute.core.explain.overview.compose import compose
from cloudroute.core.explain.overview.cycle import Cycle, timestamp

__all__ = ["Cycle", "compose", "timestamp"]

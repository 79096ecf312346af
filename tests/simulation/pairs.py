"""Checks invariant 4, packet by packet: a pair of nodes that once had a path has one at every moment."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from tests.simulation.fault_plan import CATCH_UP_SECONDS
from tests.simulation.packet import lost, parse
from tests.simulation.violation import Violation

if TYPE_CHECKING:
    from tests.simulation.checks import Checks
    from tests.simulation.cluster import SimCluster
    from tests.simulation.node import SimNode

HEALING = 45.0
"""Longest time for which a disturbed pair may have no path, in seconds in which describes are fast."""


class Pairs:
    """The pairs of nodes that have a path, and must keep it."""

    def __init__(self, sim: SimCluster, checks: Checks) -> None:
        self.sim, self.checks = sim, checks
        self.established: dict[tuple[SimNode, SimNode, str], None] = {}
        """(source, target, CIDR of the target), in the order in which they got a path."""

    def kernel(self, node: SimNode) -> None:
        """Check the pairs that send from a node, after each write to its kernel: packets pass between two writes."""
        for source, target, cidr in [one for one in self.established if one[0] is node]:
            self._pair(source, target, cidr)

    def check(self) -> None:
        """Check that every pair that once had a path has one."""
        for source, target, cidr in list(self.established):
            self._pair(source, target, cidr)

    def _pair(self, source: SimNode, target: SimNode, cidr: str) -> None:
        sim = self.sim
        if not (source in sim.nodes and target in sim.nodes and cidr in self.checks.cidrs(target)):
            self.established.pop((source, target, cidr), None)
            return
        why = lost(sim, source, target, parse(cidr))
        if not why:
            return
        self.established.pop((source, target, cidr), None)
        if not self.excused(source, target):
            raise Violation(f"invariant 4: from {source.name} to {target.name} ({cidr}): {why}")

    def excused(self, source: SimNode, target: SimNode) -> bool:
        """Whether a recent fault or another's change may cost packets of this pair."""
        sim = self.sim
        now = sim.scheduler.now
        since = (min(now, sim.slow_since) if now < sim.slow_until + CATCH_UP_SECONDS else now) - HEALING
        mine = {*self.checks.cidrs(source), *self.checks.cidrs(target)}
        return max(source.disturbed, target.disturbed) > since or any(
            entry[1] in mine and self.checks.hidden(self.checks.since.get(entry), when) > since
            for entry, when in sim.tampered.items()
        )

    def sample(self) -> None:
        """Check all pairs, and add those that have a path by now."""
        self.check()
        ready = [node for node in self.sim.nodes if node.running and node.registered]
        for source, target in permutations(ready, 2):
            for cidr in self.checks.cidrs(target):
                if (source, target, cidr) not in self.established and not lost(self.sim, source, target, parse(cidr)):
                    self.established[source, target, cidr] = None

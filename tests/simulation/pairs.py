"""Invariant 4, packet by packet: a pair of nodes that once had a path has one at every moment."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from tests.simulation.packet import lost, parse
from tests.simulation.weather import LATE

if TYPE_CHECKING:
    from tests.simulation.checks import Checks
    from tests.simulation.node import SimNode
    from tests.simulation.world import World

HEALING = 45.0
"""Seconds after a disturbance for which a pair may be without a path, while describes are answered."""


class Violation(AssertionError):
    """An invariant does not hold."""


def require(true: object, invariant: int, words: str) -> None:
    """Raise Violation unless that is true."""
    if not true:
        raise Violation(f"invariant {invariant}: {words}")


class Pairs:
    """Those that have had a path."""

    def __init__(self, world: World, checks: Checks) -> None:
        self.world, self.checks = world, checks
        self.established: dict[tuple[SimNode, SimNode, str], None] = {}
        """With a CIDR of the second; in the order they got it."""

    def kernel(self, node: SimNode) -> None:
        """Called at each write to a kernel: no packet of that node may be lost by the one before."""
        for source, target, cidr in [one for one in self.established if one[0] is node]:
            self._pair(source, target, cidr)

    def check(self) -> None:
        """Every pair that once had a path has one."""
        for source, target, cidr in list(self.established):
            self._pair(source, target, cidr)

    def _pair(self, source: SimNode, target: SimNode, cidr: str) -> None:
        world = self.world
        if not (source in world.nodes and target in world.nodes and cidr in self.checks.cidrs(target)):
            self.established.pop((source, target, cidr), None)
            return
        why = lost(world, source, target, parse(cidr))
        if not why:
            return
        self.established.pop((source, target, cidr), None)
        if not self.excused(source, target):
            require(False, 4, f"from {source.name} to {target.name} ({cidr}): {why}")

    def excused(self, source: SimNode, target: SimNode) -> bool:
        """Whether something has befallen this pair that may cost packets."""
        world = self.world
        now = world.scheduler.now
        since = (min(now, world.slow_since) if now < world.slow_until + LATE else now) - HEALING
        mine = {*self.checks.cidrs(source), *self.checks.cidrs(target)}
        return max(source.disturbed, target.disturbed) > since or any(
            entry[1] in mine and self.checks.hidden(self.checks.since.get(entry), when) > since
            for entry, when in world.tampered.items()
        )

    def sample(self) -> None:
        """Note which pairs have a path by now; those that had one must have it."""
        self.check()
        ready = [node for node in self.world.nodes if node.running and node.registered]
        for source, target in permutations(ready, 2):
            for cidr in self.checks.cidrs(target):
                if (source, target, cidr) not in self.established and not lost(self.world, source, target, parse(cidr)):
                    self.established[source, target, cidr] = None

"""Checks that a process does not repeat a write that EC2 has confirmed to it, whatever describes show after it.

A describe may show the state before a write (`describes`). A process that forgets its own write then makes the same
call in vain, or deletes a route that somebody else has made after it had deleted its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cloudroute.lab.aws.wire import Request, Response
from tests.simulation.checks import MEMORY_SECONDS
from tests.simulation.violation import require

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster

Entry = tuple[str, str]
"""A route table and a destination; or "" and an interface, for its source/dest check."""


class Confirmed(NamedTuple):
    """The last write to an entry, if EC2's answer has reached its sender."""

    who: str
    at: float
    target: str
    """The ENI that a route leads to, "" for no route; the interface of a check."""


class Repeats:
    """Confirmed writes of one scenario. Times are the scheduler's, in seconds."""

    def __init__(self, sim: SimCluster) -> None:
        self._sim = sim
        self._confirmed: dict[Entry, Confirmed] = {}

    def confirm(self, who: str, request: Request, response: Response) -> None:
        """Note the answer that `who` gets to its write, `response.delay` from now."""
        if response.status == 200 or response.code == "InvalidRoute.NotFound":
            at = self._sim.scheduler.now + response.delay
            self._confirmed[_entry(request)] = Confirmed(who, at, request.get("NetworkInterfaceId"))

    def check(self, who: str, request: Request) -> None:
        """Check a write as it arrives at EC2."""
        sim, entry = self._sim, _entry(request)
        done = self._confirmed.pop(entry, None)
        if done is None or done.who != who or sim.scheduler.now - done.at >= MEMORY_SECONDS:
            return
        words = f"{request.action} of {' '.join(entry).strip()} by {who}"
        ago = f"{sim.scheduler.now - done.at:.1f} s ago"
        by_others = max(sim.tampered.get(entry, 0.0), sim.switched_on.get(entry[1], 0.0))
        if by_others < done.at - MEMORY_SECONDS:  # else it may show a state that is newer than the write
            require(
                done.target != request.get("NetworkInterfaceId"), 5, f"{words}, whose same write EC2 confirmed {ago}"
            )
        if request.action != "CreateRoute" and not done.target:
            foreign = sim.foreign.get(entry, 0.0)
            require(foreign <= done.at, 3, f"{words}, which had deleted its own {ago}: this one is foreign")


def _entry(request: Request) -> Entry:
    to = request.get("DestinationCidrBlock") or request.get("DestinationIpv6CidrBlock")
    return (request.get("RouteTableId"), to) if to else ("", request.get("NetworkInterfaceId"))

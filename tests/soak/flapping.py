"""Whether more was written than the faults needed: what EC2 holds before and after tells how much that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.soak.schedule import ZONES, Fault

FAMILIES = 2
WRITES_OF_A_NODE_ROUTE = 4
"""To leave a path and to come back, each with its source/dest check or a second thought."""

Tables = Mapping[str, Mapping[str, str]]
"""Our routes: the target's ENI by destination, by table."""


@dataclass(frozen=True, slots=True)
class Bill:
    """Of one episode: writes that were made, and the most that its faults explain."""

    ec2: int
    ec2_most: int
    node_routes: int
    node_routes_most: int

    @property
    def fair(self) -> bool:
        """Nothing was written without need."""
        return self.ec2 <= self.ec2_most and self.node_routes <= self.node_routes_most


def differences(before: Tables, after: Tables) -> int:
    """Count the entries that must be written to get from one to the other."""
    return sum(
        before.get(table, {}).get(destination) != after.get(table, {}).get(destination)
        for table in before.keys() | after.keys()
        for destination in before.get(table, {}).keys() | after.get(table, {}).keys()
    )


def ec2_most(faults: Sequence[Fault], before: Tables, after: Tables) -> int:
    """The difference; a replaced instance's place may go to another node and back, and has a check to be switched off.

    A write whose answer was lost may be made again.
    """
    most = differences(before, after)
    for fault in faults:
        if fault.kind == "instance replaced":
            most += 1 + 2 * FAMILIES * len(ZONES)
        if fault.kind in ("EC2's answers are lost", "EC2 is silent", "EC2 shows the past"):
            most += 2 * FAMILIES * len(ZONES)
    return most


def node_routes_most(faults: Sequence[Fault], changed: int) -> int:
    """`changed` NodeRoutes are not what they were."""
    touched = sum(fault.kind in ("instance replaced", "node registered anew") for fault in faults)
    return WRITES_OF_A_NODE_ROUTE * (changed + touched)

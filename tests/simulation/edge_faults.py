"""Faults at the edges: somebody's mistakes, lost stores, other people's routes, hostile agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tests.simulation.fault_plan import PlannedFault

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster


def _outside(sim: SimCluster, fault: PlannedFault) -> None:
    """A Node with a pod CIDR that no pool covers appears while no controller runs."""
    for replica in sim.replicas:
        replica.end()
    sim.intrude(fault, (f"10.98.{fault.size}.0/24",), "")


EDGE_FAULTS: Mapping[str, Callable[[SimCluster, PlannedFault], object]] = {"CIDR outside": _outside}
"""By kind, as in `fault_plan.EDGE_DURATIONS`."""

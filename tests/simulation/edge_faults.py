"""Faults at the edges: somebody's mistakes, lost stores, other people's routes, hostile agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tests.simulation.fault_plan import PlannedFault

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster


EDGE_FAULTS: Mapping[str, Callable[[SimCluster, PlannedFault], object]] = {}
"""By kind, as in `fault_plan.EDGE_DURATIONS`."""

"""What a story begins with."""

from __future__ import annotations

from dataclasses import dataclass

from cloudroute.core.cluster.model import DirectRouting

POOL = "100.64.0.0/20"


@dataclass(frozen=True)
class Setup:
    """What a story begins with."""

    layout: str = "zones"
    replicas: int = 2
    nodes: int = 4
    limit: int = 50
    """--route-limit."""
    quota: int = 50
    """What EC2 really allows."""
    direct: DirectRouting = "auto"
    pool: str = POOL
    reserve: int = 0

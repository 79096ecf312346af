"""The cluster with which a scenario begins."""

from __future__ import annotations

from dataclasses import dataclass

from cloudroute.core.cluster.model import DirectRouting

POOL = "100.64.0.0/20"


@dataclass(frozen=True)
class Setup:
    """The cluster with which a scenario begins: its VPC, its size and the controllers' settings."""

    layout: str = "zones"
    """A key of `cloud.LAYOUTS`."""
    replicas: int = 2
    """Number of controllers."""
    nodes: int = 4
    limit: int = 50
    """--route-limit."""
    quota: int = 50
    """Entries per table and family that EC2 allows."""
    direct: DirectRouting = "auto"
    """--direct-routing."""
    pool: str = POOL
    """The IPv4 cluster CIDR."""
    reserve: int = 0
    """--route-reserve."""
    gateway_routes: int = 0
    """--gateway-routes; 0 without --gateway-nodes."""

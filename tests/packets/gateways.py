"""Labs with gateways: their flags, and which node an aggregate leads to."""

from __future__ import annotations

from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab
from tests.packets.labs import specs

LEASE_SECONDS = 3.0
FLAGS = {
    "--gateway-nodes": "role=gateway",
    "--gateway-lease-seconds": f"{LEASE_SECONDS:g}",
    "--resync-seconds": "300",  # so that nobody repairs what a test breaks
}


def holders(lab: HostLab) -> list[str]:
    """Nodes that the aggregates of all tables and families lead to, "" for none."""
    names = {spec.network_interface_id: name for name, spec in specs(lab).items()}
    return [
        names.get(str(lab.aws.scene.routes(zone.route_table_id).get(pool, {}).get("NetworkInterfaceId")), "")
        for zone in lab.vpc.zones
        for pool in lab.pools
    ]


def gateway_of(lab: HostLab, zone: int) -> LabHost:
    """The gateway of a zone's table, IPv4."""
    return lab.hosts[holders(lab)[zone * len(lab.pools)]]

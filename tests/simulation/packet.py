"""Follows one packet: the sender's kernel, the table of its subnet, an interface, the receiver's kernel.

This module reads the state of kernels and EC2 alone, never a plan or a NodeRoute.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cloudroute.dataplane import METRIC, TUNNELS, VTEP, AddressKey, RouteKey, written
from cloudroute.types import BITS, Cidr

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster
    from tests.simulation.node import SimNode

parse = lru_cache(1 << 16)(Cidr.parse)


@lru_cache(1 << 16)
def _bytes(cidr: Cidr, offset: int) -> bytes:
    return (cidr.base + offset).to_bytes(4 if cidr.family == "ipv4" else 16, "big")


def lost(sim: SimCluster, source: SimNode, target: SimNode, cidr: Cidr) -> str:
    """Reason why a packet from a pod of `source` to one of `target`, in `cidr`, is lost; "" if it arrives."""
    tables = source.kernel.tables
    route = tables["routes"].entries.get(RouteKey(_bytes(cidr, 0), cidr.length, METRIC[cidr.family]))
    if route is None:
        return "the sender's kernel has no route"
    hop = tables["nexthops"].entries.get(route.nexthop)
    if hop is None:
        return "the route's nexthop is missing"
    if hop.device in TUNNELS:
        problem = _tunnel(source, target, hop.device, hop.gateway)
    elif hop.gateway in source.host.gateways:
        problem = _vpc(sim, source, target, cidr)
    else:
        problem = _direct(sim, source, target, hop.gateway)
    if problem:
        return problem
    if AddressKey(VTEP, _bytes(cidr, 0), BITS[cidr.family]) not in target.kernel.tables["addresses"].entries:
        return "the receiver does not know these pods as its own"
    return ""


def path(source: SimNode, cidr: Cidr) -> str:
    """Path by which the kernel of `source` sends to pods in `cidr`: overlay, native or direct."""
    tables = source.kernel.tables
    route = tables["routes"].entries[RouteKey(_bytes(cidr, 0), cidr.length, METRIC[cidr.family])]
    hop = tables["nexthops"].entries[route.nexthop]
    if hop.device in TUNNELS:
        return "overlay"
    return "native" if hop.gateway in source.host.gateways else "direct"


def _tunnel(source: SimNode, target: SimNode, device: str, gateway: bytes) -> str:
    tables = source.kernel.tables
    fdb, neighbours = TUNNELS[device]
    mac = tables[neighbours].entries.get(gateway)
    if mac is None:
        return "overlay: no neighbour for the VTEP"
    end = tables[fdb].entries.get(mac)
    if end is None:
        return "overlay: no FDB entry for the VTEP"
    if not any(written(end) == address for address in target.machine.addresses):
        return f"overlay: the tunnel leads to {written(end)}"
    links = [link for link in target.kernel.tables["links"].entries.values() if link.vxlan.local == end]
    if not links:
        return f"overlay: the receiver has no tunnel at {written(end)}"
    if links[0].mac != mac:
        return "overlay: the receiver's VTEP has another MAC"
    return ""


def _vpc(sim: SimCluster, source: SimNode, target: SimNode, cidr: Cidr) -> str:
    table = source.machine.zone.route_table_id
    destination = str(cidr)
    to, active = sim.cloud.routes(table).get(destination, ("", False))
    if to != target.machine.interface_id:
        return f"native: {table} leads to {to or 'nowhere'}"
    if not active:
        return f"native: the route in {table} is a blackhole"
    if not sim.cloud.takes(to, destination):
        return f"native: {to} has no IPv4 address"
    return _checks(sim, source, target, "native")


def _direct(sim: SimCluster, source: SimNode, target: SimNode, gateway: bytes) -> str:
    if written(gateway) not in target.machine.addresses:
        return f"direct: it is sent to {written(gateway)}"
    if source.machine.zone.subnet_id != target.machine.zone.subnet_id:
        return "direct: they are on different subnets"
    return _checks(sim, source, target, "direct")


def _checks(sim: SimCluster, source: SimNode, target: SimNode, path: str) -> str:
    for node in (source, target):
        if sim.cloud.checked(node.machine.interface_id):
            return f"{path}: the source/dest check of {node.name} drops it"
    return ""

"""Follows one packet: the sender's kernel, the table of its subnet, an interface, a gateway, the receiver's kernel.

This module reads the state of kernels and EC2 alone, never a plan or a NodeRoute.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cloudroute.dataplane import MAIN, METRIC, TUNNELS, VTEP, AddressKey, RouteKey, Rule, written
from cloudroute.types import BITS, Cidr
from tests.simulation.violation import require

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster
    from tests.simulation.node import SimNode

parse = lru_cache(1 << 16)(Cidr.parse)
_FORWARDING = {"ipv4": "net/ipv4/ip_forward", "ipv6": "net/ipv6/conf/all/forwarding"}


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
    return problem or unknown(target, cidr)


def unknown(target: SimNode, cidr: Cidr) -> str:
    """Reason why `target` does not take packets to its own pods; "" if it does."""
    if AddressKey(VTEP, _bytes(cidr, 0), BITS[cidr.family]) in target.kernel.tables["addresses"].entries:
        return ""
    return "the receiver does not know these pods as its own"


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


def lost_by_table(sim: SimCluster, table: str, target: SimNode, cidr: Cidr, passed: tuple[SimNode, ...] = ()) -> str:
    """Reason why a packet that `table` routes to a pod of `target`, in `cidr`, is lost; "" if it arrives.

    `passed`: the gateways that it has passed. Raises Violation for a packet that returns to one.
    """
    routes = sim.cloud.routes(table)
    destination = str(cidr)
    if destination in routes:
        gateway, (to, active) = target, routes[destination]
    else:
        destination = max((to for to in routes if parse(to).covers(cidr)), key=lambda to: parse(to).length, default="")
        to, active = routes.get(destination, ("", False))
        gateway = next((node for node in sim.nodes if node.running and node.machine.interface_id == to), target)
    if to != gateway.machine.interface_id:
        return f"native: {table} leads to {to or 'nowhere'}"
    if not active:
        return f"native: the route in {table} is a blackhole"
    if not sim.cloud.takes(to, destination):
        return f"native: {to} has no IPv4 address"
    if sim.cloud.checked(to):
        return f"native: the source/dest check of {gateway.name} drops it"
    return "" if gateway is target else _transit(sim, table, destination, gateway, target, cidr, passed)


def _transit(
    sim: SimCluster,
    table: str,
    destination: str,
    gateway: SimNode,
    target: SimNode,
    cidr: Cidr,
    passed: tuple[SimNode, ...],
) -> str:
    by_hand = sim.tampered.get((table, destination), 0.0) > sim.checks.since.get((table, destination), 0.0)
    require(by_hand or gateway not in passed, 9, f"a packet to {cidr} returns to {gateway.name} by {table}")
    if gateway in passed:
        return f"gateway: a loop by {gateway.name}"
    tables = gateway.kernel.tables
    if tables["sysctls"].entries.get(_FORWARDING[cidr.family]) != "1":
        return f"gateway: {gateway.name} does not forward"
    rules = [rule for rule in tables["rules"].entries if _covers(rule, cidr)]
    by = min(rules, key=lambda rule: rule.priority).table if rules else MAIN
    route = tables["routes"].entries.get(RouteKey(_bytes(cidr, 0), cidr.length, METRIC[cidr.family], by))
    hop = tables["nexthops"].entries.get(route.nexthop) if route else None
    if hop is None:
        return f"gateway: {gateway.name} has no route"
    if hop.device in TUNNELS:
        return _tunnel(gateway, target, hop.device, hop.gateway)
    if hop.gateway not in gateway.host.gateways:
        return _direct(sim, gateway, target, hop.gateway)
    require(not rules, 9, f"{gateway.name} sends a packet in transit to {cidr} natively")
    return lost_by_table(sim, gateway.machine.zone.route_table_id, target, cidr, (*passed, gateway))


def forwards(node: SimNode, aggregate: Cidr) -> bool:
    """Whether a node is set up to forward packets of the VPC to all pods of an aggregate."""
    tables = node.kernel.tables
    rules = any(_covers(rule, aggregate) for rule in tables["rules"].entries)
    return rules and tables["sysctls"].entries.get(_FORWARDING[aggregate.family]) == "1"


def _covers(rule: Rule, cidr: Cidr) -> bool:
    pool = rule.destination
    same = len(pool) == (4 if cidr.family == "ipv4" else 16)
    return same and Cidr(cidr.family, int.from_bytes(pool, "big"), rule.length).covers(cidr)


def _vpc(sim: SimCluster, source: SimNode, target: SimNode, cidr: Cidr) -> str:
    if sim.cloud.checked(source.machine.interface_id):
        return f"native: the source/dest check of {source.name} drops it"
    return lost_by_table(sim, source.machine.zone.route_table_id, target, cidr)


def _direct(sim: SimCluster, source: SimNode, target: SimNode, gateway: bytes) -> str:
    if written(gateway) not in target.machine.addresses:
        return f"direct: it is sent to {written(gateway)}"
    if source.machine.zone.subnet_id != target.machine.zone.subnet_id:
        return "direct: they are on different subnets"
    for node in (source, target):
        if sim.cloud.checked(node.machine.interface_id):
            return f"direct: the source/dest check of {node.name} drops it"
    return ""

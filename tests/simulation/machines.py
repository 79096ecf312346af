"""Faults of machines, and changes that other people make to Nodes, routes and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from cloudroute.types import Cidr
from tests.simulation.fault_plan import PlannedFault

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster
    from tests.simulation.node import SimNode

T = TypeVar("T")


def pick(among: Sequence[T], fault: PlannedFault) -> T | None:
    """Choose one of several by the fault's `pick`; None of none."""
    return among[int(fault.pick * len(among))] if among else None


def fraction(fault: PlannedFault) -> float:
    """Derive a second number from 0 to 1 from `pick`."""
    return fault.pick * 7919 % 1


def _running(sim: SimCluster, fault: PlannedFault) -> SimNode | None:
    return pick([node for node in sim.nodes if node.running and node.registered], fault)


def _join(sim: SimCluster, fault: PlannedFault) -> None:
    if len(sim.nodes) < 7:
        sim.join(fault.size)


def _die(sim: SimCluster, fault: PlannedFault) -> None:
    if node := _running(sim, fault):
        sim.die(node)


def _replace(sim: SimCluster, fault: PlannedFault) -> None:
    """An instance dies and another one registers under its name, half of the times with its pod CIDRs."""
    if node := _running(sim, fault):
        cidrs = sim.checks.cidrs(node) if fraction(fault) < 0.5 else ()
        sim.die(node)
        zone = fault.size if fault.size < 3 else sim.cloud.vpc.zones.index(node.machine.zone)
        sim.join(zone, node.name, pod_cidrs=cidrs)


def _rename(sim: SimCluster, fault: PlannedFault) -> None:
    if node := _running(sim, fault):
        sim.rename(node)


def _register_again(sim: SimCluster, fault: PlannedFault) -> None:
    """The Node is deleted, by mistake or because the kubelet was away for too long, and registers again."""
    if node := _running(sim, fault):
        sim.unregister(node)
        sim.scheduler.after(fault.seconds, lambda: sim.register(node))


def _reboot(sim: SimCluster, fault: PlannedFault) -> None:
    """A machine reboots: its kernel has no entries, and its agent starts again."""
    if node := _running(sim, fault):
        node.end()
        for table in node.kernel.tables.values():
            table.entries.clear()
        node.disturb(fault.size)
        node.forgot = sim.scheduler.now
        sim.scheduler.after(fault.size, lambda: node.start() if node.running else None)


def _duplicate_cidr(sim: SimCluster, fault: PlannedFault) -> None:
    """Somebody creates a Node with the podCIDRs of another; its instance is real."""
    node = _running(sim, fault)
    if node and (cidrs := sim.checks.cidrs(node)) and len(sim.nodes) < 7:
        sim.intrude(fault, cidrs, "")


def _duplicate_instance(sim: SimCluster, fault: PlannedFault) -> None:
    if node := _running(sim, fault):
        sim.intrude(fault, (), node.machine.provider_id)


def _foreign_route(sim: SimCluster, fault: PlannedFault) -> None:
    if table := pick(sim.tables, fault):
        sim.add_foreign(table, f"172.20.{fault.size}.0/24")


def _foreign_in_pool(sim: SimCluster, fault: PlannedFault) -> None:
    if table := pick(sim.tables, fault):
        sim.add_foreign(table, f"100.64.{fault.size}.0/24")


def _ours(sim: SimCluster, fault: PlannedFault) -> tuple[str, str] | None:
    found = [(t, to) for t in sim.tables for to, (eni, _) in sim.cloud.routes(t).items() if eni[:4] == "eni-"]
    return pick(found, fault)


def _taken(sim: SimCluster, fault: PlannedFault) -> None:
    """Somebody replaces the target of a route of ours, and later removes the route."""
    if found := _ours(sim, fault):
        sim.add_foreign(*found)
        sim.scheduler.after(fault.seconds, lambda: sim.remove_route(*found))


def _failover(sim: SimCluster, fault: PlannedFault) -> None:
    """Somebody replaces the targets of a node's routes by hand, just before the node dies."""
    node = _running(sim, fault)
    for table, to in [(t, to) for t in sim.tables for to in (sim.checks.cidrs(node) if node else ())]:
        sim.add_foreign(table, to)
    if node:
        sim.scheduler.after(fault.size * 0.5, lambda: sim.die(node))


def _removed(sim: SimCluster, fault: PlannedFault) -> None:
    if found := _ours(sim, fault):
        sim.remove_route(*found)


def _misdirected(sim: SimCluster, fault: PlannedFault) -> None:
    """Somebody points a route of ours at another node."""
    found, node = _ours(sim, fault), _running(sim, fault)
    if found and node:
        sim.misdirect(*found, node)


def _foreign_removed(sim: SimCluster, fault: PlannedFault) -> None:
    if found := pick(list(sim.foreign), fault):
        sim.remove_route(*found)


def _check_on(sim: SimCluster, fault: PlannedFault) -> None:
    if node := _running(sim, fault):
        switch_on(sim, node)


def switch_on(sim: SimCluster, node: SimNode) -> None:
    """Somebody switches the source/dest check of a node on."""
    now, eni = sim.scheduler.now, node.machine.interface_id
    sim.cloud.aws.scene.ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, SourceDestCheck={"Value": True})
    sim.switched_on[eni] = now
    node.disturb(sim.checks.hidden(sim.checks.switched_off.get(eni), now) - now)


def _limit(sim: SimCluster, fault: PlannedFault) -> None:
    """The Deployment is rolled with another --route-limit."""
    settings = replace(sim.settings, route_limit=fault.size + 1)
    for index, replica in enumerate(sim.replicas):
        replica.settings = settings
        sim.scheduler.after(index * 5.0, replica.stop)


def _pool(sim: SimCluster, fault: PlannedFault) -> None:
    """The Deployment is rolled with another pool, and later back. Not drawn by `plan_of`: nodes must exist before."""
    changed = replace(sim.settings, cluster_cidr=(Cidr.parse("10.99.0.0/16"),))
    for index, replica in enumerate(sim.replicas):
        replica.settings = changed
        sim.scheduler.after(index * 5.0, replica.stop)
        sim.scheduler.after(fault.seconds, lambda replica=replica: setattr(replica, "settings", sim.settings))  # type: ignore[misc] # mypy can't infer defaults of lambdas


MACHINE_FAULTS: Mapping[str, Callable[[SimCluster, PlannedFault], object]] = {
    "join": _join, "die": _die, "replace": _replace, "rename": _rename, "re-register": _register_again,
    "reboot": _reboot, "duplicate CIDR": _duplicate_cidr, "duplicate instance": _duplicate_instance,
    "foreign route": _foreign_route, "foreign in pool": _foreign_in_pool, "route taken": _taken,
    "failover": _failover, "route removed": _removed, "route misdirected": _misdirected,
    "foreign removed": _foreign_removed, "check on": _check_on, "limit": _limit, "pool": _pool,
    "quota": lambda sim, fault: sim.cloud.aws.set_route_quota(fault.size + 1),
}  # fmt: skip

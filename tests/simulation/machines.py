"""Faults of machines, and changes that other people make to Nodes, routes and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from cloudroute.types import Cidr
from tests.simulation.fault_plan import PlannedFault

if TYPE_CHECKING:
    from tests.simulation.node import SimNode
    from tests.simulation.world import World

T = TypeVar("T")


def pick(among: Sequence[T], fault: PlannedFault) -> T | None:
    """Choose one of several by the fault's `pick`; None of none."""
    return among[int(fault.pick * len(among))] if among else None


def fraction(fault: PlannedFault) -> float:
    """Derive a second number from 0 to 1 from `pick`."""
    return fault.pick * 7919 % 1


def _running(world: World, fault: PlannedFault) -> SimNode | None:
    return pick([node for node in world.nodes if node.running and node.registered], fault)


def _join(world: World, fault: PlannedFault) -> None:
    if len(world.nodes) < 7:
        world.join(fault.size)


def _die(world: World, fault: PlannedFault) -> None:
    if node := _running(world, fault):
        world.die(node)


def _replace(world: World, fault: PlannedFault) -> None:
    """An instance dies and another one registers under its name, half of the times with its pod CIDRs."""
    if node := _running(world, fault):
        cidrs = world.checks.cidrs(node) if fraction(fault) < 0.5 else ()
        world.die(node)
        zone = fault.size if fault.size < 3 else world.cloud.vpc.zones.index(node.machine.zone)
        world.join(zone, node.name, pod_cidrs=cidrs)


def _rename(world: World, fault: PlannedFault) -> None:
    if node := _running(world, fault):
        world.rename(node)


def _register_again(world: World, fault: PlannedFault) -> None:
    """The Node is deleted, by mistake or because the kubelet was away for too long, and registers again."""
    if node := _running(world, fault):
        world.unregister(node)
        world.scheduler.after(fault.seconds, lambda: world.register(node))


def _reboot(world: World, fault: PlannedFault) -> None:
    """A machine reboots: its kernel has no entries, and its agent starts again."""
    if node := _running(world, fault):
        node.end()
        for table in node.kernel.tables.values():
            table.entries.clear()
        node.disturb(fault.size)
        world.scheduler.after(fault.size, lambda: node.start() if node.running else None)


def _duplicate_cidr(world: World, fault: PlannedFault) -> None:
    """Somebody creates a Node with the podCIDRs of another; its instance is real."""
    node = _running(world, fault)
    if node and (cidrs := world.checks.cidrs(node)) and len(world.nodes) < 7:
        world.intrude(fault, cidrs, "")


def _duplicate_instance(world: World, fault: PlannedFault) -> None:
    if node := _running(world, fault):
        world.intrude(fault, (), node.machine.provider_id)


def _foreign_route(world: World, fault: PlannedFault) -> None:
    if table := pick(world.tables, fault):
        world.add_foreign(table, f"172.20.{fault.size}.0/24")


def _foreign_in_pool(world: World, fault: PlannedFault) -> None:
    if table := pick(world.tables, fault):
        world.add_foreign(table, f"100.64.{fault.size}.0/24")


def _ours(world: World, fault: PlannedFault) -> tuple[str, str] | None:
    found = [(t, to) for t in world.tables for to, (eni, _) in world.cloud.routes(t).items() if eni[:4] == "eni-"]
    return pick(found, fault)


def _taken(world: World, fault: PlannedFault) -> None:
    """Somebody replaces the target of a route of ours, and later removes the route."""
    if found := _ours(world, fault):
        world.add_foreign(*found)
        world.scheduler.after(fault.seconds, lambda: world.remove_route(*found))


def _failover(world: World, fault: PlannedFault) -> None:
    """Somebody replaces the targets of a node's routes by hand, just before the node dies."""
    node = _running(world, fault)
    for table, to in [(t, to) for t in world.tables for to in (world.checks.cidrs(node) if node else ())]:
        world.add_foreign(table, to)
    if node:
        world.scheduler.after(fault.size * 0.5, lambda: world.die(node))


def _removed(world: World, fault: PlannedFault) -> None:
    if found := _ours(world, fault):
        world.remove_route(*found)


def _misdirected(world: World, fault: PlannedFault) -> None:
    """Somebody points a route of ours at another node."""
    found, node = _ours(world, fault), _running(world, fault)
    if found and node:
        world.misdirect(*found, node)


def _foreign_removed(world: World, fault: PlannedFault) -> None:
    if found := pick(list(world.foreign), fault):
        world.remove_route(*found)


def _check_on(world: World, fault: PlannedFault) -> None:
    if node := _running(world, fault):
        world.cloud.aws.scene.ec2.modify_network_interface_attribute(
            NetworkInterfaceId=node.machine.interface_id, SourceDestCheck={"Value": True}
        )
        now, eni = world.scheduler.now, node.machine.interface_id
        world.switched_on[eni] = now
        node.disturb(world.checks.hidden(world.checks.switched_off.get(eni), now) - now)


def _limit(world: World, fault: PlannedFault) -> None:
    """The Deployment is rolled with another --route-limit."""
    settings = replace(world.settings, route_limit=fault.size + 1)
    for index, replica in enumerate(world.replicas):
        replica.settings = settings
        world.scheduler.after(index * 5.0, replica.stop)


def _pool(world: World, fault: PlannedFault) -> None:
    """The Deployment is rolled with another pool, and later back. Not drawn by `plan_of`: nodes must exist before."""
    changed = replace(world.settings, cluster_cidr=(Cidr.parse("10.99.0.0/16"),))
    for index, replica in enumerate(world.replicas):
        replica.settings = changed
        world.scheduler.after(index * 5.0, replica.stop)
        world.scheduler.after(fault.seconds, lambda replica=replica: setattr(replica, "settings", world.settings))  # type: ignore[misc] # mypy can't infer defaults of lambdas


MACHINE_FAULTS: Mapping[str, Callable[[World, PlannedFault], object]] = {
    "join": _join, "die": _die, "replace": _replace, "rename": _rename, "re-register": _register_again,
    "reboot": _reboot, "duplicate CIDR": _duplicate_cidr, "duplicate instance": _duplicate_instance,
    "foreign route": _foreign_route, "foreign in pool": _foreign_in_pool, "route taken": _taken,
    "failover": _failover, "route removed": _removed, "route misdirected": _misdirected,
    "foreign removed": _foreign_removed, "check on": _check_on, "limit": _limit, "pool": _pool,
    "quota": lambda world, fault: world.cloud.aws.set_route_quota(fault.size + 1),
}  # fmt: skip

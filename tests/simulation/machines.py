"""The deeds that befall machines, and those of other people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from cloudroute.types import Cidr
from tests.simulation.weather import Deed

if TYPE_CHECKING:
    from tests.simulation.node import SimNode
    from tests.simulation.world import World

T = TypeVar("T")


def pick(among: Sequence[T], deed: Deed) -> T | None:
    """One of several, by the deed's number."""
    return among[int(deed.pick * len(among))] if among else None


def fraction(deed: Deed) -> float:
    """Another number from 0 to 1."""
    return deed.pick * 7919 % 1


def _running(world: World, deed: Deed) -> SimNode | None:
    return pick([node for node in world.nodes if node.running and node.registered], deed)


def _join(world: World, deed: Deed) -> None:
    if len(world.nodes) < 7:
        world.join(deed.size)


def _die(world: World, deed: Deed) -> None:
    if node := _running(world, deed):
        world.die(node)


def _replace(world: World, deed: Deed) -> None:
    """Another instance comes up under the name of one that has died, and half of the times with its pod CIDRs."""
    if node := _running(world, deed):
        cidrs = world.checks.cidrs(node) if fraction(deed) < 0.5 else ()
        world.die(node)
        zone = deed.size if deed.size < 3 else world.cloud.vpc.zones.index(node.machine.zone)
        world.join(zone, node.name, pod_cidrs=cidrs)


def _rename(world: World, deed: Deed) -> None:
    if node := _running(world, deed):
        world.rename(node)


def _register_again(world: World, deed: Deed) -> None:
    """The Node is deleted by mistake, or the kubelet was away for too long."""
    if node := _running(world, deed):
        world.unregister(node)
        world.scheduler.after(deed.seconds, lambda: world.register(node))


def _reboot(world: World, deed: Deed) -> None:
    """The kernel is empty again."""
    if node := _running(world, deed):
        node.end()
        for table in node.kernel.tables.values():
            table.entries.clear()
        node.disturb(deed.size)
        world.scheduler.after(deed.size, lambda: node.start() if node.running else None)


def _duplicate_cidr(world: World, deed: Deed) -> None:
    """Somebody makes a Node whose podCIDRs are another's; its instance is real."""
    node = _running(world, deed)
    if node and (cidrs := world.checks.cidrs(node)) and len(world.nodes) < 7:
        world.intrude(deed, cidrs, "")


def _duplicate_instance(world: World, deed: Deed) -> None:
    if node := _running(world, deed):
        world.intrude(deed, (), node.machine.provider_id)


def _foreign_route(world: World, deed: Deed) -> None:
    if table := pick(world.tables, deed):
        world.add_foreign(table, f"172.20.{deed.size}.0/24")


def _foreign_in_pool(world: World, deed: Deed) -> None:
    if table := pick(world.tables, deed):
        world.add_foreign(table, f"100.64.{deed.size}.0/24")


def _ours(world: World, deed: Deed) -> tuple[str, str] | None:
    found = [(t, to) for t in world.tables for to, (eni, _) in world.cloud.routes(t).items() if eni[:4] == "eni-"]
    return pick(found, deed)


def _taken(world: World, deed: Deed) -> None:
    """Somebody lets a route of ours lead elsewhere, for a while."""
    if found := _ours(world, deed):
        world.add_foreign(*found)
        world.scheduler.after(deed.seconds, lambda: world.remove_route(*found))


def _failover(world: World, deed: Deed) -> None:
    """A node fails, and somebody has just let its route lead elsewhere by hand."""
    node = _running(world, deed)
    for table, to in [(t, to) for t in world.tables for to in (world.checks.cidrs(node) if node else ())]:
        world.add_foreign(table, to)
    if node:
        world.scheduler.after(deed.size * 0.5, lambda: world.die(node))


def _removed(world: World, deed: Deed) -> None:
    if found := _ours(world, deed):
        world.remove_route(*found)


def _astray(world: World, deed: Deed) -> None:
    """Somebody lets a route of ours lead to another node."""
    found, node = _ours(world, deed), _running(world, deed)
    if found and node:
        world.lead_astray(*found, node)


def _foreign_removed(world: World, deed: Deed) -> None:
    if found := pick(list(world.foreign), deed):
        world.remove_route(*found)


def _check_on(world: World, deed: Deed) -> None:
    if node := _running(world, deed):
        world.cloud.aws.scene.ec2.modify_network_interface_attribute(
            NetworkInterfaceId=node.machine.interface_id, SourceDestCheck={"Value": True}
        )
        now, eni = world.scheduler.now, node.machine.interface_id
        world.switched_on[eni] = now
        node.disturb(world.checks.hidden(world.checks.switched_off.get(eni), now) - now)


def _limit(world: World, deed: Deed) -> None:
    """The Deployment is rolled with another --route-limit."""
    settings = replace(world.settings, route_limit=deed.size + 1)
    for index, replica in enumerate(world.replicas):
        replica.settings = settings
        world.scheduler.after(index * 5.0, replica.stop)


def _pool(world: World, deed: Deed) -> None:
    """The Deployment is rolled with another pool, and after a while back. No story draws it: nodes must be there."""
    changed = replace(world.settings, cluster_cidr=(Cidr.parse("10.99.0.0/16"),))
    for index, replica in enumerate(world.replicas):
        replica.settings = changed
        world.scheduler.after(index * 5.0, replica.stop)
        world.scheduler.after(deed.seconds, lambda replica=replica: setattr(replica, "settings", world.settings))  # type: ignore[misc] # mypy can't infer defaults of lambdas


MACHINE_DEEDS: Mapping[str, Callable[[World, Deed], object]] = {
    "join": _join, "die": _die, "replace": _replace, "rename": _rename, "re-register": _register_again,
    "reboot": _reboot, "duplicate CIDR": _duplicate_cidr, "duplicate instance": _duplicate_instance,
    "foreign route": _foreign_route, "foreign in pool": _foreign_in_pool, "route taken": _taken,
    "failover": _failover, "route removed": _removed, "route astray": _astray, "foreign removed": _foreign_removed,
    "check on": _check_on, "limit": _limit, "pool": _pool,
    "quota": lambda world, deed: world.cloud.aws.set_route_quota(deed.size + 1),
}  # fmt: skip

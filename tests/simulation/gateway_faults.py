"""Faults of gateways: their agents, Nodes and Leases, and the aggregates that lead to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from cloudroute.types import GATEWAY_LEASE
from tests.simulation.fault_plan import PlannedFault
from tests.simulation.machines import fraction, pick

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster
    from tests.simulation.node import SimNode


def gateway(sim: SimCluster, fault: PlannedFault) -> SimNode | None:
    """Pick a node that aggregates lead to; in one of four cases any with the label."""
    held = {holder for table in sim.tables for holder, _ in sim.gateways.routes(table).values()}
    any_ = fraction(fault) < 0.25 or not held - {None}
    return pick([n for n in sim.nodes if n.running and n.registered and (n.labelled if any_ else n in held)], fault)


def aggregate(sim: SimCluster, fault: PlannedFault) -> tuple[str, str] | None:
    """Pick a route to a gateway: table and destination."""
    return pick([(table, to) for table in sim.tables for to in sim.gateways.routes(table)], fault)


def _killed(sim: SimCluster, fault: PlannedFault) -> None:
    if node := gateway(sim, fault):
        node.end()
        lives = node.lives
        sim.scheduler.after(
            fault.seconds,
            lambda: node.start() if node.running and node.lives == lives and not node.group.alive else None,
        )


def _hangs(sim: SimCluster, fault: PlannedFault) -> None:
    if node := gateway(sim, fault):
        node.group.paused_until = sim.scheduler.now + fault.seconds
        node.disturb(fault.seconds)
        node.silence(fault.seconds)


def _cut_off(sim: SimCluster, fault: PlannedFault) -> None:
    """The API server is away for one gateway."""
    if node := gateway(sim, fault):
        node.link.partitioned_until = sim.scheduler.now + fault.seconds
        node.disturb(fault.seconds)
        node.silence(fault.seconds)


def _stopped(sim: SimCluster, fault: PlannedFault) -> None:
    """The agent's pod is replaced: SIGTERM, and a new process once the image is pulled."""
    if node := gateway(sim, fault):
        node.stop()
        sim.scheduler.after(fault.seconds, lambda: node.come_back(node.lives))


def _dies(sim: SimCluster, fault: PlannedFault) -> None:
    if node := gateway(sim, fault):
        sim.die(node)


def _deleted(sim: SimCluster, fault: PlannedFault) -> None:
    if node := gateway(sim, fault):
        sim.unregister(node)
        sim.scheduler.after(fault.seconds, lambda: sim.register(node))


def _lease_deleted(sim: SimCluster, fault: PlannedFault) -> None:
    """Somebody deletes the Lease of a gateway."""
    node = gateway(sim, fault)
    leases = sim.api.store.collection("leases.coordination.k8s.io").items
    if node and ("cloudroute", GATEWAY_LEASE + node.name) in leases:
        sim.api.delete("leases", GATEWAY_LEASE + node.name, "cloudroute")
        sim.api.pump()
        node.silence(0)


# --- their Nodes ----------------------------------------------------------------------------------


def _for_a_while(sim: SimCluster, fault: PlannedFault, change: Callable[[SimNode, bool], object]) -> None:
    """Somebody changes the Node of a gateway, and later changes it back."""
    node = gateway(sim, fault)

    def act(*, on: bool) -> None:
        if node and node in sim.nodes and node.registered:  # else it is another machine's Node, or none
            change(node, on)
            sim.api.pump()
            node.silence(0)

    act(on=True)
    sim.scheduler.after(fault.seconds, lambda: act(on=False))


def _cordoned(sim: SimCluster, fault: PlannedFault) -> None:
    _for_a_while(
        sim, fault, lambda node, on: sim.api.patch("nodes", node.name, {"spec": {"unschedulable": on or None}})
    )


def _unready(sim: SimCluster, fault: PlannedFault) -> None:
    def change(node: SimNode, on: bool) -> None:  # noqa: FBT001 - one of the functions that `_for_a_while` calls
        conditions = sim.api.get("nodes", node.name)["status"]["conditions"]
        others = [one for one in conditions if one["type"] != "Ready"]
        ready = {"type": "Ready", "status": "False" if on else "True"}
        sim.api.patch_status("nodes", node.name, {"conditions": [*others, ready]})

    _for_a_while(sim, fault, change)


def _deselected(sim: SimCluster, fault: PlannedFault) -> None:
    """A Node loses the label; half of them get it back."""

    def change(node: SimNode, on: bool) -> None:  # noqa: FBT001 - as above
        node.labelled = not on and fault.size > 3
        sim.api.patch("nodes", node.name, {"metadata": {"labels": {"role": "gateway" if node.labelled else None}}})

    _for_a_while(sim, fault, change)


# --- watches, routes and settings -----------------------------------------------------------------


def _renewals_lag(sim: SimCluster, fault: PlannedFault) -> None:
    """Each renewal reaches the controllers up to 3 s late."""
    sim.api.renewals_lag = fault.size * 0.5
    sim.scheduler.after(fault.seconds, lambda: setattr(sim.api, "renewals_lag", 0.0))


def _removed(sim: SimCluster, fault: PlannedFault) -> None:
    if found := aggregate(sim, fault):
        sim.remove_route(*found)


def _misdirected(sim: SimCluster, fault: PlannedFault) -> None:
    """Somebody points an aggregate at another node, which may be no gateway."""
    found = aggregate(sim, fault)
    others = [node for node in sim.nodes if node.running and node.registered]
    if found and others:
        sim.misdirect(*found, others[fault.size % len(others)])


def _taken(sim: SimCluster, fault: PlannedFault) -> None:
    """Somebody replaces the target of an aggregate, and later removes the route."""
    if found := aggregate(sim, fault):
        sim.add_foreign(*found)
        sim.scheduler.after(fault.seconds, lambda: sim.remove_route(*found))


def _parts(sim: SimCluster, fault: PlannedFault) -> None:
    """The Deployment is rolled with another --gateway-routes."""
    for index, replica in enumerate(sim.replicas):
        replica.settings = replace(replica.settings, gateway_routes=(1, 2, 4)[fault.size % 3])
        sim.scheduler.after(index * 5.0, replica.stop)


GATEWAY_FAULTS: Mapping[str, Callable[[SimCluster, PlannedFault], object]] = {
    "gateway killed": _killed, "gateway hangs": _hangs, "gateway stopped": _stopped, "gateway dies": _dies,
    "gateway cut off": _cut_off, "gateway deleted": _deleted, "gateway cordoned": _cordoned,
    "gateway unready": _unready, "gateway deselected": _deselected, "gateway lease deleted": _lease_deleted,
    "renewals lag": _renewals_lag, "aggregate removed": _removed, "aggregate misdirected": _misdirected,
    "aggregate taken": _taken, "parts": _parts,
}  # fmt: skip

"""Faults at the edges: somebody's mistakes, lost stores, other people's routes, hostile agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tests.simulation.fault_plan import PlannedFault
from tests.simulation.gateway_faults import aggregate, gateway
from tests.simulation.machines import switch_on

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster


def _outside(sim: SimCluster, fault: PlannedFault) -> None:
    """A Node with a pod CIDR that no pool covers appears while no controller runs."""
    for replica in sim.replicas:
        replica.end()
    sim.intrude(fault, (f"10.98.{fault.size}.0/24",), "")


def _appliance(sim: SimCluster, fault: PlannedFault) -> None:
    """Somebody's route for a pool or a part of it leads to an instance of theirs, which then stops or is terminated."""
    table, to = aggregate(sim, fault) or (sim.tables[fault.size % len(sim.tables)], sim.setup.pool)
    machine = sim.cloud.launch(sim.cloud.vpc.zones[0], spare=False)
    scene = sim.cloud.aws.scene
    sim.add_foreign(table, to, machine.interface_id)
    if fault.size % 2:
        scene.terminate(machine.id)
    else:
        scene.ec2.stop_instances(InstanceIds=[machine.id])
    sim.scheduler.after(fault.seconds, lambda: sim.remove_route(table, to))


def _check_stuck(sim: SimCluster, fault: PlannedFault) -> None:
    """Somebody switches the source/dest check of a gateway on, and EC2 refuses to switch it off."""
    if node := gateway(sim, fault):
        eni = node.machine.interface_id
        refused = sim.cloud.aws.faults.fail(
            "ModifyNetworkInterfaceAttribute",
            "OperationNotPermitted",
            times=None,
            match=lambda params: params["NetworkInterfaceId"] == eni,
        )
        switch_on(sim, node)
        node.disturb(fault.seconds)
        node.silence(fault.seconds)
        sim.scheduler.after(fault.seconds, lambda: setattr(refused, "times", 0))


def _aggregate_refused(sim: SimCluster, fault: PlannedFault) -> None:
    """Somebody deletes an aggregate, and EC2 refuses to create any."""
    refused = sim.cloud.aws.faults.fail(
        "CreateRoute",
        "OperationNotPermitted",
        times=None,
        match=lambda params: sim.gateways.is_aggregate(
            params.get("DestinationCidrBlock") or params["DestinationIpv6CidrBlock"]
        ),
    )
    if found := aggregate(sim, fault):
        sim.remove_route(*found)
    sim.scheduler.after(fault.seconds, lambda: setattr(refused, "times", 0))


EDGE_FAULTS: Mapping[str, Callable[[SimCluster, PlannedFault], object]] = {
    "CIDR outside": _outside, "appliance stops": _appliance, "gateway check stuck": _check_stuck,
    "aggregate refused": _aggregate_refused,
}  # fmt: skip
"""By kind, as in `fault_plan.EDGE_DURATIONS`."""

"""Injects the faults of a plan into a simulated cluster. This module has those of EC2, the API and processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cloudroute.lab.aws.faults import Fault
from cloudroute.ports import EC2_WRITES
from tests.simulation.edge_faults import EDGE_FAULTS
from tests.simulation.fault_plan import PlannedFault
from tests.simulation.gateway_faults import GATEWAY_FAULTS
from tests.simulation.machines import MACHINE_FAULTS, fraction, pick

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster
    from tests.simulation.replica import Replica

ACTIONS = (*EC2_WRITES, "DescribeRouteTables", "DescribeInstances", "*")


def inject(sim: SimCluster, fault: PlannedFault) -> None:
    """Inject a fault."""
    sim.scheduler.record(f"FAULT: {fault.kind} {fault.seconds:.1f} s, {fault.size}")
    sim.gateways.injected(fault)
    FAULTS[fault.kind](sim, fault)


def _action(fault: PlannedFault) -> str:
    return ACTIONS[int(fraction(fault) * len(ACTIONS))]


# --- EC2 ------------------------------------------------------------------------------------------


def _throttled(sim: SimCluster, fault: PlannedFault) -> None:
    sim.cloud.aws.faults.throttle(_action(fault), times=fault.size)


def _fails(sim: SimCluster, fault: PlannedFault) -> None:
    sim.cloud.aws.faults.fail(_action(fault), "InternalError", times=fault.size)


def _ec2_answer_lost(sim: SimCluster, fault: PlannedFault) -> None:
    sim.cloud.aws.faults.drop(_action(fault), times=fault.size)


def _ec2_slow(sim: SimCluster, fault: PlannedFault) -> None:
    _for_a_while(sim, sim.cloud.aws.faults.delay("*", fault.size * 0.4), fault)


def _stale(sim: SimCluster, fault: PlannedFault) -> None:
    """Describes show one moment for a while and then lag behind."""
    sim.describes.freeze(fault.seconds, fault.size * 4.0)


def _inconsistent(sim: SimCluster, fault: PlannedFault) -> None:
    """Each describe shows each resource as it was up to 12 s ago."""
    sim.describes.spread(fault.seconds, fault.size * 2.0)


def _left_out(sim: SimCluster, fault: PlannedFault) -> None:
    """Describes leave out a living instance, or all of them."""
    living = [node.machine.id for node in sim.nodes if node.running]
    if one := pick(living, fault):
        sim.describes.leave_out(fault.seconds, [one] if fault.size < 5 else living)


def _ec2_down(sim: SimCluster, fault: PlannedFault) -> None:
    _for_a_while(sim, sim.cloud.aws.faults.fail("*", "Unavailable", times=None), fault)


def _reads_slow(sim: SimCluster, fault: PlannedFault) -> None:
    """Describes take 3 to 25 s."""
    seconds = 3 + fault.pick * 22
    sim.slow_since, sim.slow_until = min(sim.slow_since, sim.scheduler.now), sim.scheduler.now + fault.seconds
    for describe in ("DescribeRouteTables", "DescribeInstances", "DescribeSubnets"):
        _for_a_while(sim, sim.cloud.aws.faults.delay(describe, seconds), fault)


def _brownout(sim: SimCluster, fault: PlannedFault) -> None:
    """Describes are slow, half of the calls fail, and a quarter of the writes get no answer, whether done or not."""
    random, faults = sim.scheduler.random, sim.cloud.aws.faults
    _reads_slow(sim, fault)
    _for_a_while(sim, faults.fail("*", "Unavailable", times=None, match=lambda _: random.random() < 0.5), fault)
    for write in EC2_WRITES:
        _for_a_while(sim, faults.drop(write, times=None, match=lambda _: random.random() < 0.25), fault)


def _lookups_slow(sim: SimCluster, fault: PlannedFault) -> None:
    """The name lookup of each new connection for a write takes seconds."""

    def lookups_take(seconds: float) -> None:
        sim.lookup = seconds
        for replica in sim.replicas:
            replica.requests.lookup = seconds

    lookups_take(fault.size * 0.5)
    sim.scheduler.after(fault.seconds, lambda: lookups_take(0.0))


def _frozen_in_lookup(sim: SimCluster, fault: PlannedFault) -> None:
    """A process freezes in the name lookup of a write: after the first check of the fence, before a byte is sent."""
    if replica := _leader_or_any(sim, fault):
        replica.requests.freezes = ((fault.size + 1) // 2, fault.seconds)


def _frozen_in_renewal(sim: SimCluster, fault: PlannedFault) -> None:
    """A process freezes in a write of the Lease: it reads the answer when another process may hold the Lease."""
    if replica := _leader_or_any(sim, fault):
        sim.pools[replica.name].freeze_seconds = fault.seconds


def _for_a_while(sim: SimCluster, failing: Fault, fault: PlannedFault) -> None:
    sim.scheduler.after(fault.seconds, lambda: setattr(failing, "times", 0))


# --- the API --------------------------------------------------------------------------------------


def _slow(sim: SimCluster, fault: PlannedFault) -> None:
    if replica := pick(sim.replicas, fault):
        replica.kube.slow = fault.size * 0.7
        sim.scheduler.after(fault.seconds, lambda link=replica.kube: setattr(link, "slow", 0.0))  # type: ignore[misc]


def _partitioned(sim: SimCluster, fault: PlannedFault) -> None:
    if replica := _leader_or_any(sim, fault):
        replica.kube.partitioned_until = sim.scheduler.now + fault.seconds


def _answers_lost(sim: SimCluster, fault: PlannedFault) -> None:
    if replica := _leader_or_any(sim, fault):
        replica.kube.lose_answers = fault.size


def _api_down(sim: SimCluster, fault: PlannedFault) -> None:
    sim.api.down_until = sim.scheduler.now + fault.seconds
    sim.api.cut()
    for node in sim.nodes:
        node.disturb(fault.seconds)


def _compacts(sim: SimCluster, fault: PlannedFault) -> None:
    sim.api.store.compact()
    sim.api.cut()


def _agent_slow(sim: SimCluster, fault: PlannedFault) -> None:
    if node := pick(sim.nodes, fault):
        node.link.slow = fault.size * 0.5
        node.silence(fault.seconds)
        sim.scheduler.after(fault.seconds, lambda link=node.link: setattr(link, "slow", 0.0))  # type: ignore[misc]


def _agent_partitioned(sim: SimCluster, fault: PlannedFault) -> None:
    if node := pick(sim.nodes, fault):
        node.link.partitioned_until = sim.scheduler.now + fault.seconds
        node.disturb(fault.seconds)
        node.silence(fault.seconds)


# --- processes ------------------------------------------------------------------------------------


def _leader_or_any(sim: SimCluster, fault: PlannedFault) -> Replica | None:
    """Pick the leader in two of three cases, any replica otherwise."""
    leading = [r for r in sim.replicas if r.group.alive and r.lease and r.lease.held]
    return leading[0] if leading and fraction(fault) < 0.67 else pick(sim.replicas, fault)


def _steal(sim: SimCluster, fault: PlannedFault) -> None:
    """Another client writes its own name into a Lease that is held."""
    if sim.checks.holder():
        thief = {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 15}}
        sim.api.patch("leases", "cloudroute", thief, "cloudroute")


def _delete_lease(sim: SimCluster, fault: PlannedFault) -> None:
    if sim.checks.holder():
        sim.api.delete("leases", "cloudroute", "cloudroute")
        sim.lease_deleted = sim.scheduler.now


def _pause(sim: SimCluster, fault: PlannedFault) -> None:
    if replica := _leader_or_any(sim, fault):
        replica.group.paused_until = sim.scheduler.now + fault.seconds


def _crash(sim: SimCluster, fault: PlannedFault) -> None:
    if replica := _leader_or_any(sim, fault):
        replica.end()


def _crash_at_write(sim: SimCluster, fault: PlannedFault) -> None:
    if replica := _leader_or_any(sim, fault):
        replica.killed_at_write, replica.killed_before_sending = fault.size, fault.kind == "crash at write"


def _stop(sim: SimCluster, fault: PlannedFault) -> None:
    if replica := _leader_or_any(sim, fault):
        replica.stop()


def _agent_crash(sim: SimCluster, fault: PlannedFault) -> None:
    if node := pick([node for node in sim.nodes if node.running and node.lives], fault):
        node.end()
        sim.scheduler.after(fault.size, lambda: node.start() if node.running else None)


def _agent_stop(sim: SimCluster, fault: PlannedFault) -> None:
    """An agent's pod is replaced: SIGTERM, and a new process once the image is pulled. No packet may be lost."""
    if node := pick([node for node in sim.nodes if node.running and node.lives], fault):
        node.stop()
        sim.scheduler.after(fault.seconds, lambda: node.come_back(node.lives))


def _agent_pause(sim: SimCluster, fault: PlannedFault) -> None:
    if node := pick(sim.nodes, fault):
        node.group.paused_until = sim.scheduler.now + fault.seconds
        node.disturb(fault.seconds)
        node.silence(fault.seconds)


FAULTS: Mapping[str, Callable[[SimCluster, PlannedFault], object]] = {
    "throttled": _throttled, "ec2 fails": _fails, "ec2 answer lost": _ec2_answer_lost,
    "ec2 hangs": lambda sim, fault: sim.cloud.aws.faults.hang(_action(fault), times=min(fault.size, 2)),
    "reads slow": _reads_slow, "brownout": _brownout,
    "lookups slow": _lookups_slow, "frozen in lookup": _frozen_in_lookup,
    "ec2 inconsistent": _inconsistent, "instances left out": _left_out, "frozen in renewal": _frozen_in_renewal,
    "ec2 slow": _ec2_slow, "ec2 stale": _stale, "ec2 down": _ec2_down,
    "api slow": _slow, "api partitioned": _partitioned, "api answers lost": _answers_lost, "api down": _api_down,
    "api compacts": _compacts, "watches cut": lambda sim, _: sim.api.cut(),
    "agent slow": _agent_slow, "agent partitioned": _agent_partitioned,
    "lease stolen": _steal, "lease deleted": _delete_lease, "pause": _pause, "crash": _crash,
    "crash at write": _crash_at_write, "crash after write": _crash_at_write, "stop": _stop,
    "agent crash": _agent_crash, "agent stop": _agent_stop, "agent pause": _agent_pause,
    **MACHINE_FAULTS, **GATEWAY_FAULTS, **EDGE_FAULTS,
}  # fmt: skip

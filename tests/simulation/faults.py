"""Injects the faults of a plan into a world. This module has those of EC2, the API and processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cloudroute.lab.aws.faults import Fault
from tests.simulation.cloud import WRITES
from tests.simulation.fault_plan import PlannedFault
from tests.simulation.machines import MACHINE_FAULTS, fraction, pick

if TYPE_CHECKING:
    from tests.simulation.node import SimNode
    from tests.simulation.replica import Replica
    from tests.simulation.world import World

ACTIONS = (*WRITES, "DescribeRouteTables", "DescribeInstances", "*")


def inject(world: World, fault: PlannedFault) -> None:
    """Inject a fault."""
    world.scheduler.record(f"FAULT: {fault.kind} {fault.seconds:.1f} s, {fault.size}")
    FAULTS[fault.kind](world, fault)


def _action(fault: PlannedFault) -> str:
    return ACTIONS[int(fraction(fault) * len(ACTIONS))]


# --- EC2 ------------------------------------------------------------------------------------------


def _throttled(world: World, fault: PlannedFault) -> None:
    world.cloud.aws.faults.throttle(_action(fault), times=fault.size)


def _fails(world: World, fault: PlannedFault) -> None:
    world.cloud.aws.faults.fail(_action(fault), "InternalError", times=fault.size)


def _ec2_answer_lost(world: World, fault: PlannedFault) -> None:
    world.cloud.aws.faults.drop(_action(fault), times=fault.size)


def _ec2_slow(world: World, fault: PlannedFault) -> None:
    _for_a_while(world, world.cloud.aws.faults.delay("*", fault.size * 0.4), fault)


def _stale(world: World, fault: PlannedFault) -> None:
    """Describes show one moment for a while and then lag behind."""
    world.describes.freeze(fault.seconds, fault.size * 4.0)


def _inconsistent(world: World, fault: PlannedFault) -> None:
    """Each describe shows each resource as it was up to 12 s ago."""
    world.describes.spread(fault.seconds, fault.size * 2.0)


def _left_out(world: World, fault: PlannedFault) -> None:
    """Describes leave out a living instance, or all of them."""
    living = [node.machine.id for node in world.nodes if node.running]
    if one := pick(living, fault):
        world.describes.leave_out(fault.seconds, [one] if fault.size < 5 else living)


def _ec2_down(world: World, fault: PlannedFault) -> None:
    _for_a_while(world, world.cloud.aws.faults.fail("*", "Unavailable", times=None), fault)


def _reads_slow(world: World, fault: PlannedFault) -> None:
    """Describes take 3 to 25 s."""
    seconds = 3 + fault.pick * 22
    world.slow_since, world.slow_until = min(world.slow_since, world.scheduler.now), world.scheduler.now + fault.seconds
    for describe in ("DescribeRouteTables", "DescribeInstances", "DescribeSubnets"):
        _for_a_while(world, world.cloud.aws.faults.delay(describe, seconds), fault)


def _brownout(world: World, fault: PlannedFault) -> None:
    """Describes are slow, half of the calls fail, and a quarter of the writes get no answer, whether done or not."""
    random, faults = world.scheduler.random, world.cloud.aws.faults
    _reads_slow(world, fault)
    _for_a_while(world, faults.fail("*", "Unavailable", times=None, match=lambda _: random.random() < 0.5), fault)
    for write in WRITES:
        _for_a_while(world, faults.drop(write, times=None, match=lambda _: random.random() < 0.25), fault)


def _lookups_slow(world: World, fault: PlannedFault) -> None:
    """The name lookup of each new connection for a write takes seconds."""

    def lookups_take(seconds: float) -> None:
        world.lookup = seconds
        for replica in world.replicas:
            replica.requests.lookup = seconds

    lookups_take(fault.size * 0.5)
    world.scheduler.after(fault.seconds, lambda: lookups_take(0.0))


def _frozen_in_lookup(world: World, fault: PlannedFault) -> None:
    """A process freezes in the name lookup of a write: after the first check of the fence, before a byte is sent."""
    if replica := _leader_or_any(world, fault):
        replica.requests.freezes = ((fault.size + 1) // 2, fault.seconds)


def _frozen_in_renewal(world: World, fault: PlannedFault) -> None:
    """A process freezes in a write of the Lease: it reads the answer when another process may hold the Lease."""
    if replica := _leader_or_any(world, fault):
        world.pools[replica.name].freeze_seconds = fault.seconds


def _for_a_while(world: World, failing: Fault, fault: PlannedFault) -> None:
    world.scheduler.after(fault.seconds, lambda: setattr(failing, "times", 0))


# --- the API --------------------------------------------------------------------------------------


def _slow(world: World, fault: PlannedFault) -> None:
    if replica := pick(world.replicas, fault):
        replica.kube.slow = fault.size * 0.7
        world.scheduler.after(fault.seconds, lambda link=replica.kube: setattr(link, "slow", 0.0))  # type: ignore[misc]


def _partitioned(world: World, fault: PlannedFault) -> None:
    if replica := _leader_or_any(world, fault):
        replica.kube.partitioned_until = world.scheduler.now + fault.seconds


def _answers_lost(world: World, fault: PlannedFault) -> None:
    if replica := _leader_or_any(world, fault):
        replica.kube.lose_answers = fault.size


def _api_down(world: World, fault: PlannedFault) -> None:
    world.api.down_until = world.scheduler.now + fault.seconds
    world.api.cut()
    for node in world.nodes:
        node.disturb(fault.seconds)


def _compacts(world: World, fault: PlannedFault) -> None:
    world.api.store.compact()
    world.api.cut()


def _agent_slow(world: World, fault: PlannedFault) -> None:
    if node := pick(world.nodes, fault):
        node.link.slow = fault.size * 0.5
        world.scheduler.after(fault.seconds, lambda link=node.link: setattr(link, "slow", 0.0))  # type: ignore[misc]


def _agent_partitioned(world: World, fault: PlannedFault) -> None:
    if node := pick(world.nodes, fault):
        node.link.partitioned_until = world.scheduler.now + fault.seconds
        node.disturb(fault.seconds)


# --- processes ------------------------------------------------------------------------------------


def _leader_or_any(world: World, fault: PlannedFault) -> Replica | None:
    """Pick the leader in two of three cases, any replica otherwise."""
    leading = [r for r in world.replicas if r.group.alive and r.lease and r.lease.held]
    return leading[0] if leading and fraction(fault) < 0.67 else pick(world.replicas, fault)


def _steal(world: World, fault: PlannedFault) -> None:
    """Another client writes its own name into a Lease that is held."""
    if world.checks.holder():
        thief = {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 15}}
        world.api.patch("leases", "cloudroute", thief, "cloudroute")


def _delete_lease(world: World, fault: PlannedFault) -> None:
    if world.checks.holder():
        world.api.delete("leases", "cloudroute", "cloudroute")
        world.lease_deleted = world.scheduler.now


def _pause(world: World, fault: PlannedFault) -> None:
    if replica := _leader_or_any(world, fault):
        replica.group.paused_until = world.scheduler.now + fault.seconds


def _crash(world: World, fault: PlannedFault) -> None:
    if replica := _leader_or_any(world, fault):
        replica.end()


def _crash_at_write(world: World, fault: PlannedFault) -> None:
    if replica := _leader_or_any(world, fault):
        replica.killed_at_write, replica.killed_before_sending = fault.size, fault.kind == "crash at write"


def _stop(world: World, fault: PlannedFault) -> None:
    if replica := _leader_or_any(world, fault):
        replica.stop()


def _agent_crash(world: World, fault: PlannedFault) -> None:
    if node := pick([node for node in world.nodes if node.running and node.lives], fault):
        node.end()
        world.scheduler.after(fault.size, lambda: node.start() if node.running else None)


def _agent_stop(world: World, fault: PlannedFault) -> None:
    """An agent's pod is replaced: SIGTERM, and a new process once the image is pulled. No packet may be lost."""
    if node := pick([node for node in world.nodes if node.running and node.lives], fault):
        node.stop()
        world.scheduler.after(fault.seconds, lambda: _agent_back(world, node, node.lives))


def _agent_back(world: World, node: SimNode, lives: int) -> None:
    """Start an agent once its predecessor has ended, unless another fault has started it meanwhile."""
    if node.lives != lives or not node.running:
        return
    if node.group.alive:
        world.scheduler.after(1.0, lambda: _agent_back(world, node, lives))
    else:
        node.start()


def _agent_pause(world: World, fault: PlannedFault) -> None:
    if node := pick(world.nodes, fault):
        node.group.paused_until = world.scheduler.now + fault.seconds
        node.disturb(fault.seconds)


FAULTS: Mapping[str, Callable[[World, PlannedFault], object]] = {
    "throttled": _throttled, "ec2 fails": _fails, "ec2 answer lost": _ec2_answer_lost,
    "ec2 hangs": lambda world, fault: world.cloud.aws.faults.hang(_action(fault), times=min(fault.size, 2)),
    "reads slow": _reads_slow, "brownout": _brownout,
    "lookups slow": _lookups_slow, "frozen in lookup": _frozen_in_lookup,
    "ec2 inconsistent": _inconsistent, "instances left out": _left_out, "frozen in renewal": _frozen_in_renewal,
    "ec2 slow": _ec2_slow, "ec2 stale": _stale, "ec2 down": _ec2_down,
    "api slow": _slow, "api partitioned": _partitioned, "api answers lost": _answers_lost, "api down": _api_down,
    "api compacts": _compacts, "watches cut": lambda world, _: world.api.cut(),
    "agent slow": _agent_slow, "agent partitioned": _agent_partitioned,
    "lease stolen": _steal, "lease deleted": _delete_lease, "pause": _pause, "crash": _crash,
    "crash at write": _crash_at_write, "crash after write": _crash_at_write, "stop": _stop,
    "agent crash": _agent_crash, "agent stop": _agent_stop, "agent pause": _agent_pause,
    **MACHINE_FAULTS,
}  # fmt: skip

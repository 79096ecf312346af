"""The deeds of the weather, done to a world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cloudroute.lab.aws.faults import Fault
from tests.simulation.cloud import WRITES
from tests.simulation.machines import MACHINE_DEEDS, fraction, pick
from tests.simulation.weather import Deed

if TYPE_CHECKING:
    from tests.simulation.node import SimNode
    from tests.simulation.replica import Replica
    from tests.simulation.world import World

ACTIONS = (*WRITES, "DescribeRouteTables", "DescribeInstances", "*")


def do(world: World, deed: Deed) -> None:
    """Let it happen."""
    world.scheduler.told(f"WEATHER: {deed.kind} {deed.seconds:.1f} s, {deed.size}")
    DEEDS[deed.kind](world, deed)


def _action(deed: Deed) -> str:
    return ACTIONS[int(fraction(deed) * len(ACTIONS))]


# --- EC2 ------------------------------------------------------------------------------------------


def _throttled(world: World, deed: Deed) -> None:
    world.cloud.aws.faults.throttle(_action(deed), times=deed.size)


def _fails(world: World, deed: Deed) -> None:
    world.cloud.aws.faults.fail(_action(deed), "InternalError", times=deed.size)


def _ec2_answer_lost(world: World, deed: Deed) -> None:
    world.cloud.aws.faults.drop(_action(deed), times=deed.size)


def _ec2_slow(world: World, deed: Deed) -> None:
    _for_a_while(world, world.cloud.aws.faults.delay("*", deed.size * 0.4), deed)


def _stale(world: World, deed: Deed) -> None:
    """What describes show stands still, and then follows at a distance: it never goes back."""
    if not world.lag:
        world.stale_since, world.lag = world.scheduler.now, deed.size * 4.0
        world.scheduler.after(deed.seconds, lambda: setattr(world, "lag", 0.0))


def _ec2_down(world: World, deed: Deed) -> None:
    _for_a_while(world, world.cloud.aws.faults.fail("*", "Unavailable", times=None), deed)


def _reads_slow(world: World, deed: Deed) -> None:
    """Describes take 3 to 25 s."""
    seconds = 3 + deed.pick * 22
    world.slow_since, world.slow_until = min(world.slow_since, world.scheduler.now), world.scheduler.now + deed.seconds
    for describe in ("DescribeRouteTables", "DescribeInstances", "DescribeSubnets"):
        _for_a_while(world, world.cloud.aws.faults.delay(describe, seconds), deed)


def _brownout(world: World, deed: Deed) -> None:
    """Describes are slow, half of the calls fail, and a quarter of the writes get no answer, done or not."""
    random, faults = world.scheduler.random, world.cloud.aws.faults
    _reads_slow(world, deed)
    _for_a_while(world, faults.fail("*", "Unavailable", times=None, match=lambda _: random.random() < 0.5), deed)
    for write in WRITES:
        _for_a_while(world, faults.drop(write, times=None, match=lambda _: random.random() < 0.25), deed)


def _lookups_slow(world: World, deed: Deed) -> None:
    """Each new connection for a write waits for its name lookup."""

    def take(seconds: float) -> None:
        world.lookup = seconds
        for replica in world.replicas:
            replica.line.lookup = seconds

    take(deed.size * 0.5)
    world.scheduler.after(deed.seconds, lambda: take(0.0))


def _frozen_in_lookup(world: World, deed: Deed) -> None:
    """A process is frozen at one of its next writes, between its check of the fence and the bytes."""
    if replica := _leader_or_any(world, deed):
        replica.line.freezes = ((deed.size + 1) // 2, deed.seconds)


def _for_a_while(world: World, fault: Fault, deed: Deed) -> None:
    world.scheduler.after(deed.seconds, lambda: setattr(fault, "times", 0))


# --- the API --------------------------------------------------------------------------------------


def _slow(world: World, deed: Deed) -> None:
    if replica := pick(world.replicas, deed):
        replica.kube.slow = deed.size * 0.7
        world.scheduler.after(deed.seconds, lambda link=replica.kube: setattr(link, "slow", 0.0))  # type: ignore[misc]


def _parted(world: World, deed: Deed) -> None:
    if replica := _leader_or_any(world, deed):
        replica.kube.parted_until = world.scheduler.now + deed.seconds


def _answers_lost(world: World, deed: Deed) -> None:
    if replica := _leader_or_any(world, deed):
        replica.kube.lose_answers = deed.size


def _api_down(world: World, deed: Deed) -> None:
    world.api.down_until = world.scheduler.now + deed.seconds
    world.api.cut()
    for node in world.nodes:
        node.disturb(deed.seconds)


def _compacts(world: World, deed: Deed) -> None:
    world.api.store.compact()
    world.api.cut()


def _agent_slow(world: World, deed: Deed) -> None:
    if node := pick(world.nodes, deed):
        node.link.slow = deed.size * 0.5
        world.scheduler.after(deed.seconds, lambda link=node.link: setattr(link, "slow", 0.0))  # type: ignore[misc]


def _agent_parted(world: World, deed: Deed) -> None:
    if node := pick(world.nodes, deed):
        node.link.parted_until = world.scheduler.now + deed.seconds
        node.disturb(deed.seconds)


# --- processes ------------------------------------------------------------------------------------


def _leader_or_any(world: World, deed: Deed) -> Replica | None:
    """The leader in two of three cases."""
    leading = [r for r in world.replicas if r.group.alive and r.lease and r.lease.held]
    return leading[0] if leading and fraction(deed) < 0.67 else pick(world.replicas, deed)


def _steal(world: World, deed: Deed) -> None:
    """Somebody writes another name into the lease."""
    if world.checks.holder():
        thief = {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 15}}
        world.api.patch("leases", "cloudroute", thief, "cloudroute")


def _delete_lease(world: World, deed: Deed) -> None:
    if world.checks.holder():
        world.api.delete("leases", "cloudroute", "cloudroute")
        world.lease_deleted = world.scheduler.now


def _pause(world: World, deed: Deed) -> None:
    if replica := _leader_or_any(world, deed):
        replica.group.paused_until = world.scheduler.now + deed.seconds


def _crash(world: World, deed: Deed) -> None:
    if replica := _leader_or_any(world, deed):
        replica.end()


def _crash_at_write(world: World, deed: Deed) -> None:
    if replica := _leader_or_any(world, deed):
        replica.fuse, replica.fuse_before = deed.size, deed.kind == "crash at write"


def _stop(world: World, deed: Deed) -> None:
    if replica := _leader_or_any(world, deed):
        replica.stop()


def _agent_crash(world: World, deed: Deed) -> None:
    if node := pick([node for node in world.nodes if node.running and node.lives], deed):
        node.end()
        world.scheduler.after(deed.size, lambda: node.start() if node.running else None)


def _agent_stop(world: World, deed: Deed) -> None:
    """Its pod is replaced: SIGTERM, and the next one comes when its image is there. That costs no packet."""
    if node := pick([node for node in world.nodes if node.running and node.lives], deed):
        node.stop()
        world.scheduler.after(deed.seconds, lambda: _agent_back(world, node, node.lives))


def _agent_back(world: World, node: SimNode, lives: int) -> None:
    """As soon as its predecessor has ended, unless another deed has started it by then."""
    if node.lives != lives or not node.running:
        return
    if node.group.alive:
        world.scheduler.after(1.0, lambda: _agent_back(world, node, lives))
    else:
        node.start()


def _agent_pause(world: World, deed: Deed) -> None:
    if node := pick(world.nodes, deed):
        node.group.paused_until = world.scheduler.now + deed.seconds
        node.disturb(deed.seconds)


DEEDS: Mapping[str, Callable[[World, Deed], object]] = {
    "throttled": _throttled, "ec2 fails": _fails, "ec2 answer lost": _ec2_answer_lost,
    "ec2 hangs": lambda world, deed: world.cloud.aws.faults.hang(_action(deed), times=min(deed.size, 2)),
    "reads slow": _reads_slow, "brownout": _brownout,
    "lookups slow": _lookups_slow, "frozen in lookup": _frozen_in_lookup,
    "ec2 slow": _ec2_slow, "ec2 stale": _stale, "ec2 down": _ec2_down,
    "api slow": _slow, "api parted": _parted, "api answers lost": _answers_lost, "api down": _api_down,
    "api compacts": _compacts, "watches cut": lambda world, _: world.api.cut(),
    "agent slow": _agent_slow, "agent parted": _agent_parted,
    "lease stolen": _steal, "lease deleted": _delete_lease, "pause": _pause, "crash": _crash,
    "crash at write": _crash_at_write, "crash after write": _crash_at_write, "stop": _stop,
    "agent crash": _agent_crash, "agent stop": _agent_stop, "agent pause": _agent_pause,
    **MACHINE_DEEDS,
}  # fmt: skip

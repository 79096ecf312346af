"""Controllers as processes, over HTTP: their start, their work, their end."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controller.lab import POOL
from tests.controller.servers import DEADLINE, DURATION, PERIOD, Servers, seconds_until, servers
from tests.waiting import eventually

SLACK = 1.5
"""Seconds for requests and for a machine that does other things too."""


SECOND = 1.0 + SLACK / 2
"""For a process to end: on a busy machine the end of the interpreter alone takes half a second."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Servers]:
    with servers(tmp_path) as made:
        yield made


def test_a_killed_leader_is_followed(world: Servers) -> None:
    """SIGKILL: the standby leads within lease duration and retry period, and serves what came meanwhile."""
    leader, standby = world.pair()
    first = world.join("first")
    eventually(lambda: world.routed(first), "the node is routed")
    for process, leads in ((leader, True), (standby, False)):
        assert [process.get(path)[0] for path in ("/healthz", "/readyz")] == [200, 200]
        assert process.leads == leads
    holder = world.lease["holderIdentity"]
    leader.signal(signal.SIGKILL)
    second = world.join("second", 1)
    passed = seconds_until(lambda: world.lease["holderIdentity"] != holder)
    assert passed <= DURATION + PERIOD * 1.2 + SLACK
    eventually(lambda: world.routed(first, second), "both nodes are routed")
    assert standby.leads
    assert world.lease["leaseTransitions"] == 1


def test_a_stopped_leader_is_followed_at_once(world: Servers) -> None:
    """SIGTERM at rest: the lease is free within a second, exit code 0, and the standby leads at its next attempt."""
    leader, standby = world.pair()
    first = world.join("first")
    eventually(lambda: world.routed(first), "the node is routed")
    holder = world.lease["holderIdentity"]
    leader.signal(signal.SIGTERM)
    assert seconds_until(lambda: world.lease["holderIdentity"] != holder) <= 1.0
    assert leader.exit_code(SECOND) == 0
    assert seconds_until(lambda: standby.leads) <= PERIOD * 1.2 + SLACK
    second = world.join("second")
    eventually(lambda: world.routed(first, second), "both nodes are routed")
    assert {code for _, code in world.aws.calls} == {"OK"}
    standby.signal(signal.SIGTERM)
    assert standby.exit_code(SECOND) == 0
    assert world.lease["holderIdentity"] in ("", None)


def test_a_standby_stops_without_touching_the_lease(world: Servers) -> None:
    """SIGTERM: exit code 0 within a second; the leader goes on leading."""
    leader, standby = world.pair()
    holder = world.lease["holderIdentity"]
    standby.signal(signal.SIGTERM)
    assert standby.exit_code(SECOND) == 0
    assert world.lease["holderIdentity"] == holder
    assert leader.leads


def test_the_api_server_is_gone_for_longer_than_the_lease(world: Servers) -> None:
    """The leader ends with exit code 1 when its lease can't be renewed; the standby waits, and leads when it can."""
    leader, standby = world.pair()
    first = world.join("first")
    eventually(lambda: world.routed(first), "the node is routed")
    world.kube.faults.down(math.inf)
    assert leader.exit_code(DEADLINE + SLACK) == 1
    assert "the lease is lost" in leader.log.read_text()
    assert (standby.runs, standby.get("/healthz")[0]) == (True, 200)
    assert world.routed(first)
    world.kube.faults.clear()
    second = world.join("second")
    eventually(lambda: world.routed(first, second), "both nodes are routed")
    assert standby.leads


def test_a_hanging_call_does_not_keep_a_process_that_lost_its_lease(world: Servers) -> None:
    """EC2 hangs and the lease is lost: the process is gone long before the call would end."""
    leader = world.start("--lease-duration=60", f"--renew-deadline={DEADLINE}")
    eventually(lambda: leader.leads, "one leads")
    world.aws.faults.hang("*", times=None)
    world.join("first")
    eventually(lambda: sum(world.aws.calls.values()) > 0, "EC2 is asked")
    world.kube.faults.down(math.inf)
    assert leader.exit_code(DEADLINE + SLACK) == 1


def test_stopped_in_the_middle_of_its_work(world: Servers) -> None:
    """SIGTERM while routes are made: those under way end, no other begins, the lease is released, exit code 0."""
    machines = [world.join(f"node-{number}", number % 2) for number in range(6)]
    world.aws.faults.delay("CreateRoute", 0.5)
    leader = world.start()
    eventually(lambda: world.aws.calls["CreateRoute", "OK"] > 0, "a route is created")
    leader.signal(signal.SIGTERM)
    begun = world.aws.calls["CreateRoute", "OK"]
    assert leader.exit_code(0.5 + SLACK) == 0
    assert world.lease["holderIdentity"] in ("", None)
    assert world.aws.calls["CreateRoute", "OK"] <= begun + len(world.vpc.route_table_ids)
    world.aws.faults.clear()
    world.start()
    eventually(lambda: world.routed(*machines), "the nodes are routed")
    assert {code for _, code in world.aws.calls} == {"OK"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--cluster-cidr=10.99.0.0/16"], "--cluster-cidr 10.99.0.0/16: expected"),
        (["--node-mask-v4=25"], "--node-mask-v4 25: expected"),
    ],
)
def test_a_changed_pool_is_refused(world: Servers, flags: list[str], said: str) -> None:
    """Beside the leader and alone: exit code 2, the way out, and not one write, the Lease's included."""
    leader = world.start()
    first = world.join("first")
    eventually(lambda: world.routed(first), "the node is routed")
    assert world.start(*flags).exit_code(20) == 2
    assert leader.leads
    leader.signal(signal.SIGTERM)
    assert leader.exit_code(SECOND) == 0
    world.kube.reset_counts()
    world.aws.reset_calls()
    for process in (world.start(*flags), world.start(*flags, "--once")):
        assert process.exit_code(20) == 2
        assert f"cloudroute: {said}" in process.log.read_text()
        assert "cloudroute cleanup" in process.log.read_text()
    assert (world.kube.changes, world.aws.calls) == ({}, {})
    world.start(*flags, f"--cluster-cidr={POOL}", "--node-mask-v4=24")
    second = world.join("second")
    eventually(lambda: world.routed(first, second), "both nodes are routed")


def test_a_standby_that_does_not_know_a_new_pool_does_not_lead(world: Servers) -> None:
    """In a rollout that adds a pool the former replicas end with 2 when it is their turn; no route is touched."""
    standby_flags = [f"--cluster-cidr={POOL}"]
    leader = world.start(*standby_flags, "--cluster-cidr=10.99.0.0/16", "--reserved-cidr=100.64.0.0/17",
                         "--reserved-cidr=100.64.128.0/17")  # fmt: skip
    eventually(lambda: leader.leads, "one leads")
    standby = world.start(*standby_flags)
    eventually(lambda: standby.get("/readyz")[0] == 200, "the standby is ready")
    first = world.join("first")
    eventually(lambda: world.routed(first), "the node is routed")
    world.aws.reset_calls()
    leader.signal(signal.SIGTERM)
    assert standby.exit_code(20) == 2
    assert "first 10.99.0.0/24 lies outside" in standby.log.read_text()
    assert (world.aws.calls, world.routed(first)) == ({}, True)


def test_once_ends_with_what_it_has_done(world: Servers) -> None:
    """`--once`: exit code 0 when nothing is left to do; 1 when an action is refused, with all else done."""
    first = world.join("first")
    assert world.start("--once").exit_code(20) == 0
    assert world.routed(first)
    second = world.join("second")
    bad = world.vpc.route_table_ids[0]
    world.aws.faults.fail(
        "CreateRoute", "UnauthorizedOperation", times=None, match=lambda params: params["RouteTableId"] == bad
    )
    assert world.start("--once").exit_code(20) == 1
    assert world.targets(bad) == [first.interface_id]
    assert second.interface_id in world.targets(world.vpc.route_table_ids[1])

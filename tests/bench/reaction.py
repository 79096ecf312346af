"""Node created to first CreateRoute: one node more at a time, at rest, the controller a process of its own."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from statistics import median

from cloudroute.lab.aws import Machine
from tests.measure.rows import Row, say
from tests.measure.stage import Stage

SAMPLES = 20
"""Of each kind; one more of each is a warm-up that does not count."""
TARGET_SECONDS = 0.1
OWN_CIDRS = "100.127.{}.0/24"
"""Of nodes that come with a pod CIDR: each second one, since the next that is given out may be the one after it."""


def measure(*, real: bool) -> Iterator[Row]:
    """Medians for Nodes that have a pod CIDR and for Nodes that get one from us."""
    api = "kube-apiserver" if real else "embedded API"
    say(f"Node created to first CreateRoute, {api}, {SAMPLES} nodes of each kind")
    # No settling, so that the cluster is at rest again at once; it comes after CreateRoute and is no part of this.
    with Stage(zones=1, real=real, route_limit=1000, flags={"--settle-seconds": "0"}) as stage:
        machines = iter(stage.aws.scene.launch(stage.vpc.zones[0], 2 * (SAMPLES + 1)))
        stage.start()
        stage.leader()
        with_cidr, without = [], []
        for number in range(SAMPLES + 1):
            with_cidr.append(_one_more(stage, f"own-{number}", next(machines), OWN_CIDRS.format(2 * number)))
            without.append(_one_more(stage, f"new-{number}", next(machines), ""))
    peers = {"gardener": 3.3, "cloud provider": 3.1}
    yield _row(f"Node with a podCIDR created to CreateRoute, {api}", with_cidr[1:], peers)
    peers = {"gardener": 2.0, "cloud provider": 4.6}
    yield _row(f"Node without a podCIDR created to CreateRoute, {api}", without[1:], peers)


def _row(what: str, seconds: list[float], peers: dict[str, float]) -> Row:
    say(f"{what}: {min(seconds):.3f} to {max(seconds):.3f} s")
    return Row(what, median(seconds), TARGET_SECONDS, "s", peers)


def _one_more(stage: Stage, name: str, machine: Machine, pod_cidr: str) -> float:
    """Seconds from the request that creates the Node to the arrival of CreateRoute at EC2; then wait for rest."""
    before = len(stage.asked("CreateRoute"))
    start = time.monotonic()
    stage.join(name, machine, pod_cidr=pod_cidr)
    stage.until(lambda: len(stage.asked("CreateRoute")) > before, f"CreateRoute for {name}")
    stage.until(lambda: stage.settled(before + 1, before + 1), f"rest after {name}")
    time.sleep(random.uniform(0.1, 0.3))
    return stage.asked("CreateRoute")[before] - start

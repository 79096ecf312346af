"""Two controllers with default timings and 300 nodes at rest: what they cost, and how fast one follows the other."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator

from tests.measure.process import cpu_seconds
from tests.measure.rows import Row, say
from tests.measure.stage import Replica, Stage

NODES, LIMIT = 300, 50
LEASE_SECONDS, RETRY_SECONDS, JITTER = 15, 2, 1.2
"""The defaults of --lease-duration and --retry-period; a standby asks after up to a fifth more than the latter."""
IDLE_SECONDS = 60.0
"""A minute holds one resync of the default length."""
TARGET_CPU_SECONDS = 0.6
"""1 % of a core."""
STOPS = 3


class Replicas:
    """A context manager: entering it settles the cluster. A minute later, `measure` has something to say."""

    def __init__(self) -> None:
        self._stage = Stage(zones=3, route_limit=LIMIT)

    def __enter__(self) -> Replicas:
        say(f"two controllers, {NODES} nodes")
        stage = self._stage.__enter__()
        for zone in stage.vpc.zones:
            machines = stage.aws.scene.launch(zone, NODES // len(stage.vpc.zones))
            stage.switch_checks_off(*machines)
            for machine in machines:
                stage.join(f"node-{machine.id}", machine)
        stage.start()
        self._leader = stage.leader()
        self._standby = self._start_standby()
        stage.until(lambda: stage.settled(NODES, LIMIT - 1), f"{NODES} nodes to settle", pause=0.5)
        self._since = time.monotonic()
        self._before = cpu_seconds(self._leader.pid), cpu_seconds(self._standby.pid)
        return self

    def __exit__(self, *_: object) -> None:
        self._stage.__exit__()

    def measure(self) -> Iterator[Row]:
        """CPU since the cluster was settled, for a minute at least; then graceful stops and a kill."""
        yield from self._idle()
        say(f"{STOPS} leaders are told to end (SIGTERM)")
        ends = [self._take_over(signal.SIGTERM) for _ in range(STOPS)]
        say("takeovers: " + ", ".join(f"{seconds:.2f} s" for seconds in ends))
        peers = {"gardener": 16.5, "cloud provider": 16.4}
        yield Row(f"takeover after SIGTERM, the slowest of {STOPS}", max(ends), 1.0, "s", peers)
        say("a leader is killed (SIGKILL)")
        killed = self._take_over(signal.SIGKILL)
        bound = LEASE_SECONDS + RETRY_SECONDS * JITTER
        peers = {"gardener": 17, "cloud provider": 17}
        yield Row(f"takeover after SIGKILL, lease of {LEASE_SECONDS} s", killed, bound, "s", peers)

    def _idle(self) -> Iterator[Row]:
        left = self._since + IDLE_SECONDS - time.monotonic()
        if left > 0:
            say(f"another {left:.0f} s of rest")
            time.sleep(left)
        minutes = (time.monotonic() - self._since) / 60
        after = cpu_seconds(self._leader.pid), cpu_seconds(self._standby.pid)
        for who, used in zip(
            ("leader", "standby"), (b - a for a, b in zip(self._before, after, strict=True)), strict=True
        ):
            what = f"CPU a minute of the {who}, idle, {NODES} nodes"
            yield Row(what, used / minutes, TARGET_CPU_SECONDS, "s")

    def _take_over(self, how: signal.Signals) -> float:
        """Seconds from the signal until the Lease bears the standby's name. Then another standby is started."""
        # Not in step with anybody's retry period.
        time.sleep(random.uniform(0, RETRY_SECONDS * JITTER))
        old = self._stage.holder()
        start = time.monotonic()
        self._leader.process.send_signal(how)
        self._stage.until(lambda: self._stage.holder() not in ("", old), f"a takeover after {how.name}")
        seconds = time.monotonic() - start
        self._leader.process.wait()
        self._leader, self._standby = self._standby, self._start_standby()
        return seconds

    def _start_standby(self) -> Replica:
        """A controller that has read the cluster, and the lease that another holds."""
        watches = self._stage.requests["watch", "nodes"]
        replica = self._stage.start()
        self._stage.until(lambda: self._stage.requests["watch", "nodes"] > watches, "a standby")
        return replica

"""One scenario, from its fault plan to the checks at its end.

A scenario runs in a process that ends with it: `seams.install` can't be undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from tests.simulation import convergence, seams
from tests.simulation.cloud import Cloud
from tests.simulation.cluster import SimCluster
from tests.simulation.fault_plan import CATCH_UP_SECONDS, FaultPlan, PlannedFault
from tests.simulation.faults import inject
from tests.simulation.scheduler import START
from tests.simulation.violation import Violation

SETTLE_SECONDS = 25.0
"""Seconds before time 0 of the plan: the first nodes join, a controller becomes leader."""
CLOSE_SECONDS = 23.0
"""Seconds after the last fault has ended: enough for a resync, which shows what others have undone, and a drain."""
PATIENCE = 120.0
"""Seconds within which everything must converge after that."""
SAMPLE_SECONDS = 2.0
"""Seconds between two checks of all pairs during the faults."""
LOOK_SECONDS = 5.0
"""Seconds between two checks whether everything has converged."""
RESTART_SECONDS = 12.0
"""Seconds for the restart of all controllers."""
TAKEOVER_SECONDS = 30.0
"""Additional seconds for a lease that was not released: it must expire first."""


class Result(NamedTuple):
    """The outcome of a scenario."""

    problem: str
    """The violated invariant, or the exception; "" when all is well."""
    digest: str
    """Hash of all recorded lines: equal in each run of the same scenario."""
    steps: int
    """Number of events."""
    lines: Sequence[str]
    """The trace; empty unless asked for."""


@dataclass
class Trace:
    """The lines of a scenario and their digest."""

    sim: SimCluster
    kept: bool
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._hash = blake2b(digest_size=8)
        self.sim.scheduler.record = self.record
        self.sim.scheduler.log = self.log

    def record(self, line: str) -> None:
        """Add a line to the digest, and to the trace where that is kept."""
        text = f"{self.sim.scheduler.now - START:9.3f}  {line}"
        self._hash.update(text.encode())
        if self.kept:
            self.lines.append(text)

    def log(self, line: str) -> None:
        """Add a process' log line to the trace alone: the digest must not depend on whether the trace is kept."""
        if self.kept:
            self.lines.append(f"{self.sim.scheduler.now - START:9.3f}    {line}")

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def run(plan: FaultPlan, clouds: dict[str, Cloud], *, trace: bool = False) -> Result:
    """Run the scenario of a plan; at most once in a process."""
    sim = SimCluster(plan.setup, clouds[plan.setup.layout], plan.seed)
    lines = Trace(sim, trace)
    seams.install(sim.scheduler, sim.pools, plan.seed, trace=trace)
    problem = ""
    try:
        _play(sim, plan.faults)
    except Violation as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - an exception in any thread of the scenario is a finding
        import traceback

        problem = f"{type(error).__name__}: {error}\n{''.join(traceback.format_exception(error)[-6:])}"
    return Result(problem, lines.digest, sim.scheduler.steps, lines.lines)


def _play(sim: SimCluster, faults: Sequence[PlannedFault]) -> None:
    sim.begin()
    scheduler = sim.scheduler
    for index in range(sim.setup.nodes):
        sim.join(index, spare=True)
    for fault in faults:
        scheduler.at(START + SETTLE_SECONDS + fault.at, lambda fault=fault: inject(sim, fault))  # type: ignore[misc] # mypy can't infer defaults of lambdas
    end = SETTLE_SECONDS + max(map(_over, faults), default=0.0) + CLOSE_SECONDS
    while scheduler.now < START + end:
        scheduler.run(SAMPLE_SECONDS)
        sim.checks.sample()
    scheduler.record("nothing goes wrong any more")
    sim.calm()
    _converge(sim)
    _restart(sim)


def _over(fault: PlannedFault) -> float:
    """Seconds of the plan at which a fault has ended, and the last answer that it delayed has come."""
    return fault.at + fault.seconds + (CATCH_UP_SECONDS if fault.kind in ("reads slow", "brownout") else 0.0)


def _converge(sim: SimCluster) -> None:
    deadline = sim.scheduler.now + PATIENCE
    while why := convergence.problem(sim):
        if sim.scheduler.now > deadline:
            raise Violation(f"it does not converge: {why}")
        sim.scheduler.run(LOOK_SECONDS)
        sim.checks.sample()


def _restart(sim: SimCluster) -> None:
    """Check invariants 5 and 7: a controller that starts in a converged cluster finds nothing to do."""
    writes = sim.checks.writes
    for replica in sim.replicas:
        replica.stop()
    sim.scheduler.record("all controllers are restarted")
    sim.scheduler.run(RESTART_SECONDS)
    deadline = sim.scheduler.now + TAKEOVER_SECONDS
    while why := convergence.problem(sim):
        if sim.scheduler.now > deadline:
            raise Violation(f"invariant 7: after a restart: {why}")
        sim.scheduler.run(LOOK_SECONDS)
    if sim.checks.writes != writes:
        raise Violation(f"invariant 7: a restart at rest made {sim.checks.writes - writes} writes")

"""The fault plan of a scenario, drawn by its seed: a list of faults, each with its time and its parameters.

A fault picks its target by a number from 0 to 1, among the candidates that exist when it is injected. So it stays valid
when other faults are left out, and a plan can be shrunk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from tests.simulation.setup import Setup

LONGEST_STOP = 40.0
"""Longest time between the stop of an agent and its next start, in seconds: several drains."""
SPAN = 50.0
"""Faults start before this time of the plan, in seconds."""


@dataclass(frozen=True)
class PlannedFault:
    """One fault to inject."""

    at: float
    """Seconds after the cluster has settled; less than 0 while it starts."""
    kind: str
    """A key of `faults.FAULTS`."""
    pick: float = 0.0
    """Chooses the target, from 0 to 1."""
    seconds: float = 0.0
    """Duration; 0 for a fault of one moment."""
    size: int = 0
    """Magnitude: calls, seconds, a zone or a limit, by kind."""

    def __str__(self) -> str:
        return f"{self.at:6.2f} s  {self.kind:<18} pick={self.pick:.3f} seconds={self.seconds:.2f} size={self.size}"


@dataclass(frozen=True)
class FaultPlan:
    """A scenario: the cluster and the faults that are injected into it."""

    seed: int
    setup: Setup
    faults: tuple[PlannedFault, ...]

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}: {self.setup}", *(f"  {fault}" for fault in self.faults)])


DURATIONS = {
    # EC2
    "throttled": (0, 0), "ec2 fails": (0, 0), "ec2 answer lost": (0, 0), "ec2 hangs": (0, 0),
    "ec2 slow": (2, 20), "ec2 stale": (2, 20), "ec2 down": (2, 25),
    # the API
    "api slow": (2, 20), "api partitioned": (1, 30), "api answers lost": (0, 0), "api down": (1, 20),
    "api compacts": (0, 0), "watches cut": (0, 0), "agent slow": (2, 20), "agent partitioned": (1, 30),
    # processes
    "lease stolen": (0, 0), "lease deleted": (0, 0), "pause": (0.5, 30), "crash": (0, 0), "crash at write": (0, 0),
    "crash after write": (0, 0), "stop": (0, 0), "agent crash": (0, 0), "agent pause": (0.5, 20),
    # machines
    "join": (0, 0), "die": (0, 0), "replace": (0, 0), "rename": (0, 0), "re-register": (0, 15), "reboot": (0, 0),
    "duplicate CIDR": (5, 25), "duplicate instance": (5, 25),
    # others
    "foreign route": (0, 0), "foreign in pool": (0, 0), "route taken": (5, 30), "route removed": (0, 0),
    "route misdirected": (0, 0), "failover": (0, 0),
    "foreign removed": (0, 0), "check on": (0, 0), "limit": (0, 0), "quota": (0, 0),
}  # fmt: skip
"""Kind of fault -> shortest and longest duration in seconds."""
EXTRA_DURATIONS = {
    "reads slow": (5, 40), "brownout": (5, 30), "lookups slow": (5, 40), "frozen in lookup": (8, 40),
}  # fmt: skip
"""The same for kinds of which half of the plans have one in addition."""
CONSISTENCY_DURATIONS = {"ec2 inconsistent": (5, 40), "instances left out": (2, 12), "frozen in renewal": (8, 40)}
"""The same for kinds of which half of the plans have another one in addition."""
CATCH_UP_SECONDS = 45.0
"""Seconds after slow describes until the last of them has ended, was asked again, and the next resync is due."""
DRAWN_TWICE = (
    "failover", "join", "die", "replace", "crash at write", "crash after write", "foreign in pool", "limit", "quota",
    "pause",
)  # fmt: skip
"""Faults that make controllers write, or hit them while they do: drawn twice as often as the others."""


GATEWAY_DURATIONS = {
    "gateway killed": (0, 20), "gateway hangs": (1, 20), "gateway stopped": (1, LONGEST_STOP), "gateway dies": (0, 0),
    "gateway cut off": (1, 20), "gateway deleted": (0, 15), "gateway cordoned": (2, 30), "gateway unready": (2, 30),
    "gateway deselected": (2, 30), "gateway lease deleted": (0, 0), "renewals lag": (5, 30), "api down": (1, 20),
    "crash": (0, 0), "aggregate removed": (0, 0), "aggregate misdirected": (0, 0), "aggregate taken": (5, 30),
    "route removed": (0, 0), "parts": (0, 0),
}  # fmt: skip
"""The same for kinds of which scenarios with gateways have one to four in addition."""


EDGE_DURATIONS: dict[str, tuple[float, float]] = {
    "CIDR outside": (5, 25), "appliance stops": (10, 40), "gateway check stuck": (90, 110),
    "aggregate refused": (10, 40),
}  # fmt: skip
"""The same for kinds of which half of all plans have one in addition, as their last fault."""


def plan_of(seed: int) -> FaultPlan:
    """Draw the plan of a seed."""
    plan, random = plan_without_edges(seed), Random(f"edges {seed}")
    if not EDGE_DURATIONS or random.random() < 0.5:
        return plan
    kind, at = random.choice(list(EDGE_DURATIONS)), random.uniform(-10, SPAN)
    seconds = random.uniform(*EDGE_DURATIONS[kind])
    fault = PlannedFault(at, kind, random.random(), seconds, random.randint(1, 6))
    return replace(plan, faults=(*plan.faults, fault))


def plan_without_edges(seed: int) -> FaultPlan:
    """Draw the plan of a seed: a third of them have gateways, half of these no faults but those of gateways."""
    plan, random = plan_without_gateways(seed), Random(f"gateways {seed}")
    if random.random() > 1 / 3:
        return plan
    faults = list(plan.faults) if random.random() < 0.5 else []
    for _ in range(random.randint(1, 4)):
        kind, at = random.choice(list(GATEWAY_DURATIONS)), random.uniform(-10, SPAN)
        seconds = random.uniform(*GATEWAY_DURATIONS[kind])
        faults.append(PlannedFault(at, kind, random.random(), seconds, random.randint(1, 6)))
    setup = replace(plan.setup, gateway_routes=random.choice((1, 1, 2, 4)), nodes=max(3, plan.setup.nodes))
    return FaultPlan(seed, setup, tuple(faults))


def plan_without_gateways(seed: int) -> FaultPlan:
    """Draw the plan of a seed."""
    random = Random(seed)
    kinds = (*DURATIONS, *DRAWN_TWICE)
    faults = []
    for _ in range(random.choice((1, 2, 3, 3, 4, 4, 5, 6))):
        kind = random.choice(kinds)
        at = random.uniform(-20, SPAN)
        faults.append(PlannedFault(at, kind, random.random(), random.uniform(*DURATIONS[kind]), random.randint(1, 6)))
    setup = _setup(random)
    if setup.layout == "dual" and not seed % 2:
        setup = replace(setup, layout="mixed")
    in_order = sorted(faults, key=lambda fault: fault.at)
    # Drawn last and put last: the faults of a known seed and their numbers must not change (test_regressions).
    if random.random() < 0.5:
        at = random.choice(faults).at + random.uniform(-5, 5)
        in_order.append(PlannedFault(at, "agent stop", random.random(), random.uniform(1, LONGEST_STOP), 1))
    for extra in (EXTRA_DURATIONS, CONSISTENCY_DURATIONS):
        if random.random() < 0.5:
            kind, at = random.choice(list(extra)), random.choice(faults).at + random.uniform(-5, 5)
            in_order.append(PlannedFault(at, kind, random.random(), random.uniform(*extra[kind]), random.randint(1, 6)))
    return FaultPlan(seed, setup, tuple(in_order))


def _setup(random: Random) -> Setup:
    nodes = random.choice((2, 3, 3, 3, 4, 5))
    limit = random.choice((50, 50, 2, 3, 4, 5))
    return Setup(
        random.choice(("zones", "zones", "one table", "one table", "dual")),
        random.choice((1, 2, 2, 2, 3)),
        nodes,
        limit,
        random.choice((50, 50, limit, max(2, limit - 1), 3)),
        random.choice(("auto", "auto", "off", "always")),
        random.choice(("100.64.0.0/20", "100.64.0.0/20", "100.64.0.0/21")),
        random.choice((0, 0, 0, 1)),
    )

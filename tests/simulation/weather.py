"""What goes wrong, as a plan that the seed draws: a list of deeds, each with its time and all that it needs to know.

A deed picks its victim by a number from 0 to 1, so that it means something whatever the others have left: a plan can
be shrunk by leaving deeds out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from tests.simulation.setup import Setup

LONGEST_STOP = 40.0
"""Seconds for which a stopped agent is away: several drains."""
SPAN = 50.0
"""Seconds over which the deeds are spread."""


@dataclass(frozen=True)
class Deed:
    """`kind` at `at` seconds; `pick` chooses among what is there, `seconds` is how long, `size` how much."""

    at: float
    kind: str
    pick: float = 0.0
    seconds: float = 0.0
    size: int = 0

    def __str__(self) -> str:
        return f"{self.at:6.2f} s  {self.kind:<18} pick={self.pick:.3f} seconds={self.seconds:.2f} size={self.size}"


@dataclass(frozen=True)
class Plan:
    """A story to be told."""

    seed: int
    setup: Setup
    deeds: tuple[Deed, ...]

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}: {self.setup}", *(f"  {deed}" for deed in self.deeds)])


LASTS = {
    # EC2
    "throttled": (0, 0), "ec2 fails": (0, 0), "ec2 answer lost": (0, 0), "ec2 hangs": (0, 0),
    "ec2 slow": (2, 20), "ec2 stale": (2, 20), "ec2 down": (2, 25),
    # the API
    "api slow": (2, 20), "api parted": (1, 30), "api answers lost": (0, 0), "api down": (1, 20),
    "api compacts": (0, 0), "watches cut": (0, 0), "agent slow": (2, 20), "agent parted": (1, 30),
    # processes
    "lease stolen": (0, 0), "lease deleted": (0, 0), "pause": (0.5, 30), "crash": (0, 0), "crash at write": (0, 0),
    "crash after write": (0, 0), "stop": (0, 0), "agent crash": (0, 0), "agent pause": (0.5, 20),
    # machines
    "join": (0, 0), "die": (0, 0), "replace": (0, 0), "rename": (0, 0), "re-register": (0, 15), "reboot": (0, 0),
    "duplicate CIDR": (5, 25), "duplicate instance": (5, 25),
    # others
    "foreign route": (0, 0), "foreign in pool": (0, 0), "route taken": (5, 30), "route removed": (0, 0),
    "route astray": (0, 0), "failover": (0, 0),
    "foreign removed": (0, 0), "check on": (0, 0), "limit": (0, 0), "quota": (0, 0),
}  # fmt: skip
"""Every kind of deed, and how many seconds it may last."""
WEATHER = {
    "reads slow": (5, 40), "brownout": (5, 30), "lookups slow": (5, 40), "frozen in lookup": (8, 40),
}  # fmt: skip
"""Kinds of deeds that a plan has in addition, and how many seconds they may last."""
LATE = 45.0
"""Seconds after slow describes in which the last of them ends, is asked again, and a resync is due once more."""
OFTEN = (
    "failover", "join", "die", "replace", "crash at write", "crash after write", "foreign in pool", "limit", "quota",
    "pause",
)  # fmt: skip
"""What makes the controllers write, and what hits them while they do: drawn as often again."""


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    random = Random(seed)
    kinds = (*LASTS, *OFTEN)
    deeds = []
    for _ in range(random.choice((1, 2, 3, 3, 4, 4, 5, 6))):
        kind = random.choice(kinds)
        at = random.uniform(-20, SPAN)
        deeds.append(Deed(at, kind, random.random(), random.uniform(*LASTS[kind]), random.randint(1, 6)))
    setup = _setup(random)
    if setup.layout == "dual" and not seed % 2:
        setup = replace(setup, layout="mixed")
    in_order = sorted(deeds, key=lambda deed: deed.at)
    # Drawn last, and last in the plan: what was drawn before stays what it was, and its numbers (test_regressions).
    if random.random() < 0.5:
        at = random.choice(deeds).at + random.uniform(-5, 5)
        in_order.append(Deed(at, "agent stop", random.random(), random.uniform(1, LONGEST_STOP), 1))
    if random.random() < 0.5:
        kind, at = random.choice(list(WEATHER)), random.choice(deeds).at + random.uniform(-5, 5)
        in_order.append(Deed(at, kind, random.random(), random.uniform(*WEATHER[kind]), random.randint(1, 6)))
    return Plan(seed, setup, tuple(in_order))


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

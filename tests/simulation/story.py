"""One story from its plan: what is set up, what happens when, and how it must end.

A story is told in a process that ends with it: `seams.install` can't be undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from tests.simulation import rest, seams
from tests.simulation.cloud import Cloud
from tests.simulation.deeds import do
from tests.simulation.pairs import Violation
from tests.simulation.weather import LATE, Deed, Plan
from tests.simulation.world import World

SETTLE_SECONDS = 25.0
"""Before the first deed: the first nodes join, somebody leads."""
CLOSE_SECONDS = 23.0
"""After the last deed has ended: a resync, which shows what somebody else has undone, and a drain."""
PATIENCE = 120.0
"""How long it may take until all has come to rest when nothing goes wrong any more."""
SAMPLE_SECONDS = 2.0
LOOK_SECONDS = 5.0
RESTART_SECONDS = 12.0
TAKEOVER_SECONDS = 30.0
"""How much longer it may take where the lease was not released."""


class Result(NamedTuple):
    """How a story ended."""

    problem: str
    """"" when all is well."""
    digest: str
    """Of all that happened: the same story has the same."""
    steps: int
    lines: Sequence[str]


@dataclass
class Teller:
    """Collects the story."""

    world: World
    tells: bool
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._hash = blake2b(digest_size=8)
        self.world.scheduler.told = self.tell
        self.world.scheduler.noted = self.note

    def tell(self, line: str) -> None:
        text = f"{self.world.scheduler.now - 1000:9.3f}  {line}"
        self._hash.update(text.encode())
        if self.tells:
            self.lines.append(text)

    def note(self, line: str) -> None:
        """What only a reader wants."""
        if self.tells:
            self.lines.append(f"{self.world.scheduler.now - 1000:9.3f}    {line}")

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def tell(plan: Plan, clouds: dict[str, Cloud], tells: bool = False) -> Result:
    """Tell it. Once in a process."""
    world = World(plan.setup, clouds[plan.setup.layout], plan.seed)
    teller = Teller(world, tells)
    seams.install(world.scheduler, world.pools, plan.seed, tells)
    problem = ""
    try:
        _play(world, plan.deeds)
    except Violation as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - a bug in any thread of it is a finding
        import traceback

        problem = f"{type(error).__name__}: {error}\n{''.join(traceback.format_exception(error)[-6:])}"
    return Result(problem, teller.digest, world.scheduler.steps, teller.lines)


def _play(world: World, deeds: Sequence[Deed]) -> None:
    world.begin()
    scheduler = world.scheduler
    for index in range(world.setup.nodes):
        world.join(index, spare=True)
    for deed in deeds:
        scheduler.at(1000 + SETTLE_SECONDS + deed.at, lambda deed=deed: do(world, deed))  # type: ignore[misc] # mypy can't infer defaults of lambdas
    end = SETTLE_SECONDS + max(map(_over, deeds), default=0.0) + CLOSE_SECONDS
    while scheduler.now < 1000 + end:
        scheduler.run(SAMPLE_SECONDS)
        world.checks.pairs.sample()
    scheduler.told("nothing goes wrong any more")
    world.calm()
    _come_to_rest(world)
    _restart(world)


def _over(deed: Deed) -> float:
    """When a deed has ended, and the last answer that is late for it has come."""
    return deed.at + deed.seconds + (LATE if deed.kind in ("reads slow", "brownout") else 0.0)


def _come_to_rest(world: World) -> None:
    deadline = world.scheduler.now + PATIENCE
    while why := rest.unrest(world):
        if world.scheduler.now > deadline:
            raise Violation(f"it does not come to rest: {why}")
        world.scheduler.run(LOOK_SECONDS)
        world.checks.pairs.sample()


def _restart(world: World) -> None:
    """Invariants 5 and 7: who starts now finds nothing to do."""
    writes = world.checks.writes
    for replica in world.replicas:
        replica.stop()
    world.scheduler.told("all controllers are restarted")
    world.scheduler.run(RESTART_SECONDS)
    deadline = world.scheduler.now + TAKEOVER_SECONDS
    while why := rest.unrest(world):
        if world.scheduler.now > deadline:
            raise Violation(f"invariant 7: after a restart: {why}")
        world.scheduler.run(LOOK_SECONDS)
    if world.checks.writes != writes:
        raise Violation(f"invariant 7: a restart at rest made {world.checks.writes - writes} writes")

"""Two days that every cluster sees: all nodes are replaced by and by; EC2's API is gone for an hour.

Counted in each cycle: living nodes that are published as native where no active route leads to them, living nodes that
lose another zone's table, and nodes that are told to have no network. All of that is to stay 0. That a node yields in
its own zone's table, which reaches it directly, is counted apart: it must only where the table is full.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudroute.types import NodeRoute
from tests.scale.joins import bound
from tests.scale.world import World

TABLES = 3
SURGE = 0.1
OUTAGE_SECONDS, REPLACED = 3600.0, 0.3


class Watched:
    """A settled cluster whose healthy nodes are looked after from now on."""

    def __init__(self, nodes: int) -> None:
        self.world = World(TABLES)
        self.names = self.world.join_many(nodes)
        self.world.rest()
        self.start = self.world.clock.time
        self.unreached, self.lost, self.yielded = 0, 0, 0
        world = self.world
        for counter in (world.cloud.calls, world.cluster.writes, world.cluster.told, world.cluster.said):
            counter.clear()
        world.cluster.unavailable.clear()
        world.cpu, world.cycles = 0.0, 0
        told = world.cluster.wrote

        def wrote(old: NodeRoute | None, new: NodeRoute | None) -> None:
            told(old, new)
            if old and new and old.name in world.machines:
                gone = set(old.spec.native_in) - set(new.spec.native_in)
                self.lost += not gone <= {new.spec.route_table_id}
                self.yielded += gone == {new.spec.route_table_id}

        world.cluster.wrote = wrote
        world.watch = self._look

    def _look(self) -> None:
        self.unreached += len(self.world.unreachable())

    def figures(self) -> dict[str, float]:
        """What it took, and what was harmed."""
        world = self.world
        calls = {action: n for action, n in world.calls().items() if not action.startswith("Describe")}
        return {
            "nodes": len(self.names),
            "seconds": world.cluster.changed_at - self.start,
            "bound": bound(calls),
            "calls": sum(n for (_, code), n in world.cloud.calls.items() if code != "gone"),
            "in_vain": sum(n for (_, code), n in world.cloud.calls.items() if code == "gone"),
            "throttled": world.throttled(),
            "writes": sum(world.cluster.writes.values()),
            "bytes": world.cluster.told["controller"],
            "agents_bytes": world.cluster.told["agents"],
            "cpu": world.cpu,
            "unavailable": len(world.cluster.unavailable),
            "unreached": self.unreached,
            "lost": self.lost,
            "yielded": self.yielded,
        }


def replacement(nodes: int = 1_000) -> dict[str, float]:
    """A tenth more nodes join; once all of them have their condition as many old ones go; and so on."""
    day = Watched(nodes)
    world, batch = day.world, int(nodes * SURGE)
    for start in range(0, nodes, batch):
        ready = world.cluster.conditions + batch
        world.join_many(batch)
        world.run(lambda ready=ready: world.cluster.conditions == ready)  # type: ignore[misc] # mypy can't infer it
        _end(world, day.names[start : start + batch])
    world.rest()
    assert not set(day.names) & world.cluster.routes.keys()
    return day.figures()


def outage(nodes: int = 1_000) -> dict[str, float]:
    """EC2 answers nothing for an hour, in which nodes are replaced one by one; `seconds` count from its end."""
    day = Watched(nodes)
    world = day.world
    going = day.names[: int(nodes * REPLACED)]

    def replace(name: str) -> None:
        zone = world.machines[name].zone
        _end(world, [name])
        world.join(zone)

    world.cloud.gone = True
    for number, name in enumerate(going):
        world.at(OUTAGE_SECONDS * (number + 1) / (len(going) + 1), lambda name=name: replace(name))  # type: ignore[misc] # likewise
    world.pass_seconds(OUTAGE_SECONDS)
    world.cloud.gone = False
    day.start = world.clock.time
    world.rest()
    assert world.cluster.routes.keys() == world.machines.keys()
    figures = day.figures()
    done = {action: n for (action, code), n in world.cloud.calls.items() if code == "OK" and action[0] != "D"}
    done["DeleteRoute"] = world.cloud.calls["DeleteRoute", "OK"]
    return {**figures, "bound": bound(done)}


def _end(world: World, names: Sequence[str]) -> None:
    for name in names:
        world.terminate(name)

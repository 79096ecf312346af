"""Two days that every cluster sees: all nodes are replaced by and by; EC2's API is gone for an hour.

Counted in each cycle: living nodes that are published as native where no active route leads to them, living nodes that
lose another zone's table, and nodes that are told to have no network. All of that is to stay 0. That a node yields in
its own zone's table, which reaches it directly, is counted apart: it must only where the table is full.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudroute.types import NodeRoute
from tests.scale.joins import bound
from tests.scale.light_lab import LightLab

TABLES = 3
SURGE = 0.1
OUTAGE_SECONDS, REPLACED = 3600.0, 0.3


class Watched:
    """A settled cluster whose healthy nodes are looked after from now on."""

    def __init__(self, nodes: int) -> None:
        self.lab = LightLab(TABLES)
        self.names = self.lab.join_many(nodes)
        self.lab.rest()
        self.start = self.lab.clock.time
        self.unreached, self.lost, self.yielded = 0, 0, 0
        lab = self.lab
        for counter in (lab.ec2.calls, lab.cluster.writes, lab.cluster.told, lab.cluster.said):
            counter.clear()
        lab.cluster.unavailable.clear()
        lab.cpu, lab.cycles = 0.0, 0
        told = lab.cluster.wrote

        def wrote(old: NodeRoute | None, new: NodeRoute | None) -> None:
            told(old, new)
            if old and new and old.name in lab.machines:
                gone = set(old.spec.native_in) - set(new.spec.native_in)
                self.lost += not gone <= {new.spec.route_table_id}
                self.yielded += gone == {new.spec.route_table_id}

        lab.cluster.wrote = wrote
        lab.watch = self._look

    def _look(self) -> None:
        self.unreached += len(self.lab.unreachable())

    def figures(self) -> dict[str, float]:
        """Calls, writes and times so far, and the nodes that were harmed."""
        lab = self.lab
        calls = {action: n for action, n in lab.calls().items() if not action.startswith("Describe")}
        return {
            "nodes": len(self.names),
            "seconds": lab.cluster.changed_at - self.start,
            "bound": bound(calls),
            "calls": sum(n for (_, code), n in lab.ec2.calls.items() if code != "gone"),
            "in_vain": sum(n for (_, code), n in lab.ec2.calls.items() if code == "gone"),
            "throttled": lab.throttled(),
            "writes": sum(lab.cluster.writes.values()),
            "bytes": lab.cluster.told["controller"],
            "agents_bytes": lab.cluster.told["agents"],
            "cpu": lab.cpu,
            "unavailable": len(lab.cluster.unavailable),
            "unreached": self.unreached,
            "lost": self.lost,
            "yielded": self.yielded,
        }


def replacement(nodes: int = 1_000) -> dict[str, float]:
    """A tenth more nodes join; once all of them have their condition as many old ones go; and so on."""
    day = Watched(nodes)
    lab, batch = day.lab, int(nodes * SURGE)
    for start in range(0, nodes, batch):
        ready = lab.cluster.conditions + batch
        lab.join_many(batch)
        lab.run(lambda ready=ready: lab.cluster.conditions == ready)  # type: ignore[misc] # mypy can't infer it
        _end(lab, day.names[start : start + batch])
    lab.rest()
    assert not set(day.names) & lab.cluster.routes.keys()
    return day.figures()


def outage(nodes: int = 1_000) -> dict[str, float]:
    """EC2 answers nothing for an hour, in which nodes are replaced one by one; `seconds` count from its end."""
    day = Watched(nodes)
    lab = day.lab
    going = day.names[: int(nodes * REPLACED)]

    def replace(name: str) -> None:
        zone = lab.machines[name].zone
        _end(lab, [name])
        lab.join(zone)

    lab.ec2.gone = True
    for number, name in enumerate(going):
        lab.at(OUTAGE_SECONDS * (number + 1) / (len(going) + 1), lambda name=name: replace(name))  # type: ignore[misc] # likewise
    lab.pass_seconds(OUTAGE_SECONDS)
    lab.ec2.gone = False
    day.start = lab.clock.time
    lab.rest()
    assert lab.cluster.routes.keys() == lab.machines.keys()
    figures = day.figures()
    done = {action: n for (action, code), n in lab.ec2.calls.items() if code == "OK" and action[0] != "D"}
    done["DeleteRoute"] = lab.ec2.calls["DeleteRoute", "OK"]
    return {**figures, "bound": bound(done)}


def _end(lab: LightLab, names: Sequence[str]) -> None:
    for name in names:
        lab.terminate(name)

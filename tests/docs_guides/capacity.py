"""Capacity of a cluster in nodes, and the paths of its pairs: the tables of docs/operations.md.

    python -m tests.docs_guides.capacity          prints them

The planner that the controller runs decides. Nodes are spread evenly over the zones. Each zone has a subnet and a
route table of its own, in which `local` and a default route are there already; one family, no reserve. So room in the
tables is the only thing that is short.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from cloudroute.core.cluster.model import DirectRouting
from cloudroute.core.cluster.planner import decide
from cloudroute.core.paths import Class, pair_path
from cloudroute.types import PATHS, NodeRouteSpec, Path
from tests.core.world import World, joining_world

ZONES = (1, 2, 3, 6)
LIMITS = (50, 100, 500, 1000)
MODES: tuple[DirectRouting, ...] = ("auto", "always", "off")
SHARES = {300: (50, 100, 500), 1000: (50, 500, 1000)}
"""Number of nodes, and the limits that matter for that number."""
SHARE_ZONES = (1, 3, 6)
OTHERS = 2
"""Entries of others in each table: `local` and the default route."""
MOST: tuple[tuple[DirectRouting, str], ...] = (("auto", "`auto`, `always`"), ("off", "`off`"))
"""Modes whose largest clusters are shown; `always` has the same as `auto`, which a test shows."""


def joined(nodes: int, zones: int, limit: int, mode: DirectRouting) -> World:
    """A cluster whose nodes have all just registered, with a default route in each table."""
    world = joining_world(nodes, zones, limit)
    world.policy = replace(world.policy, direct_routing=mode)
    for table in world.tables:
        world.foreign(table, "0.0.0.0/0")
    return world


def planned(nodes: int, zones: int, limit: int, mode: DirectRouting) -> Counter[Path]:
    """Pairs of nodes by path once all grants of one plan are in place: equal to `settled`, and faster."""
    world = joined(nodes, zones, limit, mode)
    decision = decide(world.snapshot(), world.policy)
    native: dict[str, list[str]] = {}
    for table_id, granted in sorted(decision.grants.items()):
        for member in granted.values():
            native.setdefault(member.name, []).append(table_id)
    return pairs(
        Class(member.table_id, "" if mode == "off" else member.subnet_id, tuple(native.get(member.name, ())))
        for member in decision.membership.members
    )


def settled(nodes: int, zones: int, limit: int, mode: DirectRouting) -> Counter[Path]:
    """Pairs of nodes by path after doing each step of each plan until none is left."""
    world = joined(nodes, zones, limit, mode)
    world.settle()
    specs: Iterable[NodeRouteSpec] = (record.spec for record in world.records.values())
    return pairs(map(Class.of, specs))


def pairs(classes: Iterable[Class]) -> Counter[Path]:
    """Pairs by path, each counted once; nodes of one class have the same paths."""
    found: Counter[Path] = Counter()
    members = Counter(classes)
    for mine, count in members.items():
        found[pair_path(mine, mine)] += count * (count - 1) // 2
    for (mine, count), (other, others) in itertools.combinations(members.items(), 2):
        found[pair_path(mine, other)] += count * others
    return found


def largest(zones: int, limit: int, mode: DirectRouting) -> int | None:
    """Largest number of nodes without a pair on the overlay; None for no limit.

    Confirmed by plans for that number and for one more.
    """
    if zones == 1 and mode != "off":
        assert not planned(2 * limit, zones, limit, mode)["overlay"]
        return None
    room = limit - OTHERS
    # Every table needs an entry for each node; with direct routing for each but those of its own subnet.
    nodes = room if mode == "off" else room * zones // (zones - 1)
    while planned(nodes, zones, limit, mode)["overlay"]:
        nodes -= 1  # the last zones have a node less than the first
    assert planned(nodes + 1, zones, limit, mode)["overlay"]
    return nodes


def tables() -> str:
    """All tables as Markdown."""
    most = [
        [str(zones), words, *(_number(largest(zones, limit, mode)) for limit in LIMITS)]
        for zones in ZONES
        for mode, words in MOST
    ]
    result = [_markdown(["zones", "`--direct-routing`", *(f"limit {limit}" for limit in LIMITS)], most)]
    for size, limits in SHARES.items():
        rows = [
            [str(zones), str(limit), *(_shares(planned(size, zones, limit, mode)) for mode in MODES)]
            for zones in SHARE_ZONES
            for limit in limits
        ]
        head = ["zones", "limit", *(f"`{mode}`" for mode in MODES)]
        result.append(f"{size:,} nodes, their pairs:\n\n" + _markdown(head, rows))
    return "\n".join(result)


def _number(nodes: int | None) -> str:
    return "no limit" if nodes is None else f"{nodes:,}"


def _shares(found: Counter[Path]) -> str:
    return ", ".join(f"{100 * found[path] / found.total():.1f} % {path}" for path in PATHS if found[path])


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in ([*head], ["---"] * len(head), *rows))


if __name__ == "__main__":
    sys.stdout.write(tables())

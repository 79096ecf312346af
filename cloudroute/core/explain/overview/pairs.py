"""Pairs of nodes counted by path: for each node, and as a matrix of nodes or zones."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import combinations_with_replacement
from typing import Literal, NamedTuple

from cloudroute.core.paths import Class, lacking_tables, node_path, pair_path, senders_tables
from cloudroute.types import PATHS, NodePath, NodeRouteSpec

MOST_NODES = 30
"""Most rows of a matrix by node; with more nodes it is by zone."""
MOST_ZONES = 30
OTHERS = "others"
"""Name of the row that joins all zones beyond `MOST_ZONES`."""

Counts = list[int]
"""Pairs by path, in the order of `types.PATHS`."""


class Pairs(NamedTuple):
    """Counts of all pairs."""

    path: Mapping[str, NodePath]
    """By node: its path, as `paths.node_path` defines it."""
    lacking: Mapping[str, tuple[str, ...]]
    """By node: the sorted ids of its senders' route tables that do not lead to it."""
    peers: Mapping[str, Counts]
    """By node: number of peers by path."""
    by: Literal["node", "zone"]
    names: tuple[str, ...]
    """Names of the matrix's rows, which are also its columns."""
    cells: list[list[Counts]]
    """The matrix: symmetric, with pairs inside one zone on the diagonal."""
    total: Counts


def count_pairs(specs: Mapping[str, NodeRouteSpec], zone_of: Mapping[str, str]) -> Pairs:
    """Count the pairs class by class, as `paths.path_counts` does: 12 million pairs cost a few hundred comparisons.

    `zone_of`: zone by node; a node that is not in it has none ("").
    """
    by: Literal["node", "zone"] = "node" if len(specs) <= MOST_NODES else "zone"
    groups = {name: name for name in specs} if by == "node" else _zones(specs, zone_of)
    names = tuple(sorted(set(groups.values()), key=lambda name: (name == OTHERS, name)))
    index = {name: number for number, name in enumerate(names)}
    members: defaultdict[Class, list[str]] = defaultdict(list)
    for name, spec in specs.items():
        members[Class.of(spec)].append(name)
    shares = {one: Counter(index[groups[name]] for name in nodes) for one, nodes in members.items()}
    cells = [[[0] * len(PATHS) for _ in names] for _ in names]
    peers: dict[Class, Counts] = {one: [0] * len(PATHS) for one in members}
    for mine, other in combinations_with_replacement(members, 2):
        which = PATHS.index(pair_path(mine, other))
        _count(peers, cells, which, mine, other, shares)
    path: dict[str, NodePath] = {}
    lacking: dict[str, tuple[str, ...]] = {}
    each: dict[str, Counts] = {}
    for mine, tables in senders_tables({one: len(nodes) for one, nodes in members.items()}).items():
        path.update(dict.fromkeys(members[mine], node_path(mine, tables)))
        lacking.update(dict.fromkeys(members[mine], tuple(sorted(lacking_tables(mine, tables)))))
        each.update(dict.fromkeys(members[mine], peers[mine]))
    total = [sum(counts[which] for counts in each.values()) // 2 for which in range(len(PATHS))]
    return Pairs(path, lacking, each, by, names, cells, total)


def _count(
    peers: Mapping[Class, Counts],
    cells: list[list[Counts]],
    which: int,
    mine: Class,
    other: Class,
    shares: Mapping[Class, Counter[int]],
) -> None:
    """Count the pairs between two classes, or inside one class; they all have the same path."""
    same = mine == other
    peers[mine][which] += shares[other].total() - same
    if not same:
        peers[other][which] += shares[mine].total()
    for row, one in shares[mine].items():
        for column, two in shares[other].items():
            if not same:
                cells[row][column][which] += one * two
                if row != column:
                    cells[column][row][which] += one * two
            elif row != column:
                cells[row][column][which] += one * two  # the loops also visit the mirrored cell
            else:
                cells[row][row][which] += one * (one - 1) // 2


def _zones(specs: Mapping[str, NodeRouteSpec], zone_of: Mapping[str, str]) -> dict[str, str]:
    """The zone of each node; if there are too many zones, OTHERS for nodes outside the largest."""
    zones = {name: zone_of.get(name, "") for name in specs}
    sizes = Counter(zones.values())
    if len(sizes) <= MOST_ZONES:
        return zones
    kept = {zone for zone, _ in sizes.most_common(MOST_ZONES - 1)}
    return {name: zone if zone in kept else OTHERS for name, zone in zones.items()}

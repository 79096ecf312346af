"""The nodes that `cloudroute verify` starts pods on: few that together show everything that a cluster has.

A feature is anything that may make a difference to packets: a zone, an instance family, a node group, a node's path,
a gateway, the path of a pair. The sample is a greedy cover: the node that adds most features comes first, of equals
the first by name. The number of features is small, so 5,000 nodes cost as many sets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import combinations_with_replacement
from typing import NamedTuple

from cloudroute.core.paths import Class, node_paths, pair_path
from cloudroute.core.verify.model import NodeFacts
from cloudroute.types import NodeRouteSpec, Path

Feature = tuple[str, str]
"""Kind and value: ("zone", "eu-central-1a")."""


class Sample(NamedTuple):
    """Chosen nodes by name, and the features that they leave out, which is only so if the number is too small."""

    nodes: tuple[str, ...]
    missing: tuple[Feature, ...]


def choose(nodes: Collection[NodeFacts], specs: Mapping[str, NodeRouteSpec], number: int) -> Sample:
    """Choose at most `number` of the nodes that have a NodeRoute: all of them if they are no more.

    A pair of nodes for each path between pairs comes first, since most checks are about pairs.
    """
    usable = {node.name: node for node in sorted(nodes, key=lambda node: node.name) if node.name in specs}
    paths = node_paths(specs)
    features = {name: frozenset(_features(node, specs[name], paths[name])) for name, node in usable.items()}
    wanted = frozenset().union(*features.values())
    chosen: dict[str, None] = {}
    if len(usable) <= number:
        chosen = dict.fromkeys(usable)
    else:
        for pair in _pairs(usable, specs).values():
            if len({*chosen, *pair}) <= number:
                chosen |= dict.fromkeys(pair)
        while len(chosen) < number:
            left = wanted.difference(*(features[name] for name in chosen)) if chosen else wanted
            best = max((name for name in usable if name not in chosen), key=lambda name: len(features[name] & left))
            chosen[best] = None
    missing = wanted - frozenset().union(*(features[name] for name in chosen))
    absent = _pairs(usable, specs).keys() - _pairs(chosen, specs).keys()
    return Sample(tuple(sorted(chosen)), (*sorted(missing), *(("pairs", path) for path in sorted(absent))))


def _features(node: NodeFacts, spec: NodeRouteSpec, path: str) -> Iterator[Feature]:
    for kind, value in (
        ("zone", node.zone),
        ("instance family", node.instance_family),
        ("node group", node.group),
        ("path", path),
        ("subnet", spec.subnet_id),
        ("gateway", "yes" if spec.gateway else ""),
    ):
        if value:
            yield kind, value


def _pairs(names: Collection[str], specs: Mapping[str, NodeRouteSpec]) -> dict[Path, tuple[str, str]]:
    """For each path that a pair of these nodes has: the first such pair.

    Nodes of one class have the same paths, so two of each class tell everything.
    """
    by_class: dict[Class, list[str]] = {}
    for name in names:
        members = by_class.setdefault(Class.of(specs[name]), [])
        if len(members) < 2:
            members.append(name)
    found: dict[Path, tuple[str, str]] = {}
    for one, other in combinations_with_replacement(by_class, 2):
        pair = (by_class[one][0], by_class[other][-1])
        if pair[0] != pair[1]:
            found.setdefault(pair_path(one, other), pair)
    return found

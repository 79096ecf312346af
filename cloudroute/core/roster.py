"""Who is in the cluster, as one node sees it: the peers whose NodeRoutes can be used, and why the others can't.

Nothing here depends on paths, so it is made anew only when somebody comes, goes or changes an address.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from cloudroute.core.peers import assign_ids, packed_or_none
from cloudroute.dataplane import Host, network
from cloudroute.types import Cidr, NodeRoute


@dataclass(frozen=True, slots=True)
class Roster:
    """The usable peers by name, in the order of the store."""

    pod_cidrs: Mapping[str, tuple[Cidr, ...]]
    problems: Mapping[str, str]
    """By name: why a NodeRoute is not used, in words."""
    ids: Mapping[Cidr, int]
    """The nexthop of each peer's pod CIDR."""
    cidrs: frozenset[Cidr]
    """The peers' pod CIDRs."""
    hosts: frozenset[bytes]
    """The peers' own addresses."""
    addresses: Mapping[str, tuple[bytes, ...]]
    """The same by name, in the order of nodeIPs."""


def roster(
    own: NodeRoute, routes: Mapping[str, NodeRoute], host: Host, known: Mapping[Cidr, int], taken: Container[int]
) -> Roster:
    """Two that claim an address in common: the older keeps it (then the name); this node comes before all.

    `known` are the nexthop ids that CIDRs have already, `taken` those of others on this machine.
    """
    usable: list[NodeRoute] = []
    addresses: dict[str, tuple[bytes, ...]] = {}
    problems: dict[str, str] = {}
    for name, route in routes.items():
        if name == own.name:
            continue
        parsed = [packed_or_none(text) for text in route.spec.node_ips]
        bad = [text for text, address in zip(route.spec.node_ips, parsed, strict=True) if address is None]
        if not route.spec.pod_cidrs:
            problems[name] = "its NodeRoute has no valid pod CIDR: it gets no route"
        elif bad:
            problems[name] = f"its nodeIPs have {bad[0]!r}, which is no address: it gets no route"
        else:
            usable.append(route)
            addresses[name] = tuple(filter(None, parsed))
    losers = _losers(own, usable, host)
    problems |= losers
    usable = [route for route in usable if route.name not in losers]
    addresses = {route.name: addresses[route.name] for route in usable}
    cidrs = [cidr for route in usable for cidr in route.spec.pod_cidrs]
    return Roster(
        {route.name: route.spec.pod_cidrs for route in usable},
        problems,
        assign_ids(cidrs, known, taken),
        frozenset(cidrs),
        frozenset(chain.from_iterable(addresses.values())),
        addresses,
    )


def same_membership(one: NodeRoute, other: NodeRoute) -> bool:
    """Whether they differ in their paths at most."""
    a, b = one.spec, other.spec
    return a.pod_cidrs == b.pod_cidrs and a.node_ips == b.node_ips and one.created == other.created


def _losers(own: NodeRoute, routes: Iterable[NodeRoute], host: Host) -> dict[str, str]:
    """By one walk over all CIDRs in order: one that begins before the last has ended lies inside of it."""
    by_name = {route.name: route for route in routes}
    claims = [(cidr, route.name) for route in by_name.values() for cidr in route.spec.pod_cidrs]
    claims += [(cidr, "") for cidr in (*own.spec.pod_cidrs, *_near(host))]
    claims.sort()
    clashes: list[tuple[str, str, Cidr]] = []
    around: list[tuple[Cidr, str]] = []
    for cidr, name in claims:
        while around and not around[-1][0].covers(cidr):
            around.pop()
        clashes += [(other, name, cidr) for _, other in around if other != name]
        around.append((cidr, name))

    def rank(name: str) -> tuple[str, str]:
        return (by_name[name].created, name) if name else ("", "")

    losers: dict[str, str] = {}
    for one, other, cidr in sorted(clashes, key=lambda clash: max(rank(clash[0]), rank(clash[1]))):
        older, younger = sorted((one, other), key=rank)
        if older not in losers and younger not in losers:
            whose = f"that of {older}, which is older" if older else "this node's own addresses"
            losers[younger] = f"its pod CIDRs and {whose}, have {cidr} in common: it gets no route"
    return losers


def _near(host: Host) -> Iterable[Cidr]:
    """What this machine reaches without us: a pod CIDR there would cut it off."""
    for address, length in (*host.addresses, *((gateway, len(gateway) * 8) for gateway in host.gateways)):
        yield network(address, length)


def apart(cidrs: Iterable[Cidr]) -> frozenset[Cidr]:
    """Those that lie in no other of them.

    >>> sorted(map(str, apart(map(Cidr.parse, ("10.0.0.0/16", "10.0.4.0/24", "10.1.0.0/24")))))
    ['10.0.0.0/16', '10.1.0.0/24']
    """
    kept: list[Cidr] = []
    for cidr in sorted(set(cidrs)):
        if not kept or not kept[-1].covers(cidr):
            kept.append(cidr)
    return frozenset(kept)

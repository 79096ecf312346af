"""Members of the cluster, as one node sees them: the usable peers, and the problems of all other NodeRoutes.

The roster does not depend on paths, so it is recomputed only when a node joins, leaves or changes an address.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from cloudroute.core.node.peers import LONGEST, assign_ids, is_unicast, outside, own_networks, packed_or_none
from cloudroute.dataplane import Host
from cloudroute.types import NEVER_ROUTED, Cidr, NodeRoute


@dataclass(frozen=True, slots=True)
class Roster:
    """The usable peers by name, in the order of the store."""

    pod_cidrs: Mapping[str, tuple[Cidr, ...]]
    problems: Mapping[str, str]
    """By name: the reason why a NodeRoute is not used, in words."""
    ids: Mapping[Cidr, int]
    """The nexthop id of each peer's pod CIDR."""
    cidrs: frozenset[Cidr]
    """The peers' pod CIDRs."""
    hosts: frozenset[bytes]
    """The peers' own addresses."""
    addresses: Mapping[str, tuple[bytes, ...]]
    """The peers' own addresses by name, in the order of nodeIPs."""


def roster(
    own: NodeRoute,
    routes: Mapping[str, NodeRoute],
    host: Host,
    known: Mapping[Cidr, int],
    taken: Container[int],
    pools: Sequence[Cidr] = (),
) -> Roster:
    """Find the usable peers. Of two NodeRoutes that claim the same address, the older keeps it, else the first by name.

    This node's own addresses come before all claims. `known`: nexthop ids that CIDRs have already; `taken`: ids of
    other programs on this machine; `pools`: the cluster's CIDRs, () where they are not known.
    """
    mine = {address for address, _ in host.addresses} | set(host.gateways)
    usable: list[NodeRoute] = []
    addresses: dict[str, tuple[bytes, ...]] = {}
    problems: dict[str, str] = {}
    for name, route in routes.items():
        if name == own.name:
            continue
        texts = route.spec.node_ips
        parsed = [packed_or_none(text) for text in texts]
        bad = [
            text
            for text, address in zip(texts, parsed, strict=True)
            if address is None or address in mine or not is_unicast(address)
        ]
        # A CIDR that overlaps this machine's own addresses is left to `_clashing`, which reports the worse problem.
        astray = [
            (cidr, why)
            for cidr in route.spec.pod_cidrs
            if (why := outside(cidr, pools)) and not any(cidr.overlaps(other) for other in own_networks(host))
        ]
        if not route.spec.pod_cidrs:
            problems[name] = "its NodeRoute has no valid pod CIDR: it gets no route"
        elif bad:
            problems[name] = (
                f"its nodeIPs have {bad[0][:LONGEST]!a}, which is no address of another node: it gets no route"
            )
        elif astray:
            problems[name] = f"its pod CIDR {astray[0][0]} {astray[0][1]}; it gets no route"
        else:
            usable.append(route)
            addresses[name] = tuple(filter(None, parsed))
    losers = _clashing(own, usable, host)
    problems |= losers
    usable = [route for route in usable if route.name not in losers]
    addresses = {route.name: addresses[route.name] for route in usable}
    cidrs = [cidr for route in usable for cidr in route.spec.pod_cidrs]
    return Roster(
        pod_cidrs={route.name: route.spec.pod_cidrs for route in usable},
        problems=problems,
        ids=assign_ids(cidrs, known, taken),
        cidrs=frozenset(cidrs),
        hosts=frozenset(chain.from_iterable(addresses.values())),
        addresses=addresses,
    )


def same_membership(one: NodeRoute, other: NodeRoute) -> bool:
    """Whether two NodeRoutes differ in their paths at most."""
    a, b = one.spec, other.spec
    return a.pod_cidrs == b.pod_cidrs and a.node_ips == b.node_ips and one.created == other.created


_OWN, _SPECIAL = "", "*"
"""Holders that sort before all nodes; no node has such a name."""
_HOLDERS = {_OWN: "this node's own addresses", _SPECIAL: "what is no pod's (loopback, link-local, multicast)"}


def _clashing(own: NodeRoute, routes: Iterable[NodeRoute], host: Host) -> dict[str, str]:
    """NodeRoutes that lose a clash of pod CIDRs, by name, each with the problem in words.

    One pass over all CIDRs in order: a CIDR that begins before the last one has ended lies inside it.
    """
    by_name = {route.name: route for route in routes}
    claims = [(cidr, route.name) for route in by_name.values() for cidr in route.spec.pod_cidrs]
    claims += [(cidr, _OWN) for cidr in (*own.spec.pod_cidrs, *own_networks(host))]
    claims += [(cidr, _SPECIAL) for cidr in NEVER_ROUTED]
    claims.sort()
    clashes: list[tuple[str, str, Cidr]] = []
    around: list[tuple[Cidr, str]] = []
    for cidr, name in claims:
        while around and not around[-1][0].covers(cidr):
            around.pop()
        clashes += [(o, name, cidr) for _, o in around if o != name and (o in by_name or name in by_name)]
        around.append((cidr, name))

    def rank(name: str) -> tuple[str, str]:
        return (by_name[name].created if name in by_name else "", name)

    losers: dict[str, str] = {}
    for one, other, cidr in sorted(clashes, key=lambda clash: sorted(map(rank, clash[:2]), reverse=True)):
        older, younger = sorted((one, other), key=rank)
        if older not in losers and younger not in losers:
            whose = _HOLDERS.get(older) or f"that of {older}, which is older"
            losers[younger] = f"its pod CIDRs and {whose}, have {cidr} in common: it gets no route"
    return losers


def without_nested(cidrs: Iterable[Cidr]) -> frozenset[Cidr]:
    """The CIDRs that lie in no other one of them.

    >>> sorted(map(str, without_nested(map(Cidr.parse, ("10.0.0.0/16", "10.0.4.0/24", "10.1.0.0/24")))))
    ['10.0.0.0/16', '10.1.0.0/24']
    """
    kept: list[Cidr] = []
    for cidr in sorted(set(cidrs)):
        if not kept or not kept[-1].covers(cidr):
            kept.append(cidr)
    return frozenset(kept)

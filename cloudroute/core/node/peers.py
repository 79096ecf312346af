"""Kernel entries of one node for one peer: a neighbour, an FDB entry, a nexthop and a route, of each family.

All four exist on every path. Only the nexthop depends on the path, so that a change of path is one replacement:

    overlay   via the peer's VTEP   dev cr0 (cr6: see `dataplane`)
    native    via the gateway       dev NIC
    direct    via the peer itself   dev NIC

A gateway has one more nexthop and route of each family for packets in transit. Its path is direct on one subnet, else
the overlay, whatever the route tables say: a change to native or back leaves it as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from cloudroute.core.paths import Class, family_path, node_families, pair_path, sends_by, tunnel_family
from cloudroute.dataplane import (
    METRIC,
    TRANSIT_ID,
    TRANSIT_TABLE,
    VTEP,
    VTEP6,
    Host,
    Nexthop,
    Route,
    RouteKey,
    family_of_bytes,
    link_local,
    network,
    packed,
)
from cloudroute.types import BITS, NEVER_ROUTED, Cidr, Family, NodeRouteSpec, Path

_KUBENET = bytes.fromhex("0a58")
"""Prefix of a MAC that is made from an IPv4 address, as kubenet made them."""
_HASHED = bytes.fromhex("0e")
"""Prefix of a MAC that is made from a hash: locally administered like `_KUBENET`, and never equal to it. The hash has
40 bits, which tell 5,000 nodes apart."""
LEAST_ADDRESSES = 4
"""Least size of a pod CIDR: its base, the pods' gateway, a pod, and one more that host-local requires."""
LONGEST = 200
"""Most characters of untrusted text in a message."""


class NodeUnusable(Exception):
    """This node's own NodeRoute or NIC is unusable. `reason` is one word for the status, the text is for people."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason


class LocalNode(NamedTuple):
    """The facts about this node that its entries for peers depend on."""

    kind: Class
    families: tuple[Family, ...]
    sources: Mapping[Family, bytes]
    """Source address of the host's own packets to pods: the base of its pod CIDR."""
    addressed: frozenset[Family]
    """Families of the node's own addresses, as its NodeRoute has them and all peers see them."""
    ends: Mapping[Family, bytes]
    """The node's own addresses that are sources of tunnels, IPv4 first."""
    gateways: Mapping[Family, bytes]
    interface: str
    transit: bool
    """Whether it forwards packets of the VPC to pods of other nodes: it is a gateway, and the pools are known."""

    @classmethod
    def of(cls, spec: NodeRouteSpec, host: Host, pools: Sequence[Cidr] = ()) -> LocalNode:
        """Raises NodeUnusable when the NodeRoute has no usable pod CIDR, or the NIC none of the node's addresses."""
        if not spec.pod_cidrs:
            raise NodeUnusable("NoPodCIDR", "its NodeRoute has no valid pod CIDR: the controller gives it one")
        for cidr in spec.pod_cidrs:
            if cidr.size < LEAST_ADDRESSES:
                raise NodeUnusable("NoPodCIDR", f"{cidr} in its NodeRoute has less than {LEAST_ADDRESSES} addresses")
            if astray := outside(cidr, pools):
                raise NodeUnusable("NoPodCIDR", f"{cidr} in its NodeRoute {astray}")
            for other in (*own_networks(host), *NEVER_ROUTED):
                if cidr.overlaps(other):
                    raise NodeUnusable("NoPodCIDR", f"{cidr} in its NodeRoute overlaps {other}, which is no pod's")
        return cls(
            Class.of(spec),
            tuple(cidr.family for cidr in spec.pod_cidrs),
            {cidr.family: base(cidr) for cidr in spec.pod_cidrs},
            node_families(spec),
            _ends(spec, host),
            {family_of_bytes(gateway): gateway for gateway in host.gateways},
            host.interface,
            spec.gateway and bool(pools),
        )

    @property
    def underlay(self) -> Family:
        """The family that `cr0` runs over."""
        return next(iter(self.ends))


def _ends(spec: NodeRouteSpec, host: Host) -> dict[Family, bytes]:
    """The node's addresses that its NIC has, one of each family; IPv4 first, as on every node."""
    present = {address for address, _ in host.addresses}
    mine = sorted((address for text in spec.node_ips if (address := packed_or_none(text))), key=len)
    found: dict[Family, bytes] = {}
    for address in mine:
        if address in present:
            found.setdefault(family_of_bytes(address), address)
    if found:
        return found
    says = ", ".join(spec.node_ips)[:LONGEST] or "no address"
    raise NodeUnusable(
        "Interface",
        f"{host.interface} has none of the node's addresses ({says}): name the NIC that has one by --interface",
    )


class Peer(NamedTuple):
    """Path to a peer, and the route table by which the peer sends to this node."""

    path: Path
    sends_by: str | None
    """As `paths.sends_by` returns it."""
    problem: str
    """Reason why the peer can't be reached as it should be, in words; "" while it can."""


_peer = lru_cache(256)(Peer)
"""Thousands of peers share a few values: one object for each value, quick to count."""


class Entries(NamedTuple):
    """Entries for one peer, in the form of the kernel tables: computed when they are needed, not kept."""

    peer: Peer
    device: str
    """The VXLAN device that `fdb` and `neighbours` are on."""
    fdb: tuple[tuple[bytes, bytes], ...]
    neighbours: tuple[tuple[bytes, bytes], ...]
    nexthops: tuple[tuple[int, Nexthop], ...]
    routes: tuple[tuple[RouteKey, Route], ...]


def peer_entries(me: LocalNode, spec: NodeRouteSpec, addresses: Sequence[bytes], ids: Mapping[Cidr, int]) -> Entries:
    """Entries for a usable peer, whose CIDRs all have a nexthop id in `ids`. `addresses` are its nodeIPs."""
    kind = Class.of(spec)
    path, table = pair_path(me.kind, kind), sends_by(kind, me.kind)
    by_family = {family_of_bytes(address): address for address in reversed(addresses)}
    over = tunnel_family(me.ends, by_family)
    device = VTEP if over in (None, me.underlay) else VTEP6
    mac = vtep_mac(spec.pod_cidrs)
    neighbours, nexthops, routes, problems = [], [], [], []
    for cidr in spec.pod_cidrs:
        family, _, length = cidr
        if family not in me.families:
            continue
        tunnel = Nexthop(vtep(cidr, mac), device) if over else None
        if tunnel:
            neighbours.append((tunnel.gateway, mac))
        nexthop, problem = _nexthop(me, path, family, by_family, tunnel)
        if problem:
            problems.append(problem)
        if nexthop:
            id_ = ids[cidr]
            nexthops.append((id_, nexthop))
            routes.append((RouteKey(base(cidr), length, METRIC[family]), Route(id_, me.sources[family])))
        if me.transit:
            nexthop, _ = _nexthop(me, "direct" if table is None else "overlay", family, by_family, tunnel)
            if nexthop:
                id_ = ids[cidr] | TRANSIT_ID
                nexthops.append((id_, nexthop))
                key = RouteKey(base(cidr), length, METRIC[family], TRANSIT_TABLE)
                routes.append((key, Route(id_, me.sources[family])))
    return Entries(
        _peer(path, table, "; ".join(dict.fromkeys(problems))),
        device,
        ((mac, by_family[over]),) if over else (),
        tuple(neighbours),
        tuple(nexthops),
        tuple(routes),
    )


def _nexthop(
    me: LocalNode, path: Path, family: Family, addresses: Mapping[Family, bytes], tunnel: Nexthop | None
) -> tuple[Nexthop | None, str]:
    """Nexthop for packets to pods of a family (None: unreachable), and the problem with it, "" for none."""
    problem = ""
    path = family_path(path, family, me.addressed, addresses)
    if path == "direct":
        return Nexthop(addresses[family], me.interface), ""
    if path == "native":
        if gateway := me.gateways.get(family):
            return Nexthop(gateway, me.interface), ""
        problem = f"{me.interface} has no {family} gateway, so its {family} pods are sent to by the overlay"
    if tunnel:
        return tunnel, problem
    return None, f"its NodeRoute has no {' or '.join(me.ends)} address in nodeIPs, so no tunnel can lead to it"


def outside(cidr: Cidr, pools: Sequence[Cidr]) -> str:
    """Reason to ignore a pod CIDR outside the cluster's `pools`; "" if it lies inside, or `pools` are not known."""
    if not pools or any(pool.covers(cidr) for pool in pools):
        return ""
    return f"is in none of --cluster-cidr {', '.join(map(str, pools))}: give this agent the controller's"


def own_networks(host: Host) -> Iterator[Cidr]:
    """Networks and gateways that this machine reaches without us: a pod CIDR that overlaps them would cut it off."""
    for address, length in (*host.addresses, *((gateway, len(gateway) * 8) for gateway in host.gateways)):
        yield network(address, length)


def base(cidr: Cidr) -> bytes:
    """First address of a CIDR: the source of the host's own packets."""
    return cidr.base.to_bytes(BITS[cidr.family] // 8, "big")


def gateway(cidr: Cidr) -> bytes:
    """Second address of a CIDR: the pods' gateway, which is on the host's end of each pod's veth pair."""
    return (cidr.base + 1).to_bytes(BITS[cidr.family] // 8, "big")


def vtep_mac(pod_cidrs: Iterable[Cidr]) -> bytes:
    """MAC of a node's VTEP, computed from its IPv4 pod CIDR if it has one: nothing to exchange, nothing to go stale.

    >>> vtep_mac([Cidr.parse("10.244.7.0/24")]).hex(":")
    '0a:58:0a:f4:07:00'
    """
    return mac_of(base(min(pod_cidrs)))  # "ipv4" sorts before "ipv6"


def vtep(cidr: Cidr, mac: bytes) -> bytes:
    """Gateway address of a peer on the VXLAN device: it only serves as the key of the peer's neighbour entry.

    IPv4: the base of its pod CIDR. IPv6: the link-local address of its MAC, since Linux refuses a global gateway that a
    route by another device leads to, as a route of the native path does.
    """
    return base(cidr) if cidr.family == "ipv4" else link_local(mac)


def mac_of(address: bytes) -> bytes:
    """MAC made from an address: from its 4 bytes, or from a hash of its 16."""
    if len(address) == 4:
        return _KUBENET + address
    return _HASHED + hashlib.blake2b(address, digest_size=5).digest()


def is_unicast(address: bytes) -> bool:
    """Whether a host can have the address: no loopback, link-local, multicast, unspecified or IPv4-mapped address.

    >>> [is_unicast(packed(text)) for text in ("10.0.0.1", "fd00::1", "169.254.169.254", "::ffff:10.0.0.1")]
    [True, True, False, False]
    """
    first, second = address[:2]
    if len(address) == 4:
        return first not in (0, 127) and first < 224 and (first, second) != (169, 254)
    return first not in (0, 0xFF) and (first, second & 0xC0) != (0xFE, 0x80)


def packed_or_none(text: str) -> bytes | None:
    """The bytes of an address, None for any other text."""
    try:
        return packed(text)
    except ValueError:
        return None


_FIRST_ID, _IDS = 1 << 30, 1 << 30
"""Range of our nexthop ids. Ids are one space for the whole machine; other programs count from 1."""


def assign_ids(cidrs: Sequence[Cidr], known: Mapping[Cidr, int], taken: Container[int]) -> dict[Cidr, int]:
    """A nexthop id for each CIDR: its present one (`known`, as found in the kernel), else a free one.

    The same CIDR gets the same id on every node and after every restart, unless another program has it. `taken`: ids
    of other programs.
    """
    ids: dict[Cidr, int] = {}
    used: set[int] = set()
    for cidr in cidrs:
        id_ = known.get(cidr)
        if id_ is not None and id_ not in used and id_ not in taken:
            ids[cidr] = id_
            used.add(id_)
    for cidr in cidrs:
        if cidr not in ids:
            number = (cidr.base >> (BITS[cidr.family] - cidr.length)) * 2 + (cidr.family == "ipv6")
            while (free := _FIRST_ID + number % _IDS) in used or free in taken:
                number += 1
            ids[cidr] = free
            used.add(free)
    return ids

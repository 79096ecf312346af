"""What a node's kernel holds of ours, kind by kind: the words that agent, core and adapters share.

A kind is a table: keys, each with a value. `core` says which entries are wanted, an adapter reads those that are there
and are ours, and the difference is what is to be done. Addresses are bytes in network order (4 or 16 of them: the
family is their length), since the kernel takes them so and 5,000 peers are 20,000 entries; MACs are 6 bytes.

How one packet finds its way through them, from a pod to a pod on a peer that is reached by the overlay:

    10.244.7.9  ── route 10.244.7.0/24 ──▶ nexthop 41 ──▶ via 10.244.7.0 dev cr0
                ── neighbour 10.244.7.0 ──▶ MAC 0a:58:0a:f4:07:00
                ── FDB 0a:58:0a:f4:07:00 ──▶ VXLAN to the node 10.0.3.4

To reach that peer natively, nexthop 41 becomes "via the subnet's gateway dev eth0": one replacement, and neighbour and
FDB entry stay for the way back.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from cloudroute.types import Cidr, Family

VTEP = "cr0"
"""The VXLAN device: over IPv4 on a node that has an IPv4 address, else over IPv6."""
VTEP6 = "cr6"
"""The second one, over IPv6, on a node with both addresses while a peer has IPv6 alone.

A VXLAN device takes FDB entries of one family (Linux, drivers/net/vxlan/vxlan_core.c, vxlan_fdb_add).
"""
LINK_LOCAL = bytes.fromhex("fe80000000000000")
"""The network of IPv6 link-local addresses, which are 8 bytes longer."""
PROTOCOL = 88
"""Who made a route or a nexthop (rtm_protocol, nh_protocol): 88 is assigned to nobody, and marks ours."""
METRIC: dict[Family, int] = {"ipv4": 0, "ipv6": 1024}
"""Of the route to a peer: the kernel's default, so that somebody else's route to the same pods is a clash and not a
silent winner."""
GUARD_METRIC = 0xFFFF_FFF0
"""Of the `unreachable` routes that keep packets for unknown pods from leaving by the default route."""
TAKEN = "this id is taken"
"""How the words begin when somebody else has a nexthop's id: another one must be chosen."""
TABLE = "cloudroute"
"""The nftables table, family inet."""
CONFLIST = "10-cloudroute.conflist"
"""Our CNI configuration, in the folder that the container runtime reads: the first by name counts."""
NETWORK = "cloudroute"
"""The name in it. host-local keeps its leases in a folder of that name: under another one it would give addresses again
that are in use."""
LEASES = "/var/lib/cni/networks"
"""The folder of those folders."""
VXLAN_OVERHEAD: dict[Family, int] = {"ipv4": 50, "ipv6": 70}
"""What the tunnel adds to a packet, by the family of the nodes' addresses that it runs over."""

Kind = Literal[
    "links", "sysctls", "addresses", "bridges", "fdb", "neighbours", "fdb6", "neighbours6", "nexthops", "routes",
    "nftables", "files",
]  # fmt: skip
KINDS: tuple[Kind, ...] = (
    "links", "sysctls", "addresses", "bridges", "fdb", "neighbours", "fdb6", "neighbours6", "nexthops", "routes",
    "nftables", "files",
)  # fmt: skip
"""In the order in which they are written; each stands on those before it. Removal goes the other way."""
TUNNELS: Mapping[str, tuple[Kind, Kind]] = {VTEP: ("fdb", "neighbours"), VTEP6: ("fdb6", "neighbours6")}
"""The VXLAN devices with the kinds of their FDB entries and of their neighbours."""


class Vxlan(NamedTuple):
    """What a VXLAN device is made of; none of it can be changed in place."""

    vni: int
    port: int
    local: bytes
    """The node's own address, from which the tunnel starts."""
    parent: str
    """The NIC."""


class Link(NamedTuple):
    """A network device. `kind` is the kernel's word: "vxlan"; "" where it names none."""

    kind: str
    mac: bytes
    mtu: int
    up: bool
    vxlan: Vxlan | None = None
    """Of a VXLAN device with `nolearning`; a device that learns is not equal to any wanted one."""


class AddressKey(NamedTuple):
    """An address on our device."""

    device: str
    address: bytes
    length: int


class Nexthop(NamedTuple):
    """`via gateway dev device onlink`."""

    gateway: bytes
    device: str


class RouteKey(NamedTuple):
    """A route of the main table."""

    destination: bytes
    length: int
    metric: int

    def covers(self, other: RouteKey) -> bool:
        """Whether it takes what `other` would take, were that not there."""
        bits = 8 * len(self.destination)
        if bits != 8 * len(other.destination) or self.length > other.length:
            return False
        differ = int.from_bytes(self.destination, "big") ^ int.from_bytes(other.destination, "big")
        return not differ >> (bits - self.length)


class Route(NamedTuple):
    """Where to: a nexthop's id with the source address of the host's own packets; or `unreachable` (both empty)."""

    nexthop: int
    source: bytes


class Ruleset(NamedTuple):
    """All that is in our nftables table: masquerade, notrack for the tunnel, and the counters.

    A pod's packet is masqueraded where it goes to one of `masqueraded`; else unless it goes to one of `hosts` or
    `networks`, or leaves by the VXLAN device.
    """

    masquerade: bool
    pods: tuple[Cidr, ...]
    """The node's own pod CIDRs."""
    port: int
    """UDP port of the tunnel."""
    masqueraded: frozenset[Cidr] = frozenset()
    """Where a pod never keeps its address; no two overlap."""
    networks: frozenset[Cidr] = frozenset()
    """Where a pod keeps its address; no two overlap."""
    hosts: frozenset[bytes] = frozenset()
    """Addresses of nodes: the same."""
    peers: frozenset[Cidr] = frozenset()
    """Whose bytes are counted, by the device that they leave by."""


Links: TypeAlias = dict[str, Link]
Addresses: TypeAlias = dict[AddressKey, None]
Bridges: TypeAlias = dict[Cidr, None]
"""Pod CIDRs of this node: bridges that another network, or an older version of cloudroute, left in such a CIDR answer
for the pods that are not on them."""
Sysctls: TypeAlias = dict[str, str]
"""Path below /proc/sys, as net/ipv4/ip_forward, to its value."""
Fdb: TypeAlias = dict[bytes, bytes]
"""MAC of a peer's VTEP to the peer's address."""
Neighbours: TypeAlias = dict[bytes, bytes]
"""Address of a peer's VTEP to its MAC, on one of our VXLAN devices."""
Nexthops: TypeAlias = dict[int, Nexthop]
Routes: TypeAlias = dict[RouteKey, Route]
Nftables: TypeAlias = dict[str, Ruleset]
"""At most one entry, `TABLE`."""
Files: TypeAlias = dict[str, bytes]
"""Absolute path to content."""


class Host(NamedTuple):
    """What an agent finds on its machine and does not change."""

    interface: str
    """The NIC that carries the nodes' traffic."""
    mtu: int
    addresses: tuple[tuple[bytes, int], ...]
    """Global addresses of the NIC with their prefix lengths, in the kernel's order."""
    gateways: tuple[bytes, ...]
    """At most one of each family: the default route's gateway by that NIC."""
    up: bool = True
    accepts_ra: bool = False
    """Whether the kernel itself takes router advertisements on it: the IPv6 default route may come from them."""


class PeerBytes(NamedTuple):
    """A counter of nftables: what left for a peer's pods."""

    cidr: Cidr
    overlay: int
    """Bytes by the VXLAN device, the tunnel's headers not counted."""
    routed: int
    """Bytes by any other way: native or direct."""


def packed(address: str) -> bytes:
    """The bytes of a textual address.

    >>> packed("10.0.0.1").hex()
    '0a000001'
    """
    # Not ip_address, which tries one family after the other: this is called for two addresses of each peer.
    return (ipaddress.IPv6Address if ":" in address else ipaddress.IPv4Address)(address).packed


def written(address: bytes) -> str:
    """The text of an address: what people read.

    >>> written(b"\\x0a\\0\\0\\1")
    '10.0.0.1'
    """
    return str(ipaddress.ip_address(address))


def link_local(mac: bytes) -> bytes:
    """The IPv6 link-local address of a device with that MAC, as the kernel makes it (RFC 4291, appendix A).

    >>> written(link_local(bytes.fromhex("0a580af40700")))
    'fe80::858:aff:fef4:700'
    """
    return LINK_LOCAL + bytes((mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:]))


def family_of_bytes(address: bytes) -> Family:
    """The family of an address."""
    return "ipv4" if len(address) == 4 else "ipv6"


def network(address: bytes, length: int) -> Cidr:
    """The network of that prefix length in which an address lies.

    >>> str(network(packed("10.0.4.7"), 24))
    '10.0.4.0/24'
    """
    bits = len(address) * 8
    base = int.from_bytes(address, "big") >> (bits - length) << (bits - length)
    return Cidr(family_of_bytes(address), base, length)


def mac_text(mac: bytes) -> str:
    """A MAC as people write it.

    >>> mac_text(bytes.fromhex("0a580af40700"))
    '0a:58:0a:f4:07:00'
    """
    return mac.hex(":")

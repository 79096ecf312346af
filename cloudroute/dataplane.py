"""Our entries in a node's kernel, kind by kind: the types that agent, core and adapters share.

A kind is a table of keys and values. `core` computes the desired entries, an adapter reads the present ones that are
ours, and the agent writes the difference. Addresses are bytes in network order (4 or 16 of them: the length tells the
family), since the kernel takes them so and 5,000 peers are 20,000 entries; MACs are 6 bytes.

Path of one packet through these tables, from a pod to a pod on a peer that is reached by the overlay:

    10.244.7.9  ── route 10.244.7.0/24 ──▶ nexthop 41 ──▶ via 10.244.7.0 dev cr0
                ── neighbour 10.244.7.0 ──▶ MAC 0a:58:0a:f4:07:00
                ── FDB 0a:58:0a:f4:07:00 ──▶ VXLAN to the node 10.0.3.4

To reach that peer natively, nexthop 41 becomes "via the subnet's gateway dev eth0": one replacement. The neighbour and
the FDB entry stay for a return to the overlay.

A gateway forwards packets of the VPC to the pods of all nodes. Their path is never native: where the VPC's table leads
back to the gateway, they would loop.

    from eth0 to 10.244.7.9  ── rule "iif eth0 to 10.244.0.0/16 lookup 88" ──▶ table 88
                             ── route 10.244.7.0/24 ──▶ nexthop 2147483689 ──▶ via 10.244.7.0 dev cr0
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from socket import AF_INET, AF_INET6, inet_pton
from typing import Literal, NamedTuple

from cloudroute.types import Cidr, Family

VTEP = "cr0"
"""The VXLAN device: over IPv4 on a node that has an IPv4 address, else over IPv6."""
VTEP6 = "cr6"
"""The second VXLAN device, over IPv6, on a node with addresses of both families while a peer has IPv6 alone.

A VXLAN device takes FDB entries of one family (Linux, drivers/net/vxlan/vxlan_core.c, vxlan_fdb_add).
"""
LINK_LOCAL = bytes.fromhex("fe80000000000000")
"""First 8 bytes of an IPv6 link-local address (fe80::/64)."""
PROTOCOL = 88
"""Protocol number of our routes, nexthops and rules (rtm_protocol, nh_protocol, FRA_PROTOCOL): 88 is unassigned, so it
marks ours."""
METRIC: dict[Family, int] = {"ipv4": 0, "ipv6": 1024}
"""Metric of the route to a peer: the kernel's default, so that another program's route to the same pods is reported as
a clash, and does not silently win."""
MAIN = 254
"""The main table, which the kernel looks routes up in by default (RT_TABLE_MAIN)."""
TRANSIT_TABLE = 88
"""The table of a gateway for packets that the VPC sends to pods of other nodes."""
TRANSIT_ID = 1 << 31
"""The bit by which the id of a peer's nexthop in the transit table differs from that in the main table."""
OWN_PODS_PRIORITY, TRANSIT_PRIORITY = 1087, 1088
"""Priorities of a gateway's rules: its own pods are found in the main table, before all pods in the transit table."""
GUARD_METRIC = 0xFFFF_FFF0
"""Metric of the `unreachable` routes that keep packets for unknown pods from leaving by the default route."""
TAKEN = "this id is taken"
"""Start of the failure's text when another program has a nexthop's id: another id must be chosen."""
TABLE = "cloudroute"
"""The nftables table, family inet."""
CONFLIST = "10-cloudroute.conflist"
"""Our CNI configuration, in the folder that the container runtime reads: the first by name counts."""
NETWORK = "cloudroute"
"""The network's name in that configuration. host-local keeps its leases in a folder of this name: under another name
it would give out addresses that are in use."""
LEASES = "/var/lib/cni/networks"
"""The folder with one folder of leases for each network."""
VXLAN_OVERHEAD: dict[Family, int] = {"ipv4": 50, "ipv6": 70}
"""Bytes that the tunnel adds to a packet, by the family of the nodes' addresses that it runs over."""

Kind = Literal[
    "links", "sysctls", "addresses", "bridges", "fdb", "neighbours", "fdb6", "neighbours6", "nexthops", "routes",
    "rules", "nftables", "files",
]  # fmt: skip
KINDS: tuple[Kind, ...] = (
    "links", "sysctls", "addresses", "bridges", "fdb", "neighbours", "fdb6", "neighbours6", "nexthops", "routes",
    "rules", "nftables", "files",
)  # fmt: skip
"""All kinds in the order of writing: each depends on those before it. Removal goes in reverse.

Keys and values of their tables:

    links            name of a device            Link
    sysctls          path below /proc/sys        value
    addresses        AddressKey                  None
    bridges          pod CIDR of this node       None: each bridge that another network, or an older version of
                                                 cloudroute, left in it answers for the pods that are not on it
    fdb[6]           MAC of a peer's VTEP        address of the peer
    neighbours[6]    address of a peer's VTEP    its MAC
    nexthops         id                          Nexthop
    routes           RouteKey                    Route
    rules            Rule                        None
    nftables         TABLE, at most              Ruleset
    files            absolute path               content
"""
TUNNELS: Mapping[str, tuple[Kind, Kind]] = {VTEP: ("fdb", "neighbours"), VTEP6: ("fdb6", "neighbours6")}
"""VXLAN devices with the kinds of their FDB entries and of their neighbours."""


class Vxlan(NamedTuple):
    """Parameters of a VXLAN device; none can be changed in place."""

    vni: int
    port: int
    local: bytes
    """The node's own address: source of the tunnel's packets."""
    parent: str
    """The NIC."""


class Link(NamedTuple):
    """A network device. `kind` is the kernel's name for its type, as "vxlan"; "" where it names none."""

    kind: str
    mac: bytes
    mtu: int
    up: bool
    vxlan: Vxlan | None = None
    """Parameters of a VXLAN device with `nolearning`; a device that learns equals no desired one."""


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
    """A route of the main or the transit table."""

    destination: bytes
    length: int
    metric: int
    table: int = MAIN

    def covers(self, other: RouteKey) -> bool:
        """Whether this route would take the packets of `other` if `other` did not exist."""
        bits = 8 * len(self.destination)
        if self.table != other.table or bits != 8 * len(other.destination) or self.length > other.length:
            return False
        differ = int.from_bytes(self.destination, "big") ^ int.from_bytes(other.destination, "big")
        return not differ >> (bits - self.length)


class Route(NamedTuple):
    """Target of a route: a nexthop's id, with the source of the host's own packets; both empty: `unreachable`."""

    nexthop: int
    source: bytes


class Rule(NamedTuple):
    """`iif interface to destination lookup table`: how packets that come in by the NIC are routed."""

    priority: int
    interface: str
    destination: bytes
    length: int
    table: int


class Ruleset(NamedTuple):
    """Content of our nftables table: masquerade, notrack for the tunnel and for transit, and the counters.

    A pod's packet to one of `masqueraded` is masqueraded; any other one too, unless it goes to one of `hosts` or
    `networks` or leaves by the VXLAN device.
    """

    masquerade: bool
    pods: tuple[Cidr, ...]
    """The node's own pod CIDRs."""
    port: int
    """UDP port of the tunnel."""
    masqueraded: frozenset[Cidr] = frozenset()
    """Destinations toward which a pod never keeps its address; no two overlap."""
    networks: frozenset[Cidr] = frozenset()
    """Destinations toward which a pod keeps its address; no two overlap."""
    hosts: frozenset[bytes] = frozenset()
    """Addresses of nodes, toward which a pod keeps its address."""
    peers: frozenset[Cidr] = frozenset()
    """Pod CIDRs of peers: bytes to each are counted by the device that they leave by."""
    transit: frozenset[Cidr] = frozenset()
    """On a gateway the cluster's pools: packets to pods of other nodes that come in by `interface` are counted and not
    tracked."""
    interface: str = ""
    """The NIC of a gateway; "" on any other node."""


class Host(NamedTuple):
    """Properties of the machine that an agent reads and does not change."""

    interface: str
    """The NIC that carries the nodes' traffic."""
    mtu: int
    addresses: tuple[tuple[bytes, int], ...]
    """Global addresses of the NIC with their prefix lengths, in the kernel's order."""
    gateways: tuple[bytes, ...]
    """Gateways of the default routes by that NIC, at most one of each family."""
    up: bool = True
    accepts_ra: bool = False
    """Whether the kernel accepts router advertisements on the NIC: the IPv6 default route may come from them."""


TransitSource = Literal["pod", "vpc"]
"""Source of a packet that a gateway forwards: a pod, which lacks a native route, or anything else."""


class PeerBytes(NamedTuple):
    """Counters of nftables for the packets that left for a peer's pods."""

    cidr: Cidr
    overlay: int
    """Bytes by the VXLAN device, the tunnel's headers not counted."""
    routed: int
    """Bytes by any other way: native or direct."""


def packed(address: str) -> bytes:
    """The bytes of a textual address. Raises ValueError for any other text.

    >>> packed("10.0.0.1").hex()
    '0a000001'
    """
    try:  # by the C library: 10,000 addresses of 5,000 peers take `ipaddress` a sixth of the agent's first turn
        return inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except OSError:
        raise ValueError(f"{address!r} is no IP address") from None


def written(address: bytes) -> str:
    """The textual form of an address.

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
    """The network of this prefix length that an address is in.

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

"""The yardstick: the least that any program does to put the same entries into the kernel, and to list them.

Hand-written for one cluster of two families, a tunnel over IPv4 and a kernel that is empty: one loop over the
NodeRoutes packs the very messages that the agent sends, and they go out 32 KiB at a time, an ACK on each chunk's last.
Nothing is compared or remembered, nobody else's entry is respected, and a failure ends it. These are the price of the
agent's further time.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from cloudroute.types import Cidr, NodeRouteSpec

CHUNK = 32 * 1024
BUFFER = 128 * 1024
PROTOCOL = 88
V4, V6, BRIDGE = socket.AF_INET, socket.AF_INET6, 7
NEW_NEIGHBOUR, GET_NEIGHBOUR, NEW_NEXTHOP, GET_NEXTHOP, NEW_ROUTE, GET_ROUTE = 28, 30, 104, 106, 24, 26
REQUEST, ACK, DUMP, REPLACE, EXCL, CREATE = 0x1, 0x4, 0x300, 0x100, 0x200, 0x400
ERROR, DONE = 2, 3
PERMANENT, NOARP, SELF, ONLINK = 0x80, 0x40, 0x02, 4
MAIN_TABLE, UNICAST, UNREACHABLE = 254, 1, 7
FIRST_ID = 1 << 30
GUARD_METRIC = 0xFFFF_FFF0

HEADER = struct.Struct("=IHHII")
HEAD = struct.Struct("=HH")
FDB = struct.Struct("=IHHII BxxxiHBB HH6s2x HH4s")
NEIGHBOUR = {size: struct.Struct(f"=IHHII BxxxiHBB HH{size}s HH6s2x") for size in (4, 16)}
NEXTHOP = {size: struct.Struct(f"=IHHII BBBBI HHI HHI HH{size}s") for size in (4, 16)}
ROUTE = {size: struct.Struct(f"=IHHII BBBBBBBBI HH{size}s HHI HH{size}s HHI") for size in (4, 16)}
GUARD = {size: struct.Struct(f"=IHHII BBBBBBBBI HH{size}s HHI") for size in (4, 16)}
FAMILY = {4: V4, 16: V6}
METRIC = {4: 0, 16: 1024}
LINK_LOCAL = bytes.fromhex("fe80 0000 0000 0000 08")


class Place(NamedTuple):
    """Targets of the entries: indices of devices, and the default gateways by the size of their addresses."""

    vtep: int
    nic: int
    gateways: Mapping[int, bytes]


class Listing(NamedTuple):
    """The four tables, with the kernel's own words for devices."""

    fdb: dict[bytes, bytes]
    neighbours: dict[bytes, bytes]
    nexthops: dict[int, tuple[bytes, int]]
    routes: dict[tuple[bytes, int, int], tuple[int, bytes]]


class RawNetlink:
    """A socket of the present network namespace. Raises OSError for whatever the kernel refuses."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.setsockopt(270, 12, 1)  # SOL_NETLINK, NETLINK_GET_STRICT_CHK: dumps are filtered by the kernel
        self._socket.bind((0, 0))
        self._buffer = bytearray(BUFFER)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    # --- writing ----------------------------------------------------------------------------------

    def program(self, own: NodeRouteSpec, peers: Sequence[NodeRouteSpec], pools: Sequence[Cidr]) -> int:
        """Put all that leads to the peers, and what ends for unknown pods; how many messages that took."""
        messages = self._pack(own, peers, pools)
        chunk: list[bytes] = []
        size = 0
        for message in messages:
            if size + len(message) > CHUNK:
                self._send(chunk)
                chunk, size = [], 0
            chunk.append(message)
            size += len(message)
        self._send(chunk)
        return len(messages)

    def _pack(self, own: NodeRouteSpec, peers: Sequence[NodeRouteSpec], pools: Sequence[Cidr]) -> list[bytes]:
        vtep, nic, gateways = self._place
        put, make = REQUEST | CREATE | REPLACE, REQUEST | CREATE | EXCL
        sources = {len(base): base for base in map(base_of, own.pod_cidrs)}
        fdb, neighbours, nexthops, routes = [], [], [], []
        for spec in peers:
            v4, v6 = spec.node_ips
            node = socket.inet_pton(V4, v4)
            native = own.route_table_id in spec.native_in and spec.route_table_id in own.native_in
            direct = own.subnet_id == spec.subnet_id
            mac = b"\x0a\x58" + spec.pod_cidrs[0].base.to_bytes(4, "big")
            fdb.append(
                FDB.pack(
                    FDB.size, NEW_NEIGHBOUR, put, 0, 0,
                    BRIDGE, vtep, PERMANENT | NOARP, SELF, 0, 10, 2, mac, 8, 1, node,
                )
            )  # fmt: skip
            for cidr in spec.pod_cidrs:
                base = base_of(cidr)
                size = len(base)
                via = base if size == 4 else LINK_LOCAL + mac[1:3] + b"\xff\xfe" + mac[3:]
                if native:
                    gateway, device = gateways[size], nic
                elif direct:
                    gateway, device = (node if size == 4 else socket.inet_pton(V6, v6)), nic
                else:
                    gateway, device = via, vtep
                number = id_of(cidr)
                layout = NEIGHBOUR[size]
                neighbours.append(
                    layout.pack(
                        layout.size, NEW_NEIGHBOUR, put, 0, 0,
                        FAMILY[size], vtep, PERMANENT, 0, 0, size + 4, 1, via, 10, 2, mac,
                    )
                )  # fmt: skip
                layout = NEXTHOP[size]
                nexthops.append(
                    layout.pack(
                        layout.size, NEW_NEXTHOP, make, 0, 0, FAMILY[size], 0, PROTOCOL, 0, ONLINK,
                        8, 1, number, 8, 5, device, size + 4, 6, gateway,
                    )
                )  # fmt: skip
                layout = ROUTE[size]
                routes.append(
                    layout.pack(
                        layout.size, NEW_ROUTE, make, 0, 0,
                        FAMILY[size], cidr.length, 0, 0, MAIN_TABLE, PROTOCOL, 0, UNICAST, 0,
                        size + 4, 1, base, 8, 6, METRIC[size], size + 4, 7, sources[size], 8, 30, number,
                    )
                )  # fmt: skip
        for pool in (*pools, *own.pod_cidrs):
            base = base_of(pool)
            layout = GUARD[len(base)]
            routes.append(
                layout.pack(
                    layout.size, NEW_ROUTE, make, 0, 0,
                    FAMILY[len(base)], pool.length, 0, 0, MAIN_TABLE, PROTOCOL, 0, UNREACHABLE, 0,
                    len(base) + 4, 1, base, 8, 6, GUARD_METRIC,
                )
            )  # fmt: skip
        return [*fdb, *neighbours, *nexthops, *routes]

    def _send(self, messages: Sequence[bytes]) -> None:
        chunk = bytearray(b"".join(messages))
        flags = len(chunk) - len(messages[-1]) + 6
        struct.pack_into("=H", chunk, flags, struct.unpack_from("=H", chunk, flags)[0] | ACK)
        self._socket.send(chunk)
        self._socket.recv_into(self._buffer)  # a failure answers before the last message's ACK does
        self._check(0)

    def _check(self, offset: int) -> None:
        (code,) = struct.unpack_from("=i", self._buffer, offset + 16)
        if code:
            raise OSError(-code, os.strerror(-code))

    # --- listing ----------------------------------------------------------------------------------

    def listing(self) -> Listing:
        """All that is there and ours."""
        found = Listing({}, {}, {}, {})
        vtep = self._place.vtep
        for offset, values in self._dump(GET_NEIGHBOUR, struct.pack("=BxxxiHBB", BRIDGE, vtep, 0, 0, 0), 12):
            if self._buffer[offset + 10] & SELF:
                found.fdb[values[2]] = values[1]
        only = struct.pack("=BxxxiHBB HHi", 0, 0, 0, 0, 0, 8, 8, vtep)
        for offset, values in self._dump(GET_NEIGHBOUR, only, 12):
            if self._buffer[offset + 8] & PERMANENT:
                found.neighbours[values[1]] = values[2]
        for offset, values in self._dump(GET_NEXTHOP, bytes(8), 8):
            if self._buffer[offset + 2] == PROTOCOL:
                found.nexthops[number_of(values[1])] = (values[6], number_of(values[5]))
        for family in (V4, V6):
            for offset, values in self._dump(
                GET_ROUTE, struct.pack("=BBBBBBBBI", family, 0, 0, 0, MAIN_TABLE, PROTOCOL, 0, 0, 0), 12
            ):
                metric = number_of(values[6]) if 6 in values else 0
                number = number_of(values[30]) if 30 in values else 0
                found.routes[values[1], self._buffer[offset + 1], metric] = (number, values.get(7, b""))
        return found

    def _dump(self, kind: int, body: bytes, fixed: int) -> Iterator[tuple[int, dict[int, bytes]]]:
        """Each message: where its fixed part begins in the buffer, and its attributes."""
        self._socket.send(HEADER.pack(16 + len(body), kind, REQUEST | DUMP, 1, 0) + body)
        buffer = self._buffer
        while True:
            size = self._socket.recv_into(buffer)
            offset = 0
            while offset < size:
                length, answer, _, _, _ = HEADER.unpack_from(buffer, offset)
                if answer == DONE:
                    return
                if answer == ERROR:
                    self._check(offset)
                values: dict[int, bytes] = {}
                at, end = offset + 16 + fixed, offset + length
                while at < end:
                    step, attribute = HEAD.unpack_from(buffer, at)
                    values[attribute & 0x3FFF] = bytes(buffer[at + 4 : at + step])
                    at += (step + 3) & ~3
                yield offset + 16, values
                offset += (length + 3) & ~3


def base_of(cidr: Cidr) -> bytes:
    """Its first address."""
    return cidr.base.to_bytes(4 if cidr.family == "ipv4" else 16, "big")


def id_of(cidr: Cidr) -> int:
    """The id of its nexthop, as the agent counts them."""
    bits = 32 if cidr.family == "ipv4" else 128
    number = (cidr.base >> (bits - cidr.length)) * 2 + (cidr.family == "ipv6")
    return FIRST_ID + number % FIRST_ID


def number_of(payload: bytes) -> int:
    """A u32."""
    number: int = struct.unpack("=I", payload)[0]
    return number

"""rtnetlink on the wire: numbers, and messages to bytes and back.

A message is a header of 16 bytes, a fixed part by its type, and attributes (length, type, payload, padded to 4).
All in the machine's byte order, except addresses and ports. Names and numbers: linux/{netlink,rtnetlink,if_link}.h.
"""

from __future__ import annotations

import struct
from operator import itemgetter
from typing import Any, NamedTuple

NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_NEWNETCONF, RTM_DELNETCONF = 80, 81
RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106

REQUEST, ACK = 0x1, 0x4
DUMP = 0x300
DUMP_INTR = 0x10
REPLACE, EXCL, CREATE = 0x100, 0x200, 0x400

AF_UNSPEC, AF_INET, AF_BRIDGE, AF_INET6 = 0, 2, 7, 10
FAMILY = {4: AF_INET, 16: AF_INET6}
"""Address family by the length of an address."""
IFF_UP, IFF_RUNNING, IFF_LOWER_UP = 0x1, 0x40, 0x10000
SCOPE_GLOBAL, SCOPE_NOWHERE = 0, 255
KERNEL = 2
"""rtm_protocol of the routes that the kernel adds with addresses."""
UNICAST, UNREACHABLE = 1, 7

_PROTOCOLS = {
    2: "kernel", 3: "boot", 4: "static", 9: "ra", 11: "zebra", 12: "bird", 14: "xorp", 16: "dhcp", 18: "keepalived",
    42: "babel", 186: "bgp", 187: "isis", 188: "ospf", 189: "rip", 192: "eigrp",
}  # fmt: skip
"""Names of the protocol numbers of routes and nexthops, as in iproute2."""


def protocol_name(protocol: int) -> str:
    """Return the name that `ip` gives to a protocol number.

    >>> protocol_name(4), protocol_name(99)
    ('static', '99')
    """
    return _PROTOCOLS.get(protocol, str(protocol))


HEADER = struct.Struct("=IHHII")
"""Length, type, flags, sequence number, port id."""
FLAGS_OFFSET = 6
_ATTRIBUTE = struct.Struct("=HH")
_TYPE = 0x3FFF
"""An attribute's type without the flags for nesting and byte order."""


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def number(kind: int, value: int) -> bytes:
    """An attribute that is a u32."""
    return struct.pack("=HHI", 8, kind, value)


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """A request. `body` is the fixed part and the attributes."""
    return HEADER.pack(16 + len(body), kind, REQUEST | flags, sequence, 0) + body


def attributes(data: bytes | bytearray, start: int = 0, end: int | None = None) -> dict[int, bytes]:
    """The attributes between two offsets, by type, for rare messages. `Reader` is for thousands of messages."""
    found: dict[int, bytes] = {}
    end = len(data) if end is None else end
    while end - start >= 4:
        size, kind = _ATTRIBUTE.unpack_from(data, start)
        if size < 4:
            break
        found[kind & _TYPE] = bytes(data[start + 4 : start + size])
        start += (size + 3) & ~3
    return found


class _Shape(NamedTuple):
    """Positions of all fields in the messages of one length."""

    unpack: Any
    heads: Any
    expected: Any
    pick: Any


class Reader:
    """Picks a few attributes out of many messages of the same layout.

    The idea: parsing attributes one by one in Python takes longer than the kernel takes to make them. The messages of
    one length nearly always have the same attributes in the same order. So one message is parsed that way, and then
    one `struct` unpacks the next ones and compares the attributes' headers with those of the first.

    `fixed` is the struct format of the fixed part; `wanted` maps a type of attribute to "s" (bytes) or a format of
    one number. A call returns the fields of `fixed`, then the wanted attributes in order, b"" for a missing one.
    """

    def __init__(self, fixed: str, wanted: dict[int, str]) -> None:
        self._fixed = "=16x" + fixed
        self._wanted = wanted
        self._shapes: dict[int, _Shape] = {}

    def __call__(self, data: bytes | bytearray, offset: int, length: int) -> tuple[Any, ...]:
        shape = self._shapes.get(length)
        if shape is None or shape.heads(values := shape.unpack(data, offset)) != shape.expected:
            shape = self._shapes[length] = self._learn(data, offset, length)
            values = shape.unpack(data, offset)
        picked: tuple[Any, ...] = shape.pick(values)
        return picked

    def _learn(self, data: bytes | bytearray, offset: int, length: int) -> _Shape:
        layout = self._fixed
        fields = len(struct.unpack_from(layout, data, offset))
        picks = list(range(fields))
        heads: list[int] = []
        places: dict[int, int] = {}
        at, end = offset + struct.calcsize(layout), offset + length
        while end - at >= 4:
            size, kind = _ATTRIBUTE.unpack_from(data, at)
            payload, room = size - 4, min((size + 3) & ~3, end - at) - 4
            heads.append(fields)
            layout += "I"
            fields += 1
            form = self._wanted.get(kind & _TYPE)
            if form is None:
                layout += f"{room}x"
            else:
                layout += (f"{payload}s" if form == "s" else form) + f"{room - payload}x"
                places[kind & _TYPE] = fields
                fields += 1
            at += room + 4
        # The empty bytes at the end stand for every missing attribute.
        picks += [places.get(kind, fields) for kind in self._wanted]
        unpack = struct.Struct(layout + "0s").unpack_from
        get_heads = itemgetter(*heads, fields)
        return _Shape(unpack, get_heads, get_heads(unpack(data, offset)), itemgetter(*picks))

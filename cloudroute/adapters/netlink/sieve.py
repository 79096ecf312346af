"""A socket filter: the kernel checks the fixed part of each event, so that most never wake the agent.

A busy node has thousands of irrelevant events a minute: neighbours of pods that come and go, their links' routes, and
our own writes. A small BPF program, run where the event is made, drops these. So this is the one place where events are
filtered by their fixed part; `listen` parses the rest.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from collections.abc import Collection
from typing import NamedTuple

from cloudroute.adapters.netlink import wire
from cloudroute.dataplane import PROTOCOL

ALL_DEVICES = 0xFFFF_FFFF
"""Index in a netconf event of the setting for all devices (-1)."""

_WORD, _HALF, _BYTE = 0x20, 0x28, 0x30
_EQUAL, _ANY_BIT, _RETURN = 0x15, 0x45, 0x06
_DROP, _PASS = 0, 0xFFFF_FFFF
_HOST_ROUTE = int.from_bytes((wire.AF_INET6, 128, 0, 0), sys.byteorder)
"""First bytes of the message of a route to one IPv6 address: family, destination length, source length, TOS."""
_SO_ATTACH_FILTER = 26


class _Test(NamedTuple):
    """Compare the value at an offset of the message with each of some values."""

    load: int
    offset: int
    compare: int
    values: Collection[int]


class _Rule(NamedTuple):
    """Verdict on messages of these types when a test holds; the opposite when none does. () means any type."""

    types: tuple[int, ...]
    passes: bool
    tests: tuple[_Test, ...]


def attach(target: socket.socket, own_port: int, vteps: Collection[int], watched: Collection[int]) -> None:
    """Set the filter, in place of any before.

    `own_port` is the port id of our writes; `vteps` the indices of the existing VXLAN devices; `watched` the indices of
    our devices and the NIC.
    """
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in _program(_rules(own_port, vteps, watched)))
    memory = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(memory))
    target.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _rules(own_port: int, vteps: Collection[int], watched: Collection[int]) -> list[_Rule]:
    """Rules in order: the first rule for a type of message decides. A type without a rule passes."""
    own = (_Test(_WORD, 12, _EQUAL, (own_port,)),)
    return [
        # A bridge announces its ports. Our own writes of links pass: a new device has a new index to watch.
        _Rule((wire.RTM_NEWLINK, wire.RTM_DELLINK), False, (_Test(_BYTE, 16, _EQUAL, (wire.AF_BRIDGE,)),)),
        _Rule((), False, own),
        _Rule((wire.RTM_NEWNEIGH, wire.RTM_DELNEIGH), True, (_Test(_WORD, 20, _EQUAL, vteps),)),
        _Rule((wire.RTM_NEWADDR, wire.RTM_DELADDR), True, (_Test(_WORD, 20, _EQUAL, watched),)),
        _Rule((wire.RTM_NEWNETCONF, wire.RTM_DELNETCONF), True, (_Test(_WORD, 24, _EQUAL, (*watched, ALL_DEVICES)),)),
        _Rule(
            (wire.RTM_NEWROUTE, wire.RTM_DELROUTE),
            True,
            (
                _Test(_BYTE, 21, _EQUAL, (PROTOCOL,)),
                _Test(_BYTE, 17, _EQUAL, (0,)),  # a default route: length 0
                _Test(_WORD, 16, _EQUAL, (_HOST_ROUTE,)),  # the route may lead to a pod of the node
                _Test(_HALF, wire.FLAGS_OFFSET, _ANY_BIT, (wire.REPLACE,)),  # the route may replace ours
            ),
        ),
    ]


def _program(rules: list[_Rule]) -> list[tuple[int, int, int, int]]:
    """Instructions: code, jump if true, jump if false, value. Jumps are relative and stay inside a rule."""
    program: list[tuple[int, int, int, int]] = []
    for rule in rules:
        body: list[tuple[int, int, int, int]] = []
        for test in rule.tests:
            body.append((test.load, 0, 0, test.offset))
            for value in test.values:
                body += [(test.compare, 0, 1, _as_loaded(test.load, value)), (_RETURN, 0, 0, _verdict(rule.passes))]
        if rule.types:
            body.append((_RETURN, 0, 0, _verdict(not rule.passes)))
            first, second = (_as_loaded(_HALF, kind) for kind in rule.types)
            program += [(_HALF, 0, 0, 4), (_EQUAL, 1, 0, first), (_EQUAL, 0, len(body), second)]
        program += body
    return [*program, (_RETURN, 0, 0, _PASS)]


def _verdict(passes: bool) -> int:
    return _PASS if passes else _DROP


def _as_loaded(load: int, value: int) -> int:
    """The value as BPF loads it: in network order, whereas netlink writes in the machine's."""
    if load == _WORD:
        return socket.htonl(value)
    return socket.htons(value) if load == _HALF else value

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
    """Verdict on messages of these types when a test holds, and the opposite when none does.

    Without types: on any message when a test holds; else the next rule decides.
    """

    types: tuple[int, ...]
    verdict: int
    tests: tuple[_Test, ...]


class _Instruction(NamedTuple):
    """One instruction of BPF. Jumps are relative, and taken after a comparison alone."""

    code: int
    value: int
    if_true: int = 0
    if_false: int = 0

    def pack(self) -> bytes:
        return struct.pack("=HBBI", self.code, self.if_true, self.if_false, self.value)


def attach(target: socket.socket, own_port: int, vteps: Collection[int], watched: Collection[int]) -> None:
    """Set the filter, in place of any before.

    `own_port` is the port id of our writes; `vteps` the indices of the existing VXLAN devices; `watched` the indices of
    our devices and the NIC.
    """
    code = b"".join(instruction.pack() for instruction in _program(_rules(own_port, vteps, watched)))
    memory = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(memory))
    target.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _rules(own_port: int, vteps: Collection[int], watched: Collection[int]) -> list[_Rule]:
    """Rules in order: the first rule for a type of message decides. A type without a rule passes."""
    own = (_Test(_WORD, 12, _EQUAL, (own_port,)),)
    return [
        # A bridge announces its ports. Our own writes of links pass: a new device has a new index to watch.
        _Rule((wire.RTM_NEWLINK, wire.RTM_DELLINK), _DROP, (_Test(_BYTE, 16, _EQUAL, (wire.AF_BRIDGE,)),)),
        _Rule((), _DROP, own),
        _Rule((wire.RTM_NEWNEIGH, wire.RTM_DELNEIGH), _PASS, (_Test(_WORD, 20, _EQUAL, vteps),)),
        _Rule((wire.RTM_NEWADDR, wire.RTM_DELADDR), _PASS, (_Test(_WORD, 20, _EQUAL, watched),)),
        _Rule((wire.RTM_NEWNETCONF, wire.RTM_DELNETCONF), _PASS, (_Test(_WORD, 24, _EQUAL, (*watched, ALL_DEVICES)),)),
        _Rule(
            (wire.RTM_NEWROUTE, wire.RTM_DELROUTE),
            _PASS,
            (
                _Test(_BYTE, 21, _EQUAL, (PROTOCOL,)),
                _Test(_BYTE, 17, _EQUAL, (0,)),  # a default route: length 0
                _Test(_WORD, 16, _EQUAL, (_HOST_ROUTE,)),  # the route may lead to a pod of the node
                _Test(_HALF, wire.FLAGS_OFFSET, _ANY_BIT, (wire.REPLACE,)),  # the route may replace ours
            ),
        ),
    ]


def _program(rules: list[_Rule]) -> list[_Instruction]:
    """The rules as a program, whose jumps stay inside a rule."""
    program: list[_Instruction] = []
    for rule in rules:
        body: list[_Instruction] = []
        for test in rule.tests:
            body.append(_Instruction(test.load, test.offset))
            for value in test.values:
                body.append(_Instruction(test.compare, _as_loaded(test.load, value), if_false=1))
                body.append(_Instruction(_RETURN, rule.verdict))
        if rule.types:
            body.append(_Instruction(_RETURN, rule.verdict ^ _PASS))
            first, second = (_as_loaded(_HALF, kind) for kind in rule.types)
            program.append(_Instruction(_HALF, 4))
            program.append(_Instruction(_EQUAL, first, if_true=1))
            program.append(_Instruction(_EQUAL, second, if_false=len(body)))
        program += body
    return [*program, _Instruction(_RETURN, _PASS)]


def _as_loaded(load: int, value: int) -> int:
    """The value as BPF loads it: in network order, whereas netlink writes in the machine's."""
    if load == _WORD:
        return socket.htonl(value)
    return socket.htons(value) if load == _HALF else value

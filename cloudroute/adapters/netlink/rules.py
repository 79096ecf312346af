"""Our routing policy rules: those with our protocol number (FRA_PROTOCOL).

Without NLM_F_EXCL each write of a rule would add one more. With it, and for a deletion, the kernel compares the
protocol number too (net/core/fib_rules.c, rule_exists and rule_find): equal rules of other programs are neither in the
way nor removed. A rule with our protocol number and with conditions that ours have not is not ours. It is in the way
where the kernel leaves out of the comparison what the new rule lacks, as a source (fib4_rule_compare).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection, Mapping

from cloudroute.adapters.netlink import wire
from cloudroute.adapters.netlink.channel import Channel, Failure
from cloudroute.dataplane import PROTOCOL, Rule

FRA_DST, FRA_IIFNAME, FRA_PRIORITY, FRA_TABLE, FRA_PROTOCOL = 1, 3, 6, 15, 21
TO_TABLE = 1
"""Action of a rule that names a table (FR_ACT_TO_TBL)."""
_OTHERS = (2, 4, 10, 11, 12, 13, 16, 17, 19, 20, 22, 23, 24, 25)
"""FRA_: SRC, GOTO, FWMARK, FLOW, TUN_ID, SUPPRESS_IFGROUP, FWMASK, OIFNAME, L3MDEV, UID_RANGE, IP_PROTO, SPORT_RANGE,
DPORT_RANGE, DSCP: conditions that ours have none of."""
_INVERT = 0x2
_HEADER = struct.Struct("=BBBBBBBBI")
"""fib_rule_hdr: family, destination length, source length, TOS, table, reserved (2), action, flags."""
_SIZES = {family: size for size, family in wire.FAMILY.items()}


class Rules:
    """ports.KindDriver of `rules`."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def read(self, _wanted: Collection[Rule]) -> dict[Rule, None]:
        # All families at once: for one that this kernel is without there would be no answer but an error.
        found = self._channel.dump(wire.RTM_GETRULE, _HEADER.pack(wire.AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0), _read)
        return {rule: None for rule in found if rule is not None}

    def write(self, put: Mapping[Rule, None], drop: Collection[Rule]) -> dict[Rule, str]:
        failures = self._submit(wire.RTM_NEWRULE, wire.CREATE | wire.EXCL, put)
        there = self.read(()) if failures else {}
        failed = {rule: f"can't be set: {failure.words}" for rule, failure in failures.items() if rule not in there}
        failures = self._submit(wire.RTM_DELRULE, 0, drop)
        return failed | {
            rule: f"can't be removed: {failure.words}"
            for rule, failure in failures.items()
            if failure.errno not in (errno.ENOENT, errno.EAFNOSUPPORT)
        }

    def news(self, data: bytes) -> bool:
        """Whether an event is about a rule of ours."""
        return _read(data, 0, len(data)) is not None

    def _submit(self, kind: int, flags: int, rules: Collection[Rule]) -> dict[Rule, Failure]:
        def pack(first: int) -> list[bytes]:
            return [wire.message(kind, flags, number, _body(rule)) for number, rule in enumerate(rules, first)]

        return self._channel.submit(list(rules), pack)


def _body(rule: Rule) -> bytes:
    family = wire.FAMILY[len(rule.destination)]
    return (
        _HEADER.pack(family, rule.length, 0, 0, rule.table, 0, 0, TO_TABLE, 0)
        + wire.attribute(FRA_DST, rule.destination)
        + wire.attribute(FRA_IIFNAME, rule.interface.encode() + b"\0")
        + wire.number(FRA_PRIORITY, rule.priority)
        + wire.attribute(FRA_PROTOCOL, bytes((PROTOCOL,)))
    )


def _read(data: bytes | bytearray, offset: int, length: int) -> Rule | None:
    """The rule of ours in a message; None for any other one."""
    family, bits, _, tos, _, _, _, action, flags = _HEADER.unpack_from(data, offset + 16)
    found = wire.attributes(data, offset + 28, offset + length)
    if found.get(FRA_PROTOCOL) != bytes((PROTOCOL,)) or family not in _SIZES or action != TO_TABLE:
        return None
    if tos or flags & _INVERT or any(kind in found for kind in _OTHERS):
        return None
    return Rule(
        _number(found.get(FRA_PRIORITY, b"")),
        found.get(FRA_IIFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        found.get(FRA_DST, bytes(_SIZES[family])),
        bits,
        _number(found.get(FRA_TABLE, b"")),
    )


def _number(payload: bytes) -> int:
    return int(struct.unpack("=I", payload)[0]) if payload else 0

"""Our routes in the main table and in a gateway's transit table: those with our protocol number.

The kernel looks a route up by destination and metric (and type of service, which we leave at 0), and NLM_F_REPLACE
replaces the first route that it finds there, whoever made it: with IPv6 the first that is no multipath candidate, or
else the first of all. So a route is first created exclusively (NLM_F_EXCL). If one exists already, all routes with the
same key are read, and they are replaced only if they are ours.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from cloudroute.adapters.netlink import wire
from cloudroute.adapters.netlink.channel import Channel, Failure
from cloudroute.adapters.netlink.devices import Devices
from cloudroute.dataplane import MAIN, PROTOCOL, TRANSIT_TABLE, Route, RouteKey, written

HEADER = struct.Struct("=BBBBBBBBI")
"""rtmsg: family, destination length, source length, TOS, table, protocol, scope, type, flags."""
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH, RTA_NH_ID = 1, 4, 5, 6, 7, 9, 30
OTHER = Route(0, b"other")
"""Value of a route of ours that is neither `unreachable` nor by a nexthop object: equal to no wanted one."""

_ROUTE = {size: struct.Struct(f"=IHHII BBBBBBBBI HH{size}s HHI HH{size}s HHI") for size in (4, 16)}


class _Occupant(NamedTuple):
    """An existing route with the key of a route of ours."""

    protocol: int
    device: int
    gateway: bytes


class Routes:
    """ports.KindDriver of `routes`."""

    def __init__(self, channel: Channel, devices: Devices) -> None:
        self._channel = channel
        self._devices = devices
        self._ours: set[RouteKey] = set()
        """Keys of our routes as last read or written: a foreign route with such a key has replaced ours."""
        wanted = {RTA_DST: "s", RTA_PRIORITY: "I", RTA_PREFSRC: "s", RTA_NH_ID: "I"}
        self._read = wire.Reader("xBxBBBxB4x", wanted)  # length, TOS, table, protocol, type
        self._read_occupants = wire.Reader(
            "xBxBxBxB4x", {RTA_DST: "s", RTA_PRIORITY: "I", RTA_OIF: "I", RTA_GATEWAY: "s"}
        )

    def read(self, _wanted: Collection[RouteKey]) -> dict[RouteKey, Route]:
        found: dict[RouteKey, Route] = {}
        for size, family in wire.FAMILY.items():
            # Of all tables at once: for a transit table that does not exist there would be no answer but an error.
            body = HEADER.pack(family, 0, 0, 0, 0, PROTOCOL, 0, 0, 0)
            for length, tos, table, _, kind, destination, metric, source, nexthop in self._channel.dump(
                wire.RTM_GETROUTE, body, self._read
            ):
                if tos or table not in (MAIN, TRANSIT_TABLE):
                    continue  # another key, which a write without TOS does not reach, or another program's table
                key = RouteKey(destination or bytes(size), length, metric or 0, table)
                if key in found:  # a second route with this key, appended: only one can be wanted
                    found[key] = OTHER
                elif nexthop and kind == wire.UNICAST:
                    found[key] = Route(nexthop, source)
                elif kind == wire.UNREACHABLE:
                    found[key] = Route(0, source)
                else:
                    found[key] = OTHER
        self._ours = set(found)
        return found

    def write(self, put: Mapping[RouteKey, Route], drop: Collection[RouteKey]) -> dict[RouteKey, str]:
        failed: dict[RouteKey, str] = {}
        failures = self._put(
            {key: route for key, route in put.items() if key not in self._ours}, wire.CREATE | wire.EXCL
        )
        taken = [key for key in put if key in self._ours or (key in failures and failures[key].errno == errno.EEXIST)]
        if taken:
            there = self._occupants(taken)
            failed.update((key, words) for key in taken if (words := self._clash(there.get(key, []))))
            mine = {key: put[key] for key in taken if key not in failed}
            # REPLACE would leave the others of several routes of ours with one key.
            self._delete([key for key in mine for _ in there.get(key, [])[1:]])
            failures = {key: failure for key, failure in failures.items() if failure.errno != errno.EEXIST}
            failures.update(self._put(mine, wire.CREATE | wire.REPLACE))
        failed.update((key, f"can't be set: {failure.words}") for key, failure in failures.items())
        self._ours.update(key for key in put if key not in failed)
        failures = self._delete(list(drop))
        for key, failure in failures.items():
            if failure.errno != errno.ESRCH:
                failed[key] = f"can't be removed: {failure.words}"
        self._ours.difference_update(key for key in drop if key not in failed)
        return failed

    def news(self, data: bytes) -> bool:
        """Whether an event is about a route of ours: by its protocol, or because the route has replaced ours."""
        length, _, table, protocol, _, destination, metric, _, _ = self._read(data, 0, len(data))
        return protocol == PROTOCOL or RouteKey(destination, length, metric or 0, table) in self._ours

    # --- messages ---------------------------------------------------------------------------------

    def _put(self, put: Mapping[RouteKey, Route], flags: int) -> dict[RouteKey, Failure]:
        flags |= wire.REQUEST

        def pack(first: int) -> list[bytes]:
            return [
                _ROUTE[len(source)].pack(
                    _ROUTE[len(source)].size, wire.RTM_NEWROUTE, flags, number, 0,
                    wire.FAMILY[len(source)], length, 0, 0, table, PROTOCOL, 0, wire.UNICAST, 0,
                    len(source) + 4, RTA_DST, destination, 8, RTA_PRIORITY, metric,
                    len(source) + 4, RTA_PREFSRC, source, 8, RTA_NH_ID, nexthop,
                )
                if nexthop and source
                else _unusual(key, nexthop, flags, number)
                for number, (key, (nexthop, source)) in enumerate(put.items(), first)
                for destination, length, metric, table in (key,)
            ]  # fmt: skip

        return self._channel.submit(list(put), pack)

    def _delete(self, keys: list[RouteKey]) -> dict[RouteKey, Failure]:
        """Remove only routes with our protocol number, even if others have the same key."""
        return self._channel.submit(
            keys,
            lambda first: [
                wire.message(
                    wire.RTM_DELROUTE,
                    0,
                    number,
                    HEADER.pack(
                        wire.FAMILY[len(key.destination)], key.length, 0, 0,
                        key.table, PROTOCOL, wire.SCOPE_NOWHERE, 0, 0,
                    )
                    + wire.attribute(RTA_DST, key.destination)
                    + wire.number(RTA_PRIORITY, key.metric),
                )
                for number, key in enumerate(keys, first)
            ],
        )  # fmt: skip

    # --- clashes ----------------------------------------------------------------------------------

    def _occupants(self, keys: Iterable[RouteKey]) -> dict[RouteKey, list[_Occupant]]:
        """Existing routes with these keys, in the kernel's order."""
        asked = set(keys)
        there: dict[RouteKey, list[_Occupant]] = {}
        for size, table in {(len(key.destination), key.table) for key in asked}:
            body = HEADER.pack(wire.FAMILY[size], 0, 0, 0, table, 0, 0, 0, 0)
            for length, tos, protocol, _, destination, metric, device, gateway in self._channel.dump(
                wire.RTM_GETROUTE, body, self._read_occupants
            ):
                key = RouteKey(destination or bytes(size), length, metric or 0, table)
                if key in asked and not tos:
                    there.setdefault(key, []).append(_Occupant(protocol, device or 0, gateway))
        return there

    def _clash(self, there: Iterable[_Occupant]) -> str:
        """The foreign route among these and its owner, in words; "" when all are ours."""
        for protocol, device, gateway in there:
            if protocol != PROTOCOL:
                words = led_by(self._devices.name(device), protocol, gateway)
                return f"is already routed{words}: remove that route, or stop what makes it"
        return ""


def led_by(device: str, protocol: int, gateway: bytes) -> str:
    """Target and owner of another program's route, as the end of a sentence."""
    via = f" via {written(gateway)}" if gateway else ""
    dev = f" dev {device}" if device else ""
    return f"{via}{dev} by another program (protocol {wire.protocol_name(protocol)})"


def _unusual(key: RouteKey, nexthop: int, flags: int, number: int) -> bytes:
    """Pack a route that is `unreachable`, or that leaves the source address to the kernel."""
    kind = wire.UNICAST if nexthop else wire.UNREACHABLE
    family = wire.FAMILY[len(key.destination)]
    body = HEADER.pack(family, key.length, 0, 0, key.table, PROTOCOL, 0, kind, 0)
    body += wire.attribute(RTA_DST, key.destination) + wire.number(RTA_PRIORITY, key.metric)
    body += wire.number(RTA_NH_ID, nexthop) if nexthop else b""
    return wire.message(wire.RTM_NEWROUTE, flags & ~wire.REQUEST, number, body)

"""Nexthop objects: one per peer and family, so that a change of path replaces one nexthop and no route.

Ours are those with our protocol number. An id that another program uses is never written.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection, Mapping
from typing import Any

from cloudroute.adapters.netlink import wire
from cloudroute.adapters.netlink.channel import Channel, Failure
from cloudroute.adapters.netlink.devices import Devices
from cloudroute.adapters.netlink.wire import protocol_name
from cloudroute.dataplane import PROTOCOL, TAKEN, Nexthop, written

NHA_ID, NHA_OIF, NHA_GATEWAY, NHA_ENCAP_TYPE = 1, 5, 6, 7
ONLINK = 4
OTHER = Nexthop(b"", "")
"""Value of a nexthop of ours that is not `via gateway dev device onlink`: equal to no wanted one."""

_HEADER = struct.Struct("=BBBBI")
"""nhmsg: family, scope, protocol, reserved, flags."""
_NEXTHOP = {size: struct.Struct(f"=IHHII BBBBI HHI HHI HH{size}s") for size in (4, 16)}
_KEY = struct.Struct("=IHHII BBBBI HHI")
_EVENT_ID = struct.Struct("=HHI")


class Nexthops:
    """ports.KindDriver of `nexthops`."""

    def __init__(self, channel: Channel, devices: Devices) -> None:
        self._channel = channel
        self._devices = devices
        self._ours: set[int] = set()
        """Ids of our nexthops as last read or written: these may be replaced."""
        wanted = {NHA_ID: "I", NHA_OIF: "I", NHA_GATEWAY: "s", NHA_ENCAP_TYPE: "s"}
        self._read = wire.Reader("xxBxI", wanted)  # protocol, flags

    def read(self, _wanted: Collection[int]) -> dict[int, Nexthop]:
        names: dict[int, str] = {}
        found: dict[int, Nexthop] = {}
        for protocol, flags, number, device, gateway, encapsulation in self._dump():
            if protocol != PROTOCOL:
                continue
            if gateway and device and flags & ONLINK and not encapsulation:
                if device not in names:
                    names[device] = self._devices.name(device)
                found[number] = Nexthop(gateway, names[device])
            else:
                found[number] = OTHER
        self._ours = set(found)
        return found

    def write(self, put: Mapping[int, Nexthop], drop: Collection[int]) -> dict[int, str]:
        indices = {device: self._devices.index(device) for device in {nexthop.device for nexthop in put.values()}}
        failed: dict[int, str] = {}
        known: dict[int, Nexthop] = {}
        fresh: dict[int, Nexthop] = {}
        for key, nexthop in put.items():
            if not indices[nexthop.device]:
                failed[key] = f"can't be set: there is no network interface {nexthop.device}"
            elif key in self._ours:
                known[key] = nexthop
            else:
                fresh[key] = nexthop
        failures = self._put(known, indices, wire.CREATE | wire.REPLACE)
        failures.update(self._put(fresh, indices, wire.CREATE | wire.EXCL))
        taken = {key: fresh[key] for key, failure in failures.items() if failure.errno == errno.EEXIST}
        if taken:
            failed.update(self._foreign(taken))
            mine = {key: nexthop for key, nexthop in taken.items() if key not in failed}
            failures = {key: failure for key, failure in failures.items() if key not in taken}
            failures.update(self._put(mine, indices, wire.CREATE | wire.REPLACE))
        for key, failure in failures.items():
            way = f"via {written(put[key].gateway)} dev {put[key].device}"
            failed[key] = f"can't be set {way}: {failure.words}"
        self._ours.update(key for key in put if key not in failed)
        failed.update(self._drop(drop))
        return failed

    def news(self, data: bytes) -> bool:
        """Whether an event is about a nexthop of ours: by its protocol, or because the nexthop has replaced ours."""
        _, _, protocol, _, _ = _HEADER.unpack_from(data, 16)
        _, _, number = _EVENT_ID.unpack_from(data, 24)
        return bool(protocol == PROTOCOL or number in self._ours)

    def _dump(self) -> list[tuple[Any, ...]]:
        body = _HEADER.pack(wire.AF_UNSPEC, 0, 0, 0, 0)
        return self._channel.dump(wire.RTM_GETNEXTHOP, body, self._read)

    def _put(self, put: Mapping[int, Nexthop], indices: Mapping[str, int], flags: int) -> dict[int, Failure]:
        flags |= wire.REQUEST
        return self._channel.submit(
            list(put),
            lambda first: [
                _NEXTHOP[size].pack(
                    _NEXTHOP[size].size, wire.RTM_NEWNEXTHOP, flags, number, 0,
                    wire.FAMILY[size], 0, PROTOCOL, 0, ONLINK,
                    8, NHA_ID, key, 8, NHA_OIF, indices[device], size + 4, NHA_GATEWAY, gateway,
                )
                for number, (key, (gateway, device)) in enumerate(put.items(), first)
                for size in (len(gateway),)
            ],
        )  # fmt: skip

    def _foreign(self, taken: Collection[int]) -> dict[int, str]:
        """Ids among these that other programs use, each with its owner in words."""
        found = {entry[2]: entry[0] for entry in self._dump()}
        return {
            key: f"{TAKEN} by another program (protocol {protocol_name(found[key])}): "
            f"remove it (ip nexthop delete id {key})"
            for key in taken
            if found.get(key, PROTOCOL) != PROTOCOL
        }

    def _drop(self, drop: Collection[int]) -> dict[int, str]:
        if not self._ours.issuperset(drop):
            self.read(())
        keys = [key for key in drop if key in self._ours]
        failures = self._channel.submit(
            keys,
            lambda first: [
                _KEY.pack(
                    _KEY.size, wire.RTM_DELNEXTHOP, wire.REQUEST, number, 0, wire.AF_UNSPEC, 0, 0, 0, 0, 8, NHA_ID, key
                )
                for number, key in enumerate(keys, first)
            ],
        )
        failed = {
            key: f"can't be removed: {failure.words}"
            for key, failure in failures.items()
            if failure.errno != errno.ENOENT
        }
        self._ours.difference_update(key for key in keys if key not in failed)
        return failed

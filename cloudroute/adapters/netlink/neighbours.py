"""Neighbours and FDB entries of a VXLAN device: the MAC of a peer's VTEP, and the node behind a MAC.

Both are the same message. The device is ours, so every permanent neighbour and every FDB entry on it is ours too.
Events of FDB entries do not carry the port id of the writer, even for our own writes. So `Fdb` remembers its entries,
and reads an entry again when an event shows it different. Only a difference that remains counts as a foreign change.
"""

from __future__ import annotations

import errno
import struct
import threading
from collections.abc import Collection, Mapping
from typing import Any

from cloudroute.adapters.netlink import wire
from cloudroute.adapters.netlink.channel import Channel
from cloudroute.adapters.netlink.devices import Devices
from cloudroute.dataplane import mac_text, written
from cloudroute.errors import KernelError

HEADER = struct.Struct("=BxxxiHBB")
"""ndmsg: family, index, state, flags, type."""
NDA_DST, NDA_LLADDR, NDA_PORT, NDA_VNI, NDA_IFINDEX, NDA_NH_ID = 1, 2, 6, 7, 8, 13
NUD_FAILED, NUD_NOARP, NUD_PERMANENT = 0x20, 0x40, 0x80
NTF_SELF = 0x02
_PUT = wire.CREATE | wire.REPLACE
_GONE = (errno.ENOENT, errno.ESRCH, errno.ENODEV)

_NEIGHBOUR = {size: struct.Struct(f"=IHHII BxxxiHBB HH{size}s HH6s2x") for size in (4, 16)}
_NEIGHBOUR_KEY = {size: struct.Struct(f"=IHHII BxxxiHBB HH{size}s") for size in (4, 16)}
_ENTRY = {size: struct.Struct(f"=IHHII BxxxiHBB HH6s2x HH{size}s") for size in (4, 16)}
_ENTRY_KEY = struct.Struct("=IHHII BxxxiHBB HH6s2x")


class Neighbours:
    """ports.KindDriver of `dataplane.Neighbours` on the VXLAN device `name`."""

    def __init__(self, channel: Channel, devices: Devices, name: str) -> None:
        self._channel = channel
        self._devices = devices
        self._name = name
        self._read = wire.Reader("8xHxx", {NDA_DST: "s", NDA_LLADDR: "s"})  # state

    def read(self, _wanted: Collection[bytes]) -> dict[bytes, bytes]:
        if not (index := self._devices.own_index(self._name)):
            return {}
        body = HEADER.pack(wire.AF_UNSPEC, 0, 0, 0, 0) + wire.number(NDA_IFINDEX, index)
        return {
            address: mac
            for state, address, mac in self._channel.dump(wire.RTM_GETNEIGH, body, self._read)
            if state & NUD_PERMANENT
        }

    def write(self, put: Mapping[bytes, bytes], drop: Collection[bytes]) -> dict[bytes, str]:
        index = _vtep(self._devices, self._name, put)
        failures = self._channel.submit(list(put), lambda first: _pack_neighbours(index, put, first))
        failed = {
            key: f"can't be set to {mac_text(put[key])} on {self._name}: {failure.words}"
            for key, failure in failures.items()
        }
        failures = self._channel.submit(list(drop) if index else [], lambda first: _pack_keys(index, drop, first))
        failed.update(
            (key, f"can't be removed from {self._name}: {failure.words}")
            for key, failure in failures.items()
            if failure.errno not in _GONE
        )
        return failed

    def news(self, data: bytes, *, added: bool) -> bool:
        """Whether an event is more than the kernel's own housekeeping (multicast, garbage collection)."""
        _, _, state, _, _ = HEADER.unpack_from(data, 16)
        # NOARP is multicast. A deletion in state FAILED is the garbage collection of an entry whose removal was
        # announced before.
        return bool(state != NUD_NOARP and (added or state != NUD_FAILED))


class Fdb:
    """ports.KindDriver of `dataplane.Fdb` on the VXLAN device `name`.

    An entry that is not just "MAC behind node" reads as b"".
    """

    def __init__(self, channel: Channel, devices: Devices, name: str) -> None:
        self._channel = channel
        self._devices = devices
        self._name = name
        self._lock = threading.Lock()
        """Held during a write: `news` must compare with the entries that the write leaves."""
        self._left: dict[bytes, bytes] | None = None
        """Entries as last read or written; None while a read is under way."""
        others = (NDA_PORT, NDA_VNI, NDA_IFINDEX, NDA_NH_ID)
        self._read = wire.Reader("4xiHBx", dict.fromkeys((NDA_LLADDR, NDA_DST, *others), "s"))  # index, state, flags

    def read(self, _wanted: Collection[bytes]) -> dict[bytes, bytes]:
        if not (index := self._devices.own_index(self._name)):
            return {}
        self._left = None
        body = HEADER.pack(wire.AF_BRIDGE, index, 0, 0, 0)
        found: dict[bytes, bytes] = {}
        for fields in self._channel.dump(wire.RTM_GETNEIGH, body, self._read):
            if fields[2] & NTF_SELF:
                mac = fields[3]
                # A second destination of one MAC: the kernel would send a copy to each.
                found[mac] = _destination(fields) if mac not in found else b""
        self._left = dict(found)
        return found

    def write(self, put: Mapping[bytes, bytes], drop: Collection[bytes]) -> dict[bytes, str]:
        index = _vtep(self._devices, self._name, put)
        with self._lock:
            if self._left is not None:
                self._left.update(put)
                for mac in drop:
                    self._left.pop(mac, None)
            failed = self._write(index, put, drop)
            if failed:
                self._left = None
        return failed

    def news(self, data: bytes, *, added: bool) -> bool:
        """Whether an event shows an entry that differs from the one that we last read or wrote."""
        fields = self._read(data, 0, len(data))
        mac = fields[3]
        left = self._left
        if not fields[2] & NTF_SELF:
            return False
        if left is None or left.get(mac) == (_destination(fields) if added else None):
            return left is None
        with self._lock:  # the event may be of our own write before the last one
            body = HEADER.pack(wire.AF_BRIDGE, fields[0], 0, NTF_SELF, 0) + wire.attribute(NDA_LLADDR, mac)
            now = self._channel.get(wire.RTM_GETNEIGH, body, self._read)
            return self._left is None or self._left.get(mac) != (_destination(now) if now is not None else None)

    def _write(self, index: int, put: Mapping[bytes, bytes], drop: Collection[bytes]) -> dict[bytes, str]:
        failures = self._channel.submit(list(put), lambda first: _pack_entries(index, put, first))
        failed = {
            mac: f"can't be set to {written(put[mac])} on {self._name}: {failure.words}"
            for mac, failure in failures.items()
        }
        failures = self._channel.submit(list(drop) if index else [], lambda first: _pack_macs(index, drop, first))
        failed.update(
            (mac, f"can't be removed from {self._name}: {failure.words}")
            for mac, failure in failures.items()
            if failure.errno not in _GONE
        )
        return failed


def _destination(fields: tuple[Any, ...]) -> bytes:
    """The node's address; b"" where an entry would age, or has other attributes."""
    _, state, _, _, node, *others = fields
    lasting = state & (NUD_PERMANENT | NUD_NOARP)
    return node if lasting and not any(others) else b""


def _vtep(devices: Devices, name: str, put: Mapping[bytes, bytes]) -> int:
    """The index of the VXLAN device; 0 when there is none and nothing to put."""
    index = devices.own_index(name)
    if put and not index:
        raise KernelError(f"there is no VXLAN device {name} of ours to hold the entries of the peers' VTEPs")
    return index


# One call of a prepared struct per message: there are thousands of peers, and Python takes most of the time here.


def _pack_neighbours(index: int, put: Mapping[bytes, bytes], first: int) -> list[bytes]:
    pack = {size: layout.pack for size, layout in _NEIGHBOUR.items()}
    size_of = {size: layout.size for size, layout in _NEIGHBOUR.items()}
    flags = wire.REQUEST | _PUT
    return [
        pack[size](
            size_of[size], wire.RTM_NEWNEIGH, flags, number, 0,
            wire.FAMILY[size], index, NUD_PERMANENT, 0, 0, size + 4, NDA_DST, address, 10, NDA_LLADDR, mac,
        )
        for number, (address, mac) in enumerate(put.items(), first)
        for size in (len(address),)
    ]  # fmt: skip


def _pack_keys(index: int, drop: Collection[bytes], first: int) -> list[bytes]:
    return [
        _NEIGHBOUR_KEY[size].pack(
            _NEIGHBOUR_KEY[size].size, wire.RTM_DELNEIGH, wire.REQUEST, number, 0,
            wire.FAMILY[size], index, 0, 0, 0, size + 4, NDA_DST, address,
        )
        for number, address in enumerate(drop, first)
        for size in (len(address),)
    ]  # fmt: skip


def _pack_entries(index: int, put: Mapping[bytes, bytes], first: int) -> list[bytes]:
    state = NUD_PERMANENT | NUD_NOARP
    return [
        _ENTRY[size].pack(
            _ENTRY[size].size, wire.RTM_NEWNEIGH, wire.REQUEST | _PUT, number, 0,
            wire.AF_BRIDGE, index, state, NTF_SELF, 0, 10, NDA_LLADDR, mac, size + 4, NDA_DST, node,
        )
        for number, (mac, node) in enumerate(put.items(), first)
        for size in (len(node),)
    ]  # fmt: skip


def _pack_macs(index: int, drop: Collection[bytes], first: int) -> list[bytes]:
    return [
        _ENTRY_KEY.pack(
            _ENTRY_KEY.size, wire.RTM_DELNEIGH, wire.REQUEST, number, 0,
            wire.AF_BRIDGE, index, 0, NTF_SELF, 0, 10, NDA_LLADDR, mac,
        )
        for number, mac in enumerate(drop, first)
    ]  # fmt: skip

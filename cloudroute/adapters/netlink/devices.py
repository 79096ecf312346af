"""Devices by name or index: their properties, and whether they are ours.

Ours are the VXLAN devices, by name and kind. A device with such a name and another kind is foreign: nothing on it is
read as ours, and nothing on it is written.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from typing import NamedTuple

from cloudroute.adapters.netlink import wire
from cloudroute.adapters.netlink.channel import Channel
from cloudroute.dataplane import TUNNELS, Link, Vxlan

OWN: Mapping[str, str] = dict.fromkeys(TUNNELS, "vxlan")
"""The names of our devices and their kinds."""

LINK_HEADER = struct.Struct("=BxHiII")
"""ifinfomsg: family, hardware type, index, flags, mask of changed flags."""
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_EXT_MASK, IFLA_LINK_NETNSID = 1, 3, 4, 18, 29, 37
IFLA_AF_SPEC, IFLA_INET6_ADDR_GEN_MODE, MODE_NONE = 26, 8, b"\1"
INFO_KIND, INFO_DATA = 1, 2
VXLAN_ID, VXLAN_LINK, VXLAN_LOCAL, VXLAN_LEARNING, VXLAN_PORT, VXLAN_LOCAL6 = 1, 3, 4, 7, 15, 17
_OTHER = (2, 16, 25)
"""Default destination (IPv4, IPv6), external control: attributes that no tunnel of ours has."""
_OTHER_FLAGS = (23, 27)
"""Group policy, generic protocol: likewise, and without a payload."""
_SKIP_STATISTICS = 8
STATE = wire.IFF_UP | wire.IFF_RUNNING | wire.IFF_LOWER_UP
"""Flags of a device that is up and has a carrier: without them the kernel drops its nexthops and accepts none."""


class Device(NamedTuple):
    """A device in the kernel."""

    ifindex: int
    name: str
    link: Link
    parent: int = 0
    """The index of a VXLAN device's NIC; `link.vxlan.parent` is its name, except in `Devices.all`."""
    tunnel: tuple[int, int] = (0, 0)
    """VNI and port of any VXLAN device, also of one that learns."""
    state: int = 0
    """Flags in `STATE` that are set."""

    @property
    def ours(self) -> bool:
        """Whether the device is ours, by name and kind."""
        return OWN.get(self.name) == self.link.kind


class Devices:
    """Devices of the channel's network namespace. Raises KernelError when the kernel can't be asked."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def named(self, name: str) -> Device | None:
        """The device of that name, or None."""
        if not 0 < len(name.encode()) < 16:
            return None
        return self._get(0, wire.attribute(IFLA_IFNAME, name.encode() + b"\0"))

    def at(self, index: int) -> Device | None:
        """The device with that index, or None."""
        return self._get(index, b"") if index else None

    def all(self, kind: str = "") -> list[Device]:
        """All devices, or all of a kind."""
        body = LINK_HEADER.pack(wire.AF_UNSPEC, 0, 0, 0, 0) + wire.number(IFLA_EXT_MASK, _SKIP_STATISTICS)
        if kind:
            body += wire.attribute(IFLA_LINKINFO, wire.attribute(INFO_KIND, kind.encode()))
        found = self._channel.dump(wire.RTM_GETLINK, body, _read)
        # A kernel whose module for that kind is not loaded yet answers with all devices.
        return [device for device in found if kind in ("", device.link.kind)]

    def own_index(self, name: str) -> int:
        """The index of our device of that name; 0 when there is none, or it is not ours."""
        device = self.named(name)
        return device.ifindex if device is not None and device.ours else 0

    def index(self, name: str) -> int:
        """The index of the device for an entry of ours; 0 when there is none, or a foreign one has our name."""
        if name in OWN:
            return self.own_index(name)
        device = self.named(name)
        return device.ifindex if device is not None else 0

    def name(self, index: int) -> str:
        """The name of the device with that index; "" when there is none."""
        device = self.at(index)
        return device.name if device is not None else ""

    def _get(self, index: int, selector: bytes) -> Device | None:
        found = self._ask(index, selector)
        if found is None or found.link.vxlan is None or not found.parent:
            return found
        parent = self._ask(found.parent, b"")
        if parent is None:
            return found
        return found._replace(link=found.link._replace(vxlan=found.link.vxlan._replace(parent=parent.name)))

    def _ask(self, index: int, selector: bytes) -> Device | None:
        body = LINK_HEADER.pack(wire.AF_UNSPEC, 0, index, 0, 0) + selector
        return self._channel.get(wire.RTM_GETLINK, body + wire.number(IFLA_EXT_MASK, _SKIP_STATISTICS), _read)


def _read(data: bytes | bytearray, offset: int, length: int) -> Device:
    _, _, index, flags, _ = LINK_HEADER.unpack_from(data, offset + 16)
    found = wire.attributes(data, offset + 32, offset + length)
    info = wire.attributes(found.get(IFLA_LINKINFO, b""))
    kind = _text(info.get(INFO_KIND, b""))
    details = wire.attributes(info.get(INFO_DATA, b"")) if kind == "vxlan" else {}
    tunnel = (_number(details.get(VXLAN_ID, b"")), int.from_bytes(details.get(VXLAN_PORT, b""), "big"))
    parent = 0 if IFLA_LINK_NETNSID in found else _number(details.get(VXLAN_LINK, b""))
    link = Link(
        kind,
        mac=found.get(IFLA_ADDRESS, b""),
        mtu=_number(found.get(IFLA_MTU, b"")),
        up=bool(flags & wire.IFF_UP),
        vxlan=_vxlan(details, tunnel) if kind == "vxlan" else None,
    )
    return Device(index, _text(found.get(IFLA_IFNAME, b"")), link, parent, tunnel, flags & STATE)


def _vxlan(details: Mapping[int, bytes], tunnel: tuple[int, int]) -> Vxlan | None:
    """Its VXLAN properties; None for a device with settings that a tunnel of ours never has."""
    learns = details.get(VXLAN_LEARNING) != b"\0"
    if learns or any(any(details.get(kind, b"")) for kind in _OTHER) or any(kind in details for kind in _OTHER_FLAGS):
        return None
    return Vxlan(*tunnel, local=details.get(VXLAN_LOCAL) or details.get(VXLAN_LOCAL6, b""), parent="")


def _text(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode(errors="replace")


def _number(payload: bytes) -> int:
    return int.from_bytes(payload, sys.byteorder)

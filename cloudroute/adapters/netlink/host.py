"""Facts of the NIC, which the agent reads and does not change."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from cloudroute.adapters.netlink import addresses, routes, wire
from cloudroute.adapters.netlink.channel import Channel
from cloudroute.adapters.netlink.devices import Device, Devices
from cloudroute.dataplane import MAIN, Host
from cloudroute.errors import KernelError

_TEMPORARY, _DADFAILED, _DEPRECATED, _TENTATIVE = 0x01, 0x08, 0x20, 0x40
_UNUSABLE = {4: _DEPRECATED, 16: _TEMPORARY | _DADFAILED | _DEPRECATED | _TENTATIVE}
"""Flags of unusable addresses, by address length. With IPv4 0x01 means "secondary", which is usable."""
_RTNH_F_DEAD = 0x1
_HOP = struct.Struct("=HBBi")
"""rtnexthop: length, flags, hops, index; attributes follow."""


class _Default(NamedTuple):
    """A default route."""

    metric: int
    device: int
    gateway: bytes


def read_host(channel: Channel, devices: Devices, interface: str) -> Host:
    """ports.Kernel.host."""
    defaults = {size: list(_defaults(channel, size)) for size in wire.FAMILY}
    device = _nic(devices, interface, [route for found in defaults.values() for route in found])
    gateways = [
        next((route.gateway for route in found if route.device == device.ifindex and len(route.gateway) == size), b"")
        for size, found in defaults.items()
    ]
    return Host(
        interface=device.name,
        mtu=device.link.mtu,
        addresses=tuple(_addresses(channel, device.ifindex)),
        gateways=tuple(gateway for gateway in gateways if gateway),
        up=device.link.up,
    )


def _nic(devices: Devices, interface: str, defaults: list[_Default]) -> Device:
    """The device of that name; with none, that of the first default route."""
    if interface:
        device = devices.named(interface)
        if device is None:
            raise KernelError(
                f"--interface {interface}: there is no such network interface; this machine has {_names(devices)}"
            )
        return device
    for route in defaults:
        if (device := devices.at(route.device)) is not None:
            return device
    raise KernelError(
        f"there is no default route to find the nodes' network interface by: name it with --interface; "
        f"this machine has {_names(devices)}"
    )


def _names(devices: Devices) -> str:
    return ", ".join(device.name for device in devices.all() if not device.ours)


def _addresses(channel: Channel, index: int) -> Iterator[tuple[bytes, int]]:
    body = addresses.HEADER.pack(wire.AF_UNSPEC, 0, 0, 0, index)
    for (scope, address, length), flags in channel.dump(wire.RTM_GETADDR, body, _address):
        link_local = address[:2] == b"\xa9\xfe" if len(address) == 4 else False
        if scope == wire.SCOPE_GLOBAL and address and not link_local and not flags & _UNUSABLE[len(address)]:
            yield address, length


def _address(data: bytearray, offset: int, length: int) -> tuple[tuple[int, bytes, int], int]:
    """The address as `addresses.read` returns it, and its flags."""
    found = wire.attributes(data, offset + 24, offset + length).get(addresses.IFA_FLAGS, b"\0\0\0\0")
    return addresses.read(data, offset, length), struct.unpack("=I", found)[0]


def _defaults(channel: Channel, size: int) -> list[_Default]:
    """The default routes of the main table, the one in force first."""
    body = routes.HEADER.pack(wire.FAMILY[size], 0, 0, 0, MAIN, 0, 0, 0, 0)
    found = [route for answer in channel.dump(wire.RTM_GETROUTE, body, _default) for route in answer]
    return sorted(found, key=lambda route: route.metric)


def _default(data: bytearray, offset: int, length: int) -> list[_Default]:
    """One per nexthop of a default route; [] for any other, without parsing its attributes: there are thousands."""
    if data[offset + 17]:
        return []
    _, _, _, _, table, _, _, kind, flags = routes.HEADER.unpack_from(data, offset + 16)
    if table != MAIN or kind != wire.UNICAST or flags & _RTNH_F_DEAD:
        return []
    found = wire.attributes(data, offset + 28, offset + length)
    metric = _number(found.get(routes.RTA_PRIORITY, b""))
    if hops := found.get(routes.RTA_MULTIPATH):
        return list(_ways(metric, hops))
    return [_Default(metric, _number(found.get(routes.RTA_OIF, b"")), found.get(routes.RTA_GATEWAY, b""))]


def _ways(metric: int, hops: bytes) -> Iterator[_Default]:
    at = 0
    while at < len(hops):
        size, _, _, device = _HOP.unpack_from(hops, at)
        yield _Default(metric, device, wire.attributes(hops, at + 8, at + size).get(routes.RTA_GATEWAY, b""))
        at += (size + 3) & ~3


def _number(payload: bytes) -> int:
    return int(struct.unpack("=I", payload)[0]) if payload else 0

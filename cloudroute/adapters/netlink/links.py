"""Our VXLAN devices.

Only up, MTU and MAC can be changed in place. A device that differs in anything else is deleted and made anew, which
removes all entries on it. Setting a MAC, even to the same value, wipes the device's permanent neighbours: so it is sent
only when it differs, and after a write of links the other kinds are read again.
"""

from __future__ import annotations

import errno
import struct
import threading
from collections.abc import Collection, Mapping

from cloudroute.adapters.netlink import devices, wire
from cloudroute.adapters.netlink.channel import Channel, Failure
from cloudroute.adapters.netlink.devices import OWN, Device, Devices
from cloudroute.dataplane import Link, Vxlan


class Links:
    """ports.KindDriver of `links`."""

    def __init__(self, channel: Channel, known: Devices) -> None:
        self._channel = channel
        self._devices = known
        self._lock = threading.Lock()
        """Held while a device is written: `seen` must not compare with a half-made change."""
        self._left: dict[str, Device | None] = {}
        """Each device of our names as last written or returned by `seen`; a read must not overwrite it, or events are
        lost."""

    def read(self, _wanted: Collection[str]) -> dict[str, Link]:
        with self._lock:
            found = {name: self._devices.named(name) for name in OWN}
            self._left = found | self._left
            return {name: device.link for name, device in found.items() if device is not None and device.ours}

    def write(self, put: Mapping[str, Link], drop: Collection[str]) -> dict[str, str]:
        failed: dict[str, str] = {}
        with self._lock:
            for name, link in put.items():
                if words := self._put(name, link):
                    failed[name] = words
                self._left[name] = self._devices.named(name)
            for name in drop:
                device = self._devices.named(name)
                if device is not None and device.ours and (failure := self._delete(device)):
                    failed[name] = f"can't be removed: {failure.words}"
                self._left[name] = self._devices.named(name)
        return failed

    def seen(self, name: str) -> tuple[Device | None, Device | None]:
        """A device of our names as last seen or written, and as it is now, which counts as seen from then on."""
        with self._lock:
            before, now = self._left.get(name), self._devices.named(name)
            self._left[name] = now
            return before, now

    # --- under the lock ---------------------------------------------------------------------------

    def _put(self, name: str, link: Link) -> str:
        """Make or change a device. Returns the failure in words, or ""."""
        device = self._devices.named(name)
        if device is not None and device.link.kind != link.kind:
            kind = device.link.kind or "physical"
            return f"is a {kind} device that cloudroute did not make: rename or remove it (ip link delete {name})"
        if device is not None and device.link.vxlan != link.vxlan:
            if failure := self._delete(device):
                return f"can't be removed to be made anew: {failure.words}"
            device = None
        if device is None:
            if words := self._create(name, link):
                return words
            device = self._devices.named(name)
        if device is None:
            return "was removed by another program as soon as it was made"
        return self._change(device, link)

    def _create(self, name: str, link: Link) -> str:
        parent = 0
        if link.vxlan is not None and not (parent := self._devices.index(link.vxlan.parent)):
            return f"can't be made: there is no network interface {link.vxlan.parent}"
        info = wire.attribute(devices.INFO_KIND, link.kind.encode() + b"\0")
        if link.vxlan is not None:
            info += wire.attribute(devices.INFO_DATA, _vxlan(link.vxlan, parent))
        body = devices.LINK_HEADER.pack(wire.AF_UNSPEC, 0, 0, 0, 0)
        body += wire.attribute(devices.IFLA_IFNAME, name.encode() + b"\0")
        body += wire.number(devices.IFLA_MTU, link.mtu)
        body += wire.attribute(devices.IFLA_ADDRESS, link.mac)
        body += wire.attribute(devices.IFLA_LINKINFO, info)
        failure = self._channel.request(wire.RTM_NEWLINK, wire.CREATE | wire.EXCL, body)
        if failure is None and link.vxlan is not None:
            self._disable_link_local(name)
        return "" if failure is None else self._not_made(link, failure)

    def _disable_link_local(self, name: str) -> None:
        """Have the kernel assign no link-local address when it comes up; `addresses` removes an existing one.

        This can't be set when a device is made. A failure is ignored: without IPv6 there is no such address.
        """
        mode = wire.attribute(devices.IFLA_INET6_ADDR_GEN_MODE, devices.MODE_NONE)
        body = devices.LINK_HEADER.pack(wire.AF_UNSPEC, 0, 0, 0, 0)
        body += wire.attribute(devices.IFLA_IFNAME, name.encode() + b"\0")
        body += wire.attribute(devices.IFLA_AF_SPEC, wire.attribute(wire.AF_INET6, mode))
        self._channel.request(wire.RTM_NEWLINK, 0, body)

    def _not_made(self, link: Link, failure: Failure) -> str:
        if failure.errno == errno.EOPNOTSUPP:
            return (
                f"can't be made: this kernel has no {link.kind} devices: load the module (modprobe {link.kind}) "
                f"or install the package that has it (linux-modules-extra)"
            )
        if failure.errno == errno.EEXIST and link.vxlan is not None:
            vni, port = link.vxlan.vni, link.vxlan.port
            taken = [device.name for device in self._devices.all() if device.tunnel == (vni, port)]
            who = f"the device {taken[0]}" if taken else "another device"
            return (
                f"can't be made: VNI {vni} on UDP port {port} is taken by {who}: remove that device, "
                f"or give all nodes another --vni or --vxlan-port"
            )
        return f"can't be made: {failure.words}"

    def _change(self, device: Device, link: Link) -> str:
        """Set up, MTU and MAC to the wanted values, in one message."""
        body = b""
        if device.link.mac != link.mac:
            body += wire.attribute(devices.IFLA_ADDRESS, link.mac)
        if device.link.mtu != link.mtu:
            body += wire.number(devices.IFLA_MTU, link.mtu)
        if not body and device.link.up == link.up:
            return ""
        up = wire.IFF_UP if link.up else 0
        header = devices.LINK_HEADER.pack(wire.AF_UNSPEC, 0, device.ifindex, up, wire.IFF_UP)
        failure = self._channel.request(wire.RTM_NEWLINK, 0, header + body)
        if failure is None:
            return ""
        if failure.errno == errno.EADDRINUSE and link.vxlan is not None:
            return (
                f"can't be brought up: UDP port {link.vxlan.port} is taken by another program or tunnel: "
                f"end it, or give all nodes another --vxlan-port"
            )
        return f"can't be given MTU {link.mtu}, MAC {link.mac.hex(':')}, up={link.up}: {failure.words}"

    def _delete(self, device: Device) -> Failure | None:
        header = devices.LINK_HEADER.pack(wire.AF_UNSPEC, 0, device.ifindex, 0, 0)
        failure = self._channel.request(wire.RTM_DELLINK, 0, header)
        return None if failure is not None and failure.errno == errno.ENODEV else failure


def _vxlan(vxlan: Vxlan, parent: int) -> bytes:
    local = devices.VXLAN_LOCAL if len(vxlan.local) == 4 else devices.VXLAN_LOCAL6
    return (
        wire.number(devices.VXLAN_ID, vxlan.vni)
        + wire.number(devices.VXLAN_LINK, parent)
        + wire.attribute(local, vxlan.local)
        + wire.attribute(devices.VXLAN_LEARNING, b"\0")
        + wire.attribute(devices.VXLAN_PORT, struct.pack(">H", vxlan.port))
    )

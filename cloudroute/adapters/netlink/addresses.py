"""The addresses of global scope on the VXLAN device, and the link-local one that it must not have.

Events of IPv6 addresses do not carry the port id of the writer, even for our own writes. So `Addresses` remembers its
addresses, and reads them when an event shows a difference: only a difference that remains counts as a foreign change.

The kernel gives the VXLAN device the link-local address of its MAC, and leaves it there when the MAC changes with the
node's pod CIDR. The next node with the old CIDR has that address on its VTEP, and the kernel refuses a gateway that is
an address of ours. Nothing needs the address, so it is read as an unwanted one.
"""

from __future__ import annotations

import errno
import struct
import threading
from collections.abc import Collection, Mapping

from cloudroute.adapters.netlink import wire
from cloudroute.adapters.netlink.channel import Channel
from cloudroute.adapters.netlink.devices import OWN, Devices
from cloudroute.dataplane import LINK_LOCAL, TUNNELS, AddressKey

HEADER = struct.Struct("=BBBBi")
"""ifaddrmsg: family, prefix length, flags, scope, index."""
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
NODAD = 0x02


class Addresses:
    """ports.KindDriver of `dataplane.Addresses`."""

    def __init__(self, channel: Channel, devices: Devices) -> None:
        self._channel = channel
        self._devices = devices
        self._lock = threading.Lock()
        """Held during a write: `news` must compare with the addresses that the write leaves."""
        self._left: set[AddressKey] = set()
        """Addresses as last read or written."""

    def read(self, _wanted: Collection[AddressKey]) -> dict[AddressKey, None]:
        with self._lock:
            found = self._look()
            self._left = set(found)
            return found

    def write(self, put: Mapping[AddressKey, None], drop: Collection[AddressKey]) -> dict[AddressKey, str]:
        with self._lock:
            # Noted before the write, so that an address that others remove meanwhile counts as missing.
            self._left.update(put)
            failed = self._put(list(put))
            self._left.difference_update(failed)
            kept = self._drop(list(drop))
            self._left.difference_update(set(drop) - kept.keys())
            failed.update(kept)
        return failed

    def news(self, data: bytes, device: str, *, added: bool) -> bool:
        """Whether an event shows a global address on one of our devices that differs from our last read or write."""
        _, address, length = read(data, 0, len(data))
        if (AddressKey(device, address, length) in self._left) == added:
            return False
        with self._lock:  # the event may be of our own write before the last one
            return self._look().keys() != self._left

    def _look(self) -> dict[AddressKey, None]:
        found: dict[AddressKey, None] = {}
        for name in OWN:
            if index := self._devices.own_index(name):
                body = HEADER.pack(wire.AF_UNSPEC, 0, 0, 0, index)
                for scope, address, length in self._channel.dump(wire.RTM_GETADDR, body, read):
                    unwanted = name in TUNNELS and address.startswith(LINK_LOCAL)
                    if unwanted or (scope == wire.SCOPE_GLOBAL and address):
                        found[AddressKey(name, address, length)] = None
        return found

    def _put(self, keys: list[AddressKey]) -> dict[AddressKey, str]:
        indices = {name: self._devices.own_index(name) for name in {key.device for key in keys}}
        failed = {
            key: f"can't be added: there is no device {key.device} of ours" for key in keys if not indices[key.device]
        }
        keys = [key for key in keys if key not in failed]
        flags = wire.CREATE | wire.REPLACE
        failures = self._channel.submit(
            keys,
            lambda first: [
                wire.message(wire.RTM_NEWADDR, flags, number, _body(key, indices[key.device]))
                for number, key in enumerate(keys, first)
            ],
        )
        for key, failure in failures.items():
            hint = ""
            if failure.errno == errno.EACCES:
                hint = f": set the sysctl net.ipv6.conf.{key.device}.disable_ipv6 to 0, or use no IPv6 cluster CIDR"
            failed[key] = f"can't be added: {failure.words}{hint}"
        return failed

    def _drop(self, keys: list[AddressKey]) -> dict[AddressKey, str]:
        indices = {name: self._devices.own_index(name) for name in {key.device for key in keys}}
        keys = [key for key in keys if indices[key.device]]
        failures = self._channel.submit(
            keys,
            lambda first: [
                wire.message(wire.RTM_DELADDR, 0, number, _body(key, indices[key.device]))
                for number, key in enumerate(keys, first)
            ],
        )
        return {
            key: f"can't be removed: {failure.words}"
            for key, failure in failures.items()
            if failure.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV)
        }


def read(data: bytes | bytearray, offset: int, length: int) -> tuple[int, bytes, int]:
    """Scope, address, prefix length; the address is b"" on one end of a point-to-point link."""
    _, prefix, _, scope, _ = HEADER.unpack_from(data, offset + 16)
    found = wire.attributes(data, offset + 24, offset + length)
    address = found.get(IFA_ADDRESS, b"")
    return scope, address if found.get(IFA_LOCAL, address) == address else b"", prefix


def _body(key: AddressKey, index: int) -> bytes:
    header = HEADER.pack(wire.FAMILY[len(key.address)], key.length, 0, wire.SCOPE_GLOBAL, index)
    body = header + wire.attribute(IFA_LOCAL, key.address) + wire.attribute(IFA_ADDRESS, key.address)
    # No other host has an address of our pod CIDR: without duplicate address detection it is usable at once.
    return body + wire.number(IFA_FLAGS, NODAD) if len(key.address) == 16 else body

"""The addresses of global scope on our devices, and the link-local one that the VXLAN device must not have.

The kernel tells of IPv6 addresses as if nobody had asked for them, of our own as well. So `Addresses` knows what it has
left there, and when an event shows it otherwise, it looks: only what is not as we left it is news.

An address of the bridge is there for the sake of its network: the kernel makes a route to it, by which the node's own
pods are reached. That route can be deleted, and another program's can stand before it (a former network's bridge with
the same CIDR). So such an address only counts as there while the kernel would take its route: it is put again, which
makes the route anew, and where somebody else's is in the way the words say whose.

The kernel gives the VXLAN device the link-local address of its MAC, and leaves it there when the MAC changes with the
node's pod CIDR. Whoever gets the old CIDR has that address as its VTEP's, and no gateway may be an address of ours.
Nothing needs it, so it is read as one that nobody wants.
"""

from __future__ import annotations

import errno
import struct
import threading
from collections.abc import Collection, Iterable, Mapping

from cloudroute.adapters.netlink import routes, wire
from cloudroute.adapters.netlink.channel import Channel
from cloudroute.adapters.netlink.devices import OWN, Devices
from cloudroute.dataplane import LINK_LOCAL, VTEP, AddressKey

HEADER = struct.Struct("=BBBBi")
"""ifaddrmsg: family, prefix length, flags, scope, index."""
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
NODAD = 0x02


class Addresses:
    """ports.Table of `dataplane.Addresses`."""

    def __init__(self, channel: Channel, devices: Devices) -> None:
        self._channel = channel
        self._devices = devices
        self._lock = threading.Lock()
        """Held during a write: who asks whether an address has changed waits until what we leave is there."""
        self._left: set[AddressKey] = set()
        """What we last saw or left there."""
        self._astray: dict[AddressKey, str] = {}
        """Those of them whose network the kernel reaches otherwise or not at all: how, in words; "" for not at all."""
        fields = {routes.RTA_DST: "s", routes.RTA_OIF: "I", routes.RTA_GATEWAY: "s"}
        self._read_route = wire.Reader("xBxBxBxB4x", fields)  # length, TOS, protocol, type

    def read(self, wanted: Collection[AddressKey]) -> dict[AddressKey, None]:
        with self._lock:
            found = self._look()
            self._left = set(found)
            self._astray = self._strays(found)
            return {key: None for key in found if key not in self._astray or key not in wanted}

    def write(self, put: Mapping[AddressKey, None], drop: Collection[AddressKey]) -> dict[AddressKey, str]:
        with self._lock:
            # First: an address that somebody else removes while this goes on was known, and so is missed.
            self._left.update(put)
            unrouted = [key for key in put if self._astray.get(key) == ""]
            self._drop(unrouted)  # only an address that is new makes its route
            failed = self._put(list(put))
            self._left.difference_update(failed)
            kept = self._drop(list(drop))
            self._left.difference_update(set(drop) - kept.keys())
            failed.update(kept)
            self._astray = self._strays(self._left)
            for key, words in self._astray.items():
                if key in put and key not in failed:
                    failed[key] = words or "its network has no route, though the address is there"
        return failed

    def news(self, data: bytes, device: str, added: bool) -> bool:
        """Whether an event is about a global address on one of our devices that is not as we know it."""
        _, address, length = read(data, 0, len(data))
        if (AddressKey(device, address, length) in self._left) == added:
            return False
        with self._lock:  # perhaps an older write of ours, and a newer one has followed
            return self._look().keys() != self._left

    def concerned(self, data: bytes) -> bool:
        """Whether a route's event is about the network of one of our addresses, which is reached otherwise by now."""
        length, _, _, _, destination, _, _ = self._read_route(data, 0, len(data))
        if not any(key.length == length and _network(key) == destination for key in self._left.copy()):
            return False
        with self._lock:
            return self._strays(self._left) != self._astray

    def _look(self) -> dict[AddressKey, None]:
        found: dict[AddressKey, None] = {}
        for name in OWN:
            if index := self._devices.own_index(name):
                body = HEADER.pack(wire.AF_UNSPEC, 0, 0, 0, index)
                for scope, address, length in self._channel.dump(wire.RTM_GETADDR, body, read):
                    unwanted = name == VTEP and address.startswith(LINK_LOCAL)
                    if unwanted or (scope == wire.SCOPE_GLOBAL and address):
                        found[AddressKey(name, address, length)] = None
        return found

    def _strays(self, keys: Iterable[AddressKey]) -> dict[AddressKey, str]:
        """The addresses whose network is not reached by their own device, each with what leads there instead."""
        networks = {(_network(key), key.length): key for key in keys if key.length < 8 * len(key.address)}
        first: dict[AddressKey, tuple[int, int, bytes]] = {}
        for size in {len(network) for network, _ in networks}:
            body = routes.HEADER.pack(wire.FAMILY[size], 0, 0, 0, wire.TABLE_MAIN, 0, 0, 0, 0)
            for length, tos, protocol, _, destination, device, gateway in self._channel.dump(
                wire.RTM_GETROUTE, body, self._read_route
            ):
                key = networks.get((destination, length))
                if key is not None and not tos:  # of several the kernel takes, and names, the best first
                    first.setdefault(key, (protocol, device or 0, gateway))
        indices = {name: self._devices.own_index(name) for name in {key.device for key in networks.values()}}
        return {
            key: self._in_the_way(*first[key]) if key in first else ""
            for key in networks.values()
            if key not in first or first[key][1] != indices[key.device]
        }

    def _in_the_way(self, protocol: int, device: int, gateway: bytes) -> str:
        name = self._devices.name(device)
        what = "address" if protocol == wire.KERNEL else "route"
        return f"the network is already routed{routes.led_by(name, protocol, gateway)}: remove that {what}"

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
    """Scope, address, prefix length; no address where it is one end of a point-to-point link."""
    _, prefix, _, scope, _ = HEADER.unpack_from(data, offset + 16)
    found = wire.attributes(data, offset + 24, offset + length)
    address = found.get(IFA_ADDRESS, b"")
    return scope, address if found.get(IFA_LOCAL, address) == address else b"", prefix


def _network(key: AddressKey) -> bytes:
    bits = 8 * len(key.address) - key.length
    return (int.from_bytes(key.address, "big") >> bits << bits).to_bytes(len(key.address), "big")


def _body(key: AddressKey, index: int) -> bytes:
    header = HEADER.pack(wire.FAMILY[len(key.address)], key.length, 0, wire.SCOPE_GLOBAL, index)
    body = header + wire.attribute(IFA_LOCAL, key.address) + wire.attribute(IFA_ADDRESS, key.address)
    # Nobody else has an address out of our pod CIDR: without the wait for duplicates it can be used at once.
    return body + wire.number(IFA_FLAGS, NODAD) if len(key.address) == 16 else body

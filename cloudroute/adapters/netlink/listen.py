"""Changes by others: multicast events, as kinds to be read again.

An event only tells which tables to read again; their difference is then repaired. So a needless event costs a read,
and a missed one is repaired by the next resync. Events of our own writes do not count: they carry our port id, except
those of links, FDB entries and IPv6 addresses, which are compared with the entries that we left.

A device that was down or without carrier, or was replaced, has lost nexthops, routes and IPv6 addresses, and the kernel
announces few of these losses: then all kinds are read. docs/dataplane.md lists the losses without a message.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from cloudroute.adapters.netlink import sieve, wire
from cloudroute.adapters.netlink.addresses import Addresses
from cloudroute.adapters.netlink.bridges import Bridges
from cloudroute.adapters.netlink.channel import SOL_NETLINK, routing_socket
from cloudroute.adapters.netlink.devices import IFLA_IFNAME, LINK_HEADER, OWN, STATE, Device, Devices
from cloudroute.adapters.netlink.links import Links
from cloudroute.adapters.netlink.neighbours import Fdb, Neighbours
from cloudroute.adapters.netlink.nexthops import Nexthops
from cloudroute.adapters.netlink.routes import Routes
from cloudroute.adapters.netlink.rules import Rules
from cloudroute.dataplane import KINDS, PROTOCOL, TUNNELS, Kind

NAME = "netlink-events"
"""Name of the thread."""
ALL_ON_DEVICE: frozenset[Kind] = frozenset(KINDS) - {"rules", "nftables", "files"}
"""Kinds to read again after a device was down, without carrier, or made anew."""
GROUPS = (1, 3, 5, 7, 8, 9, 11, 19, 24, 25, 32)
"""RTNLGRP_: LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE, IPV4_NETCONF,
IPV6_NETCONF, NEXTHOP."""
RECEIVE_BUFFER = 8 << 20
"""Bytes: the 5,000 events of 5,000 FDB entries that we write come back before the thread can read them."""

_ADD_MEMBERSHIP = 1
_NOTHING: frozenset[Kind] = frozenset()
_ADDRESS = struct.Struct("=Bi")
"""ifaddrmsg: scope and index."""
_INDEX = struct.Struct("=i")
"""ndmsg: index."""


class Drivers(NamedTuple):
    """The drivers of the kinds, which know the entries that they left."""

    links: Links
    addresses: Addresses
    bridges: Bridges
    tunnels: Mapping[str, tuple[Fdb, Neighbours]]
    """By VXLAN device."""
    nexthops: Nexthops
    routes: Routes
    rules: Rules


class Listener:
    """Event thread. Calls `changed` with the kinds that others have changed, at most once per batch of events."""

    def __init__(self, own_port: int, devices: Devices, drivers: Drivers) -> None:
        self._own_port = own_port
        self._devices = devices
        self._drivers = drivers
        self._nic: Device | None = None
        self._watched: dict[int, str] = {}
        """Index -> name of our devices and the NIC."""
        self._states: dict[int, int] = {}
        """Index -> the flags in `STATE` of these devices, as of their last event."""
        self._lock = threading.Lock()
        """Guards `_nic`, `_watched`, `_states` and the filter that is made of them."""
        self._stopping = os.eventfd(0, os.EFD_CLOEXEC)
        self._socket = routing_socket(RECEIVE_BUFFER)
        self._thread: threading.Thread | None = None

    def watch(self, nic: str) -> bool:
        """Watch this NIC for changes. Returns whether that is new; False also where there is no such NIC."""
        with self._lock:
            if self._nic is not None and self._nic.name == nic:
                return False
            self._nic = self._devices.named(nic)
            self._update_watched()
            return self._nic is not None

    def start(self, changed: Callable[[Collection[Kind]], None]) -> None:
        """Start the thread."""
        with self._lock:
            self._update_watched()  # before the first event can come
        for group in GROUPS:
            self._socket.setsockopt(SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._thread = threading.Thread(target=self._run, args=(changed,), name=NAME, daemon=True)
        self._thread.start()

    def dead(self) -> str:
        """ports.Kernel.dead."""
        return NAME if self._thread is not None and not self._thread.is_alive() else ""

    def close(self) -> None:
        """End the thread, and close the socket. A second call does nothing."""
        if self._socket.fileno() == -1:
            return
        if self._thread is not None:
            os.eventfd_write(self._stopping, 1)
            self._thread.join()
            self._thread = None
        self._socket.close()
        os.close(self._stopping)

    def _run(self, changed: Callable[[Collection[Kind]], None]) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._stopping, select.POLLIN)
        while all(descriptor != self._stopping for descriptor, _ in poll.poll()):
            if kinds := self._drain():
                changed(kinds)

    def _drain(self) -> frozenset[Kind]:
        """Read the pending events, a bounded number of them: on some machines they never end."""
        kinds: frozenset[Kind] = _NOTHING
        for _ in range(1000):
            try:
                data = self._socket.recv(64 * 1024, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                kinds = frozenset(KINDS)  # events were lost
            else:
                kinds |= self._judge(data)
        return kinds

    # --- one event --------------------------------------------------------------------------------

    def _judge(self, data: bytes) -> frozenset[Kind]:
        """Return the kinds to read again after an event that has passed the socket filter."""
        kind = wire.HEADER.unpack_from(data)[1]
        if kind in (wire.RTM_NEWLINK, wire.RTM_DELLINK):
            return self._link(data)
        if kind in (wire.RTM_NEWADDR, wire.RTM_DELADDR):
            return self._address(data, added=kind == wire.RTM_NEWADDR)
        if kind in (wire.RTM_NEWNEIGH, wire.RTM_DELNEIGH):
            return self._neighbour(data, added=kind == wire.RTM_NEWNEIGH)
        if kind in (wire.RTM_NEWROUTE, wire.RTM_DELROUTE):
            return self._route(data)
        if kind in (wire.RTM_NEWRULE, wire.RTM_DELRULE):
            return frozenset({"rules"}) if self._drivers.rules.news(data) else _NOTHING
        if kind in (wire.RTM_NEWNETCONF, wire.RTM_DELNETCONF):
            return frozenset({"sysctls"})
        if kind in (wire.RTM_NEWNEXTHOP, wire.RTM_DELNEXTHOP) and self._drivers.nexthops.news(data):
            # The kernel removes the routes of a removed nexthop, and announces only some.
            return frozenset({"nexthops"} if kind == wire.RTM_NEWNEXTHOP else {"nexthops", "routes"})
        return _NOTHING

    def _address(self, data: bytes, *, added: bool) -> frozenset[Kind]:
        scope, index = _ADDRESS.unpack_from(data, 19)
        if scope != wire.SCOPE_GLOBAL:
            return _NOTHING
        name = self._watched.get(index, "")
        if name not in OWN:
            return frozenset({"links"})
        return frozenset({"addresses"}) if self._drivers.addresses.news(data, name, added=added) else _NOTHING

    def _neighbour(self, data: bytes, *, added: bool) -> frozenset[Kind]:
        name = self._watched.get(_INDEX.unpack_from(data, 20)[0], "")
        if name not in TUNNELS:
            return _NOTHING  # the device was removed meanwhile
        which = data[16] != wire.AF_BRIDGE
        news = self._drivers.tunnels[name][which].news(data, added=added)
        return frozenset({TUNNELS[name][which]}) if news else _NOTHING

    def _route(self, data: bytes) -> frozenset[Kind]:
        if data[17] == 0 and data[21] != PROTOCOL:
            return frozenset({"links"})  # a default route: the NIC may follow from it
        kinds: frozenset[Kind] = frozenset({"routes"}) if self._drivers.routes.news(data) else _NOTHING
        return kinds | {"bridges"} if self._drivers.bridges.concerned(data) else kinds

    def _link(self, data: bytes) -> frozenset[Kind]:
        index = LINK_HEADER.unpack_from(data, 16)[2]
        told = wire.attributes(data, 32, 64).get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")  # comes first
        known = self._watched.get(index, "")
        kinds = _NOTHING
        for name in {told, known} & OWN.keys():
            kinds |= _difference(*self._drivers.links.seen(name))
        with self._lock:
            if self._state_changed(data):
                kinds |= ALL_ON_DEVICE
            if self._nic is not None and self._nic.name in (told, known):
                before, self._nic = self._nic, self._devices.named(self._nic.name) or self._nic._replace(ifindex=0)
                kinds |= _difference(before, self._nic)
            if told != known and (known or told in OWN or kinds):
                self._update_watched()  # an index is new, gone or has another name
        return kinds

    def _state_changed(self, data: bytes) -> bool:
        """Whether others removed a device or set it up or down, or its carrier changed. Called under the lock.

        The message counts and not the present state: a device can be down and up again before we read it. Where a
        carrier is lost and back at once, the message may have only one of RUNNING and LOWER_UP.
        """
        _, kind, _, _, port = wire.HEADER.unpack_from(data)
        _, _, index, flags, _ = LINK_HEADER.unpack_from(data, 16)
        before = self._states.pop(index, None)
        if before is None:
            return False
        if kind == wire.RTM_NEWLINK:
            self._states[index] = flags & STATE
        return self._states.get(index) != before and port != self._own_port

    def _update_watched(self) -> None:
        """Update the indices to watch, and the filter with them. Called under the lock."""
        nic = [self._nic.name] if self._nic is not None else []
        found = [self._devices.named(name) for name in (*OWN, *nic)]
        present = [device for device in found if device is not None and (device.ours or device.name not in OWN)]
        self._watched = {device.ifindex: device.name for device in present}
        self._states = {device.ifindex: self._states.get(device.ifindex, device.state) for device in present}
        vteps = [device.ifindex for device in present if device.name in TUNNELS]
        sieve.attach(self._socket, self._own_port, vteps, self._watched)


def _difference(before: Device | None, now: Device | None) -> frozenset[Kind]:
    """Kinds to read again when a device was `before` and is `now`."""
    if (before and before.ifindex) != (now and now.ifindex):
        return ALL_ON_DEVICE
    if before is not None and now is not None and before.link != now.link:
        return ALL_ON_DEVICE if before.link.up != now.link.up else frozenset({"links"})
    return _NOTHING

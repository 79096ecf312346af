"""The netlink half of `ports.Kernel`: tables, facts and events of one network namespace."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection

from cloudroute.adapters.netlink import wire
from cloudroute.adapters.netlink.addresses import Addresses
from cloudroute.adapters.netlink.bridges import Bridges
from cloudroute.adapters.netlink.channel import Channel
from cloudroute.adapters.netlink.devices import Devices
from cloudroute.adapters.netlink.host import read_host
from cloudroute.adapters.netlink.links import Links
from cloudroute.adapters.netlink.listen import Drivers, Listener
from cloudroute.adapters.netlink.neighbours import Fdb, Neighbours
from cloudroute.adapters.netlink.nexthops import Nexthops
from cloudroute.adapters.netlink.routes import Routes
from cloudroute.adapters.netlink.rules import Rules
from cloudroute.dataplane import TUNNELS, VTEP, VTEP6, AddressKey, Host, Kind, Link, Nexthop, Route, RouteKey, Rule
from cloudroute.errors import KernelError
from cloudroute.ports import KindDriver
from cloudroute.types import Cidr


class Netlink:
    """The netlink tables of the network namespace in which it is made, whichever thread uses it later.

    Raises KernelError when this process may not change the kernel's tables, or the kernel is too old.
    """

    def __init__(self) -> None:
        channel = Channel()
        try:
            _probe(channel)
            devices = Devices(channel)
            tunnels = {name: (Fdb(channel, devices, name), Neighbours(channel, devices, name)) for name in TUNNELS}
            drivers = Drivers(
                links=Links(channel, devices),
                addresses=Addresses(channel, devices),
                bridges=Bridges(channel, devices),
                tunnels=tunnels,
                nexthops=Nexthops(channel, devices),
                routes=Routes(channel, devices),
                rules=Rules(channel),
            )
            self._listener = Listener(channel.port, devices, drivers)
        except BaseException:
            channel.close()
            raise
        self._channel = channel
        self._devices = devices
        self.links: KindDriver[str, Link] = drivers.links
        self.addresses: KindDriver[AddressKey, None] = drivers.addresses
        self.bridges: KindDriver[Cidr, None] = drivers.bridges
        self.fdb: KindDriver[bytes, bytes] = tunnels[VTEP][0]
        self.neighbours: KindDriver[bytes, bytes] = tunnels[VTEP][1]
        self.fdb6: KindDriver[bytes, bytes] = tunnels[VTEP6][0]
        self.neighbours6: KindDriver[bytes, bytes] = tunnels[VTEP6][1]
        self.nexthops: KindDriver[int, Nexthop] = drivers.nexthops
        self.routes: KindDriver[RouteKey, Route] = drivers.routes
        self.rules: KindDriver[Rule, None] = drivers.rules

    def host(self, interface: str) -> Host:
        """ports.Kernel.host. From then on `listen` watches that NIC."""
        host = read_host(self._channel, self._devices, interface)
        while self._listener.watch(host.interface):  # read again: changes before that were not announced
            host = read_host(self._channel, self._devices, interface)
        return host

    def listen(self, changed: Callable[[Collection[Kind]], None]) -> None:
        """ports.Kernel.listen, for the kinds of netlink: all but "nftables" and "files"."""
        self._listener.start(changed)

    def dead(self) -> str:
        """ports.Kernel.dead."""
        return self._listener.dead()

    def close(self) -> None:
        """End the thread and close the sockets."""
        self._listener.close()
        self._channel.close()


def _probe(channel: Channel) -> None:
    """Request the removal of no particular nexthop: the kind of refusal shows permission and support."""
    failure = channel.request(wire.RTM_DELNEXTHOP, 0, b"\0" * 8)
    if failure is not None and failure.errno == errno.EOPNOTSUPP:
        raise KernelError("this kernel has no nexthop objects: Linux 5.3 or newer is needed")

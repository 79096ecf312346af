"""Bridges of an earlier pod network: their pods reach the pods that have veth pairs of their own.

An older version of cloudroute, kubenet or flannel joined the node's pods by a bridge. Such pods run on with the node's
whole pod CIDR as on-link: they ask on the bridge for the MAC of a new pod, and would get no answer. So the bridge
answers with its own MAC, and the host routes. The kernel needs for that:

    IPv4   proxy_arp: it answers for every address that it routes by another device
    IPv6   proxy_ndp, and a proxy entry for each address: there is no entry for all
    both   proxy_delay 0: by default it waits for up to 0.8 s

(net/ipv4/arp.c, arp_process and arp_fwd_proxy; net/ipv6/ndisc.c, ndisc_recv_ns.) All of it belongs to the bridge and
is removed with it. Nothing else of the bridge is touched.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from cloudroute.adapters.netlink import addresses, routes, wire
from cloudroute.adapters.netlink.channel import Channel
from cloudroute.adapters.netlink.devices import Device, Devices
from cloudroute.adapters.netlink.neighbours import HEADER, NDA_DST
from cloudroute.adapters.sysctl import PROC_SYS, writable_root
from cloudroute.dataplane import MAIN, PROTOCOL, family_of_bytes, network
from cloudroute.types import BITS, Cidr

NTF_PROXY = 0x08
NDA_PROTOCOL = 12
_SETTINGS = {
    "ipv4": {"ipv4/conf/{}/proxy_arp": "1", "ipv4/neigh/{}/proxy_delay": "0"},
    "ipv6": {"ipv6/conf/{}/proxy_ndp": "1", "ipv6/neigh/{}/proxy_delay": "0"},
}


class Bridges:
    """ports.KindDriver of `bridges`: a pod CIDR is present if each bridge in it answers, or it has none."""

    def __init__(self, channel: Channel, devices: Devices) -> None:
        self._channel = channel
        self._devices = devices
        self._in: frozenset[Cidr] = frozenset()
        """IPv6 pod CIDRs with a bridge: a new pod in them needs a proxy entry."""
        self._read_route = wire.Reader("xBxBxBxB4x", {routes.RTA_DST: "s", routes.RTA_OIF: "I"})
        self._read_proxy = wire.Reader("4xiHBx", {NDA_DST: "s", NDA_PROTOCOL: "s"})

    def read(self, wanted: Collection[Cidr]) -> dict[Cidr, None]:
        found = {cidr: list(self._bridges(cidr)) for cidr in wanted}
        self._in = frozenset(cidr for cidr, bridges in found.items() if bridges and cidr.family == "ipv6")
        return {cidr: None for cidr, bridges in found.items() if all(self._answers(one, cidr) for one in bridges)}

    def write(self, put: Mapping[Cidr, None], drop: Collection[Cidr]) -> dict[Cidr, str]:  # noqa: ARG002 - goes with the bridge
        failed: dict[Cidr, str] = {}
        for cidr in put:
            for bridge in self._bridges(cidr):
                if words := self._set_up(bridge, cidr):
                    failed[cidr] = f"pods on {bridge.name} can't reach the others of this node: {words}"
        return failed

    def concerned(self, data: bytes) -> bool:
        """Whether a route's event is about a pod for which a bridge must answer."""
        length, _, protocol, _, destination, _ = self._read_route(data, 0, len(data))
        if length != BITS["ipv6"] or protocol == PROTOCOL or len(destination) != 16 or data[20] != MAIN:
            return False
        return any(cidr.covers(network(destination, length)) for cidr in self._in)

    # --- reading ------------------------------------------------------------------------------------

    def _bridges(self, cidr: Cidr) -> Iterator[Device]:
        """Bridges that have an address in this pod CIDR."""
        for device in self._devices.all("bridge"):
            body = addresses.HEADER.pack(wire.FAMILY[BITS[cidr.family] // 8], 0, 0, 0, device.ifindex)
            for _, address, length in self._channel.dump(wire.RTM_GETADDR, body, addresses.read):
                if address and family_of_bytes(address) == cidr.family and network(address, length).overlaps(cidr):
                    yield device
                    break

    def _answers(self, bridge: Device, cidr: Cidr) -> bool:
        settings = _settings(bridge, cidr)
        return all(_value(path) == value for path, value in settings.items()) and self._pods(cidr, bridge) == (
            self._proxies(bridge)
        )

    def _pods(self, cidr: Cidr, bridge: Device) -> set[bytes]:
        """Addresses for which the bridge needs a proxy entry: the host has a route to each, by another device."""
        if cidr.family == "ipv4":
            return set()
        body = routes.HEADER.pack(wire.AF_INET6, 0, 0, 0, MAIN, 0, 0, 0, 0)
        return {
            destination
            for length, _, protocol, kind, destination, device in self._channel.dump(
                wire.RTM_GETROUTE, body, self._read_route
            )
            if length == BITS["ipv6"]
            and kind == wire.UNICAST
            and protocol not in (PROTOCOL, wire.KERNEL)
            and device != bridge.ifindex
            and cidr.covers(network(destination, length))
        }

    def _proxies(self, bridge: Device) -> set[bytes]:
        body = HEADER.pack(wire.AF_INET6, 0, 0, NTF_PROXY, 0)
        return {
            address
            for index, _, _, address, protocol in self._channel.dump(wire.RTM_GETNEIGH, body, self._read_proxy)
            if index == bridge.ifindex and protocol == bytes((PROTOCOL,))
        }

    # --- writing ------------------------------------------------------------------------------------

    def _set_up(self, bridge: Device, cidr: Cidr) -> str:
        """Set the bridge up. Returns the reason of a failure, or ""."""
        for path, value in _settings(bridge, cidr).items():
            try:
                Path(writable_root(), "net", path).write_text(value, encoding="ascii")
            except OSError as error:
                return f"net/{path} can't be set to {value}: {error.strerror}"
        if cidr.family == "ipv4":
            return ""
        pods, present = self._pods(cidr, bridge), self._proxies(bridge)
        for kind, flags, wanted in (
            (wire.RTM_NEWNEIGH, wire.CREATE | wire.REPLACE, pods - present),
            (wire.RTM_DELNEIGH, 0, present - pods),
        ):
            for address in wanted:
                body = HEADER.pack(wire.AF_INET6, bridge.ifindex, 0, NTF_PROXY, 0) + wire.attribute(NDA_DST, address)
                failure = self._channel.request(kind, flags, body + wire.attribute(NDA_PROTOCOL, bytes((PROTOCOL,))))
                if failure is not None and failure.errno not in (errno.ENOENT, errno.ENODEV):
                    return failure.words
        return ""


def _settings(bridge: Device, cidr: Cidr) -> dict[str, str]:
    return {path.format(bridge.name): value for path, value in _SETTINGS[cidr.family].items()}


def _value(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(PROC_SYS, "net", path).read_text(encoding="ascii").strip()
    return ""

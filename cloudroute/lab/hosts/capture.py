"""The path by which a packet left a host: read from the frames on its NIC, not from any state or configuration."""

from __future__ import annotations

import ipaddress
import selectors
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Mapping

from cloudroute.config.settings import VXLAN_PORT
from cloudroute.lab.hosts.netns import SO_RCVBUFFORCE, Namespace

_ALL = 3
"""ETH_P_ALL of linux/if_ether.h."""
_OUTGOING = 4
"""PACKET_OUTGOING of linux/if_packet.h."""
_IPV4, _IPV6, _UDP = 0x0800, 0x86DD, 17

Ways = Mapping[tuple[str, str], set[tuple[str, str]]]


class Capture:
    """Captures frames that leave by the eth0 of hosts, by host name. After leaving it, `ways` holds the result.

    `ways[host, destination address of the innermost packet]` is a set of (how, where to): ("tunnel", the outer packet's
    destination) or ("plain", the frame's destination MAC).
    """

    def __init__(self, hosts: Mapping[str, Namespace]) -> None:
        self._hosts = hosts
        self._found: defaultdict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
        self._stop = threading.Event()
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Capture:
        for name, namespace in self._hosts.items():
            with namespace.inside():
                sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
                sniffer.bind(("eth0", _ALL))
            sniffer.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
            sniffer.settimeout(0)
            self._selector.register(sniffer, selectors.EVENT_READ, name)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            self._drain(key.fileobj, key.data)  # type: ignore[arg-type] # only sockets were registered
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    @property
    def ways(self) -> Ways:
        """Ways seen so far."""
        return self._found

    def _read(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.05):
                self._drain(key.fileobj, key.data)  # type: ignore[arg-type]

    def _drain(self, sniffer: socket.socket, host: str) -> None:
        while True:
            try:
                frame, (_, _, direction, _, _) = sniffer.recvfrom(65536)
            except BlockingIOError:
                return
            if direction == _OUTGOING and (found := _way(frame)):
                destination, way = found
                self._found[host, destination].add(way)


def _way(frame: bytes) -> tuple[str, tuple[str, str]] | None:
    """Return the innermost destination, and its way; None for frames without one."""
    outer = _destination(frame)
    if outer is None:
        return None
    protocol, destination, payload = outer
    if protocol == _UDP and struct.unpack_from("!H", frame, payload + 2)[0] == VXLAN_PORT:
        inner = _destination(frame[payload + 16 :])
        return (inner[1], ("tunnel", destination)) if inner else None
    return destination, ("plain", frame[:6].hex(":"))


def _destination(frame: bytes) -> tuple[int, str, int] | None:
    """Return protocol, destination address, and offset of the payload, of an Ethernet frame with an IP packet."""
    if len(frame) < 34:
        return None
    (kind,) = struct.unpack_from("!H", frame, 12)
    if kind == _IPV4:
        return frame[23], str(ipaddress.ip_address(frame[30:34])), 14 + (frame[14] & 15) * 4
    if kind == _IPV6 and len(frame) >= 54:
        return frame[20], str(ipaddress.ip_address(frame[38:54])), 54
    return None

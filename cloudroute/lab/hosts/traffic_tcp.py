"""TCP flows: one long connection each, with a small write every interval."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Mapping

from cloudroute.lab.hosts.netns import ADDRESS_FAMILIES, Namespace
from cloudroute.lab.hosts.traffic import Flow, Result
from cloudroute.types import Family, family_of

HEADERS: Mapping[Family, int] = {"ipv4": 52, "ipv6": 72}
"""Bytes of IP and TCP headers, with TCP's timestamps."""
_TOTAL_RETRANS = 100
"""Byte offset in `struct tcp_info` of linux/tcp.h: 32 bits."""


class TcpFlow:
    """Both ends of a connection. `watch` takes a socket and the function to call when it is readable."""

    def __init__(self, flow: Flow, size: int, watch: Callable[[socket.socket, Callable[[], None]], None]) -> None:
        family = family_of(flow.address)
        self._watch = watch
        self._payload = bytes(max(1, size - HEADERS[family]))
        self._sent = self._received = 0
        self._last_sent = self._last_arrival = 0
        self._gap = self._pause = 0
        self._broken = self._peer = ""
        self._far: socket.socket | None = None
        with Namespace(flow.target).inside():
            self._listener = socket.create_server(("", 0), family=ADDRESS_FAMILIES[family])
        self._listener.settimeout(0)
        watch(self._listener, self._accept)
        with Namespace(flow.source).inside():
            self._near = socket.socket(ADDRESS_FAMILIES[family], socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._near.connect((flow.address, self._listener.getsockname()[1]))
        except BlockingIOError:
            pass  # the connect is in progress
        except OSError as error:
            self._break(error)

    def send(self, now: int) -> None:
        """Write once. A full buffer, or a connection not yet established, skips the write."""
        if self._broken:
            return
        try:
            self._sent += self._near.send(self._payload)
        except BlockingIOError:
            return
        except OSError as error:
            self._break(error)
            return
        if self._last_sent:
            self._pause = max(self._pause, now - self._last_sent)
        else:
            self._last_arrival = now
        self._last_sent = now

    def _accept(self) -> None:
        try:
            self._far, peer = self._listener.accept()
        except OSError:
            return  # disconnected already; the sender's end reports the reason
        self._peer = str(peer[0])
        self._far.settimeout(0)
        self._watch(self._far, self._read)

    def _read(self) -> None:
        assert self._far is not None  # noqa: S101 - `_accept` sets it before watching it
        try:
            data = self._far.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError as error:
            self._break(error)
            data = b""
        if not data:
            self._far.close()
            return
        now = time.time_ns()
        self._received += len(data)
        self._gap = max(self._gap, now - self._last_arrival)
        self._last_arrival = now

    def _break(self, error: OSError) -> None:
        self._broken = self._broken or os.strerror(error.errno or 0)

    def result(self) -> Result:
        """Return the result so far."""
        info = self._near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TOTAL_RETRANS + 4)
        return Result(
            sent=self._sent,
            received=self._received,
            longest_gap_ms=max(self._gap, self._last_sent - self._last_arrival) / 1e6,
            longest_pause_ms=self._pause / 1e6,
            sources=frozenset(filter(None, (self._peer,))),
            retransmissions=int(struct.unpack_from("@I", info, _TOTAL_RETRANS)[0]),
            broken=self._broken or ("" if self._peer else "not connected"),
        )

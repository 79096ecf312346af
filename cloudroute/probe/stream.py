"""Numbered packets to a `serve` for some seconds: what is lost while paths change, and for how long."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from itertools import pairwise
from typing import Any

from cloudroute.probe.echo import milliseconds, payload_bytes, told
from cloudroute.probe.failure import Failed, failure
from cloudroute.probe.serve import ID_BYTES, OPTIONS, PORT, Options, dropped_of, ttl_of
from cloudroute.probe.sockets import family_of, forget_errors, packets

GRACE_SECONDS = 1.0
"""Time for late answers after the last packet."""
_TOKEN_BYTES = 4
"""First bytes of each id: this stream's own; the packet's number follows."""


def stream(
    *, address: str, port: int = PORT, seconds: float = 10.0, interval_ms: float = 10.0, size: int = 0
) -> dict[str, Any]:
    """Send a packet each `interval_ms` for `seconds`; `size` is of the whole IP packet.

    Returns counts of packets `sent`, `received`, `lost` and `duplicates`; `tool_lost`, packets of all streams of a far
    side that arrived and that one of the two programs was too slow to take; `rtt_ms` as least, median and most;
    `longest_gap_ms` between two answers, or between an end and the next answer; `sources` and `far_ttls` as the far
    side saw them, `ttls` of the answers, and `errors`: words of the kernel and of routers (ICMP), and how often. Fails,
    with the counts, when nothing was answered.
    """
    with packets(address, port) as sock:
        flow = _Flow(sock, payload_bytes(size, address), OPTIONS[family_of(address)])
        start = time.perf_counter()
        for number in range(int(seconds * 1000 / interval_ms)):
            flow.listen(start + number * interval_ms / 1000)
            flow.send()
        end = time.perf_counter()
        flow.listen(end + GRACE_SECONDS)
    result = flow.result(start, end)
    if not flow.rtts:
        last = failure(flow.last)
        raise Failed(last["code"], last["error"], **result)
    rtts = sorted(flow.rtts)
    return {**result, "rtt_ms": [milliseconds(rtt) for rtt in (rtts[0], rtts[len(rtts) // 2], rtts[-1])]}


class _Flow:
    """Ledger of the packets of one socket. Times are of `perf_counter`."""

    def __init__(self, sock: socket.socket, payload: int, options: Options) -> None:
        self._socket, self._payload, self._options = sock, payload, options
        self._token = os.urandom(_TOKEN_BYTES)
        self._sent: list[float] = []
        self._answered: set[int] = set()
        self._duplicates = 0
        self._arrivals: list[float] = []
        self._sources: set[str] = set()
        self._far_ttls: set[int] = set()
        self._ttls: set[int] = set()
        self._own_drops = 0
        self._far_drops: list[int] = []
        self._errors: Counter[str] = Counter()
        self.rtts: list[float] = []
        self.last: Exception = TimeoutError()
        """Last error, if any."""

    def send(self) -> None:
        """Send the next packet. One that the kernel refuses counts as sent, and so as lost."""
        self._socket.settimeout(0)
        if pending := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._count(OSError(pending, os.strerror(pending)))
        number = len(self._sent).to_bytes(ID_BYTES - _TOKEN_BYTES, "big")
        self._sent.append(time.perf_counter())
        try:
            self._socket.send((self._token + number).ljust(self._payload, b"\0"))
        except OSError as error:
            self._count(error)

    def listen(self, until: float) -> None:
        """Receive answers up to that time."""
        while (left := until - time.perf_counter()) > 0:
            self._socket.settimeout(left)
            try:
                data, extras, _, _ = self._socket.recvmsg(self._payload, 128)
            except TimeoutError:
                return
            except OSError as error:
                self._count(error)
                continue
            self._own_drops = dropped_of(extras)
            self._arrive(data, ttl_of(extras, self._options))

    def result(self, start: float, end: float) -> dict[str, Any]:
        """Counts of a stream that was sent between these times."""
        times = [start, *self._arrivals, max((end, *self._arrivals))]
        gap = max(later - earlier for earlier, later in pairwise(times))
        return {
            "sent": len(self._sent),
            "received": len(self._answered),
            "lost": len(self._sent) - len(self._answered),
            "tool_lost": self._own_drops + max(self._far_drops, default=0) - min(self._far_drops, default=0),
            "duplicates": self._duplicates,
            "longest_gap_ms": milliseconds(gap),
            "sources": sorted(self._sources),
            "far_ttls": sorted(self._far_ttls),
            "ttls": sorted(self._ttls),
            "errors": dict(self._errors),
        }

    def _count(self, error: OSError) -> None:
        forget_errors(self._socket)
        self.last = error
        self._errors[os.strerror(error.errno or 0)] += 1

    def _arrive(self, data: bytes, ttl: int) -> None:
        now = time.perf_counter()
        number = int.from_bytes(data[_TOKEN_BYTES:ID_BYTES], "big")
        if data[:_TOKEN_BYTES] != self._token or number >= len(self._sent):
            return  # of an earlier user of this port
        if number in self._answered:
            self._duplicates += 1
            return
        said = told(data[ID_BYTES:])
        self._answered.add(number)
        self._arrivals.append(now)
        self.rtts.append(now - self._sent[number])
        self._sources.add(said["seen"])
        self._far_ttls.add(said["ttl"])
        self._ttls.add(ttl)
        self._far_drops.append(said["dropped"])

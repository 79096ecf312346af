"""UDP flows: numbered packets, and a ledger of each one's delivery."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence

from cloudroute.lab.hosts.netns import ADDRESS_FAMILIES, SO_RCVBUFFORCE, Namespace
from cloudroute.lab.hosts.traffic import Flow, Result
from cloudroute.types import Family, family_of

GRACE_NS = 500_000_000
"""Nanoseconds after which a packet that has not arrived counts as lost."""
MARK_NS = 20_000_000
BUFFER_BYTES = 64 << 20
"""Socket buffer size in bytes: many seconds of packets, in case this process is delayed."""
BATCH = 512
HEADERS: Mapping[Family, int] = {"ipv4": 28, "ipv6": 48}
PREFIX = struct.Struct("!IQ")
"""Prefix of each payload: the flow's index and the packet's number."""

# linux/in.h, in6.h, errqueue.h, socket.h; the socket module does not name them.
MTU_DISCOVER = {"ipv4": (socket.IPPROTO_IP, 10), "ipv6": (socket.IPPROTO_IPV6, 23)}
ALWAYS_DF = 2
RECVERR = {"ipv4": (socket.IPPROTO_IP, 11), "ipv6": (socket.IPPROTO_IPV6, 25)}
SO_SNDBUFFORCE, SO_TIMESTAMPNS, SO_MEMINFO = 32, 35, 55
_MEMINFO_DROPS = 8
_STAMP = struct.Struct("@qq")
_EXTENDED_ERROR = struct.Struct("@IBBBBII")
_ORIGINS = {2: "ICMP", 3: "ICMPv6"}


class Ledger:
    """Sent and received packet numbers of one flow. Times are nanoseconds since the epoch."""

    def __init__(self) -> None:
        self.sent = 0
        self.sources: set[str] = set()
        self.errors: Counter[str] = Counter()
        self._seen = bytearray()
        self._received = self._duplicates = 0
        self._marks: deque[tuple[int, int]] = deque()
        self._settled = self._settled_received = 0
        self._last_sent = self._last_arrival = 0
        self._gap = self._pause = 0

    def send(self, now: int) -> int:
        """Record a send; returns the packet's number."""
        if self._last_sent:
            self._pause = max(self._pause, now - self._last_sent)
        else:
            self._last_arrival = now
        self._last_sent = now
        if not self._marks or now - self._marks[-1][0] >= MARK_NS:
            self._marks.append((now, self.sent))
            self._settle(now)
        self._seen.append(0)
        self.sent += 1
        return self.sent - 1

    def arrive(self, number: int, stamp: int) -> None:
        """Record an arrival. A number that was never sent belongs to another sender and is ignored."""
        if number >= self.sent:
            return
        if self._seen[number]:
            self._duplicates += 1
            return
        self._seen[number] = 1
        self._received += 1
        if number < self._settled:
            self._settled_received += 1
        if stamp > self._last_arrival:
            self._gap = max(self._gap, stamp - self._last_arrival)
            self._last_arrival = stamp

    def _settle(self, now: int) -> None:
        """Classify the packets sent before the grace period as received or lost."""
        settled = self._settled
        while self._marks and now - self._marks[0][0] > GRACE_NS:
            settled = self._marks.popleft()[1]
        self._settle_to(settled)

    def _settle_to(self, number: int) -> None:
        self._settled_received += self._seen.count(1, self._settled, number)
        self._settled = number

    def result(self, tool_lost: int, *, final: bool) -> Result:
        """Return the result so far; `final` when the grace period has passed for all."""
        self._settle_to(self.sent) if final else self._settle(time.time_ns())
        open_gap = self._last_sent - self._last_arrival
        return Result(
            sent=self.sent,
            received=self._received,
            lost=self._settled - self._settled_received,
            duplicates=self._duplicates,
            longest_gap_ms=max(self._gap, open_gap) / 1e6,
            longest_pause_ms=self._pause / 1e6,
            sources=frozenset(self.sources),
            errors=dict(self.errors),
            tool_lost=tool_lost,
        )


class UdpSender:
    """Sending end of a flow."""

    def __init__(self, index: int, flow: Flow, size: int, port: int, ledger: Ledger) -> None:
        family = family_of(flow.address)
        self._ledger = ledger
        self._index = index
        self._to = (flow.address, port)
        self._payload = bytearray(max(PREFIX.size, size - HEADERS[family]))
        with Namespace(flow.source).inside():
            self._socket = socket.socket(ADDRESS_FAMILIES[family], socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES)
        self._socket.setsockopt(*MTU_DISCOVER[family], ALWAYS_DF)
        self._socket.setsockopt(*RECVERR[family], 1)

    def send(self, now: int) -> None:
        """Send the next packet."""
        PREFIX.pack_into(self._payload, 0, self._index, self._ledger.send(now))
        # The first attempt may report an ICMP error of an earlier packet; then nothing was sent.
        if self._attempt() and (words := self._attempt()):
            self._ledger.errors[f"not sent: {words}"] += 1

    def _attempt(self) -> str:
        try:
            self._socket.sendto(self._payload, self._to)
        except OSError as error:
            self.read_errors()
            return os.strerror(error.errno or 0)
        return ""

    def read_errors(self) -> None:
        """Count the ICMP errors received."""
        while True:
            try:
                _, extras, _, _ = self._socket.recvmsg(0, 512, socket.MSG_ERRQUEUE)
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    return
                continue  # the socket's pending error: the queue holds it too
            for _, _, data in extras:
                number, origin, icmp_type, code, *_ = _EXTENDED_ERROR.unpack_from(data)
                if origin in _ORIGINS:
                    words = f"{os.strerror(number)} ({_ORIGINS[origin]} {icmp_type}/{code} from {_offender(data)})"
                    self._ledger.errors[words] += 1


def _offender(data: bytes) -> str:
    """Return the sender of the ICMP error: the socket address that follows the extended error."""
    (family,) = struct.unpack_from("@H", data, _EXTENDED_ERROR.size)
    start, length = (4, 4) if family == socket.AF_INET else (8, 16)
    return socket.inet_ntop(family, data[_EXTENDED_ERROR.size + start :][:length]) if family else "?"


class UdpReceiver:
    """Receiving end of all flows of one family to one namespace."""

    def __init__(self, namespace: str, family: Family, ledgers: Sequence[Ledger]) -> None:
        self._ledgers = ledgers
        self._buffer = bytearray(65536)
        with Namespace(namespace).inside():
            self.socket = socket.socket(ADDRESS_FAMILIES[family], socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.bind(("", 0))
        self.port = int(self.socket.getsockname()[1])

    @property
    def dropped(self) -> int:
        """Packets that this socket dropped for lack of buffer space."""
        info = self.socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4 * (_MEMINFO_DROPS + 1))
        return int(struct.unpack_from("@I", info, 4 * _MEMINFO_DROPS)[0])

    def drain(self) -> None:
        """Read all received packets, up to a batch."""
        ledgers, buffer = self._ledgers, [self._buffer]
        for _ in range(BATCH):
            try:
                length, extras, _, sender = self.socket.recvmsg_into(buffer, 64)
            except BlockingIOError:
                return
            if length < PREFIX.size:
                continue
            index, number = PREFIX.unpack_from(self._buffer)
            if index < len(ledgers):
                seconds, nanoseconds = _STAMP.unpack(extras[0][2])
                ledgers[index].sources.add(sender[0])
                ledgers[index].arrive(number, seconds * 1_000_000_000 + nanoseconds)

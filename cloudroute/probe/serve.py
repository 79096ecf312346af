"""Echo by UDP and TCP, both families, on one port and one thread: the far side of verify's questions.

An answer is as long as its question, so that a full-size packet is tried both ways, and tells what arrived:

    UDP   question   id (8 bytes), zero bytes
          answer     the id, {"seen": "10.1.2.3", "ttl": 62, "who": HOSTNAME, "dropped": 0}, zero bytes
    TCP   question   its length (4 bytes), zero bytes
          answer     {"seen": "10.1.2.3", "who": HOSTNAME}, zero bytes; then the connection ends

`seen` is the source address, which shows NAT; `ttl` the TTL or hop limit of the question, which shows hops; `dropped`
the number of packets so far that arrived and were dropped, because this program was too slow for its socket. UDP is
answered from the address that was asked, with "don't fragment" set. One TCP connection carries one question; one that
closes without a question (a kubelet's probe) is ignored.

This file imports nothing of cloudroute, and needs Python 3.9 only: it is also copied to a host of the VPC and run there
by `python3 serve.py`.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

PORT = 8470
ID_BYTES = 8
SHORTEST = 176
"""Least bytes of a question: the longest answer fits."""
LONGEST = 256 * 1024
"""Most bytes of a question by TCP: the answers of all connections fit into a pod's memory."""
LENGTH = struct.Struct("!I")
PROBE = 3
"""IP_PMTUDISC_PROBE, IPV6_PMTUDISC_PROBE: sets "don't fragment", and ignores path MTUs learned earlier.

The kernel refuses packets larger than the device's MTU (EMSGSIZE). With IP_PMTUDISC_DO it would also refuse those
larger than a path MTU in its cache, for ten minutes, and nothing would test the path again (Linux,
net/ipv4/ip_output.c, ip_setup_cork; net/ipv6/ip6_output.c, ip6_setup_cork).
"""
OVERFLOW = 40
"""SO_RXQ_OVFL of asm-generic/socket.h: received packets tell how many were dropped before them."""
BUFFER_BYTES = 4 << 20
"""Wanted for received packets; the kernel gives at most net.core.rmem_max, by default some 250 packets."""
MOST_CONNECTIONS = 64
_NAME_BYTES = 63
_READ_BYTES = 65536


class Options(NamedTuple):
    """Numbers of one family's socket options, of linux/in.h and in6.h, which older Pythons do not name."""

    level: int
    mtu_discover: int
    receive_info: int
    info: int
    receive_ttl: int
    ttl: int
    mtu: int


OPTIONS = {
    socket.AF_INET: Options(socket.IPPROTO_IP, 10, 8, 8, 12, 2, 14),
    socket.AF_INET6: Options(socket.IPPROTO_IPV6, 23, 49, 50, 51, 52, 24),
}


def packet_socket(family: socket.AddressFamily) -> socket.socket:
    """A UDP socket whose packets may not be fragmented; it tells the TTL of those received, and those dropped."""
    options, opened = OPTIONS[family], socket.socket(family, socket.SOCK_DGRAM)
    opened.setsockopt(options.level, options.mtu_discover, PROBE)
    opened.setsockopt(options.level, options.receive_ttl, 1)
    opened.setsockopt(socket.SOL_SOCKET, OVERFLOW, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    return opened


def ttl_of(extras: Sequence[tuple[int, int, bytes]], options: Options) -> int:
    """TTL or hop limit of a packet, from the control messages of recvmsg."""
    found = next(data for level, kind, data in extras if (level, kind) == (options.level, options.ttl))
    return int(struct.unpack("@i", found[:4])[0])


def dropped_of(extras: Sequence[tuple[int, int, bytes]]) -> int:
    """Return the number of packets that the socket has dropped so far, from the control messages of recvmsg."""
    key = (socket.SOL_SOCKET, OVERFLOW)
    return next((int(struct.unpack("@I", data[:4])[0]) for level, kind, data in extras if (level, kind) == key), 0)


class Server:
    """Answers on a port until stdin ends, or for ever. Raises OSError when the port is taken."""

    def __init__(self, port: int) -> None:
        self._selector = selectors.PollSelector()
        self._connections: dict[socket.socket, _Connection] = {}
        self._who = socket.gethostname()[:_NAME_BYTES]
        self._ended = False
        for family in OPTIONS:
            self._open(family, port)

    def run(self) -> None:
        """Answer until `end_with` says otherwise."""
        while not self._ended:
            for key, _ in self._selector.select():
                key.data()

    def end_with(self, descriptor: int) -> None:
        """End once this input does."""

        def read() -> None:
            self._ended = not os.read(descriptor, _READ_BYTES)

        self._watch(descriptor, read)

    def _watch(self, what: socket.socket | int, handler: Callable[[], None]) -> None:
        self._selector.register(what, selectors.EVENT_READ, handler)

    def _open(self, family: socket.AddressFamily, port: int) -> None:
        options = OPTIONS[family]
        try:
            packets = packet_socket(family)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:  # a kernel without IPv6
                return
            raise
        if family == socket.AF_INET6:
            packets.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        packets.setsockopt(options.level, options.receive_info, 1)
        packets.bind(("", port))
        listener = socket.create_server(("", port), family=family, backlog=128)
        for opened in (packets, listener):
            opened.settimeout(0)
        self._watch(packets, lambda: self._packet(packets, options))
        self._watch(listener, lambda: self._accept(listener))

    def _packet(self, packets: socket.socket, options: Options) -> None:
        try:
            data, extras, _, sender = packets.recvmsg(_READ_BYTES, 256)
            if len(data) < SHORTEST or data[ID_BYTES]:
                return  # an answer: two servers must not answer each other
            facts = {"seen": sender[0], "ttl": ttl_of(extras, options), "who": self._who, "dropped": dropped_of(extras)}
            body = json.dumps(facts).encode()
            told = next(info for level, kind, info in extras if (level, kind) == (options.level, options.info))
            # The address that was asked, and no device: routing decides, as for any other packet.
            info = told[:16] + bytes(4) if len(told) == 20 else bytes(4) + told[8:12] * 2
            answer = (data[:ID_BYTES] + body).ljust(len(data), b"\0")
            packets.sendmsg([answer], [(options.level, options.info, info)], 0, sender)
        except OSError:
            return  # an ICMP error of an earlier answer, or no way back: the sender times out

    def _accept(self, listener: socket.socket) -> None:
        try:
            opened, peer = listener.accept()
        except OSError:
            return  # disconnected already
        if len(self._connections) >= MOST_CONNECTIONS:
            self._forget(next(iter(self._connections)))
        opened.settimeout(0)
        body = json.dumps({"seen": peer[0], "who": self._who}).encode()
        connection = self._connections[opened] = _Connection(opened, body)
        self._watch(opened, lambda: self._proceed(connection))

    def _proceed(self, connection: _Connection) -> None:
        opened = connection.socket
        if opened not in self._connections:
            return  # closed for a newer one since `select`
        try:
            if connection.proceed():
                self._forget(opened)
            elif connection.answering:
                self._selector.modify(opened, selectors.EVENT_WRITE, lambda: self._proceed(connection))
        except BlockingIOError:
            return
        except OSError:
            self._forget(opened)

    def _forget(self, opened: socket.socket) -> None:
        del self._connections[opened]
        self._selector.unregister(opened)
        opened.close()


class _Connection:
    """One question and its answer. The question's bytes are counted, not kept."""

    def __init__(self, opened: socket.socket, body: bytes) -> None:
        self.socket = opened
        self._body = body
        self._prefix = b""
        self._received = 0
        self._answer = b""

    @property
    def answering(self) -> bool:
        """Whether the question is complete."""
        return bool(self._answer)

    def proceed(self) -> bool:
        """Read or write once. Returns True when nothing more is to be done."""
        if self._answer:
            self._answer = self._answer[self.socket.send(self._answer) :]
            return not self._answer
        data = self.socket.recv(_READ_BYTES)
        self._prefix += data[: LENGTH.size - len(self._prefix)]
        self._received += len(data)
        if len(self._prefix) == LENGTH.size:
            length = LENGTH.unpack(self._prefix)[0]
            if not SHORTEST <= length <= LONGEST:
                return True
            if self._received >= length:
                self._answer = self._body.ljust(length, b"\0")
        return not data


def main(words: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="serve", description="Answer verify's questions by UDP and TCP.")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--until-eof", action="store_true", help="end when stdin does")
    options = parser.parse_args(words)
    # The first process of a container ignores signals that it has no handler for: its pod would take 30 s to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server = Server(options.port)
    except OSError as error:
        sys.stderr.write(f"can't answer on port {options.port}: {os.strerror(error.errno or 0)}\n")
        return 1
    if options.until_eof:
        server.end_with(sys.stdin.fileno())
    sys.stdout.write(json.dumps({"answering": options.port}) + "\n")
    sys.stdout.flush()
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""One question and its answer: does an address answer, and which source address does it see?

`Echo` answers in many namespaces from one process of its own; `reach` asks, from any namespace. An answer is as long as
its question, so that a full-size packet is tried both ways. It begins with the source address of the question, which
shows NAT.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.netns import ADDRESS_FAMILIES, Namespace
from cloudroute.lab.hosts.traffic import Protocol
from cloudroute.lab.hosts.traffic_tcp import HEADERS as TCP_HEADERS
from cloudroute.lab.hosts.traffic_udp import ALWAYS_DF, MTU_DISCOVER
from cloudroute.lab.hosts.traffic_udp import HEADERS as UDP_HEADERS
from cloudroute.types import Family, family_of

PORT = 7007
SHORTEST = 46
"""Bytes of a question: enough for any address in the answer."""
_KINDS = {"udp": (socket.SOCK_DGRAM, UDP_HEADERS), "tcp": (socket.SOCK_STREAM, TCP_HEADERS)}
_LENGTH = struct.Struct("!I")
"""Prefix of a TCP question: its length."""
_PACKET_INFO = {"ipv4": (socket.IPPROTO_IP, 8), "ipv6": (socket.IPPROTO_IPV6, 50)}
"""IP_PKTINFO, IPV6_PKTINFO: select the host's source address of an answer."""
_RECEIVE_INFO = {"ipv4": (socket.IPPROTO_IP, 8), "ipv6": (socket.IPPROTO_IPV6, 49)}


@dataclass(frozen=True, slots=True)
class Answer:
    """Result of a question: `error` says why there was no answer."""

    ok: bool
    seen_address: str = ""
    """Source address that the far side saw."""
    error: str = ""


def reach(source: str, address: str, protocol: Protocol = "udp", size: int = 128, timeout: float = 2.0) -> Answer:
    """Ask the `Echo` at `address` once, from the namespace `source`.

    `size` is of a whole IP packet, with "don't fragment" set; `timeout` in seconds. Raises CloudrouteError for a
    missing namespace.
    """
    namespace = Namespace(source)
    if not namespace.exists:
        raise CloudrouteError(f"there is no network namespace {source} (ip netns lists those that are)")
    family = family_of(address)
    kind, headers = _KINDS[protocol]
    question = bytearray(max(SHORTEST, size - headers[family]))
    _LENGTH.pack_into(question, 0, len(question))
    with namespace.inside():
        sock = socket.socket(ADDRESS_FAMILIES[family], kind)
    with sock:
        sock.settimeout(timeout)
        sock.setsockopt(*MTU_DISCOVER[family], ALWAYS_DF)
        try:
            sock.connect((address, PORT))
            sock.sendall(question)
            answer = b""
            while len(answer) < len(question) and (more := sock.recv(65536)):
                answer += more
        except TimeoutError:
            return Answer(ok=False, error=f"no answer within {timeout:g} s")
        except OSError as error:
            return Answer(ok=False, error=os.strerror(error.errno or 0))
    if len(answer) != len(question):
        return Answer(ok=False, error="the connection ended before the answer was complete")
    return Answer(ok=True, seen_address=answer.rstrip(b"\0").decode("ascii"))


class Echo:
    """Answers UDP and TCP on `PORT` in the namespaces, between entering and leaving.

    Raises CloudrouteError when it can't start.
    """

    def __init__(self, namespaces: Iterable[str]) -> None:
        self._namespaces = tuple(namespaces)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Echo:
        command = [sys.executable, "-m", "cloudroute.lab.hosts.traffic_echo", *self._namespaces]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
        assert self._process.stdout  # noqa: S101 - a pipe was asked for
        said = self._process.stdout.readline().decode().strip()
        if said != "ready":
            self.__exit__()
            raise CloudrouteError(said or "the echo process ended without a word")
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


# --- the process ------------------------------------------------------------------------------


class _Server:
    def __init__(self, namespaces: Iterable[str]) -> None:
        self._selector = selectors.DefaultSelector()
        for name in namespaces:
            for family in ADDRESS_FAMILIES:
                self._open(name, family)
        self.watch(sys.stdin.fileno(), lambda: sys.exit(0))  # the parent process has ended

    def watch(self, what: socket.socket | int, handler: Callable[[], None]) -> None:
        self._selector.register(what, selectors.EVENT_READ, handler)

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _open(self, name: str, family: Family) -> None:
        with Namespace(name).inside():
            packets = socket.socket(ADDRESS_FAMILIES[family], socket.SOCK_DGRAM)
            listener = socket.create_server(("", PORT), family=ADDRESS_FAMILIES[family], backlog=128)
        packets.setsockopt(*_RECEIVE_INFO[family], 1)
        packets.setsockopt(*MTU_DISCOVER[family], ALWAYS_DF)
        if family == "ipv6":
            packets.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        packets.bind(("", PORT))
        packets.settimeout(0)
        listener.settimeout(0)
        self.watch(packets, lambda: self._packet(packets, family))
        self.watch(listener, lambda: self._connection(listener))

    def _packet(self, packets: socket.socket, family: Family) -> None:
        try:
            data, extras, _, sender = packets.recvmsg(65536, 128)
            level, kind = _PACKET_INFO[family]
            told = next(info for at, what, info in extras if (at, what) == (level, kind))
            # Answer from the address that was asked. Set no device: routing decides, as for any other packet.
            info = struct.pack("@I4s4s", 0, told[8:12], told[8:12]) if family == "ipv4" else told[:16] + bytes(4)
            packets.sendmsg([_answer(data, sender[0])], [(level, kind, info)], 0, sender)
        except OSError:
            return  # the way back is broken: the sender times out

    def _connection(self, listener: socket.socket) -> None:
        try:
            sock, peer = listener.accept()
        except OSError:
            return
        sock.settimeout(0)
        asked = bytearray()

        def read() -> None:
            try:
                data = sock.recv(65536)
                asked.extend(data)
                if len(asked) >= _LENGTH.size and len(asked) >= _LENGTH.unpack_from(asked)[0]:
                    sock.sendall(_answer(asked, peer[0]))
                    data = b""
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._selector.unregister(sock)
                sock.close()

        self.watch(sock, read)


def _answer(question: bytes | bytearray, seen: str) -> bytes:
    return seen.encode("ascii").ljust(len(question), b"\0")[: len(question)]


def main() -> int:
    """Serve one `Echo`: the namespaces are the arguments."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent process
    try:
        server = _Server(sys.argv[1:])
    except (CloudrouteError, OSError) as error:
        sys.stdout.write(f"can't answer in the namespaces: {error}\n")
        return 1
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

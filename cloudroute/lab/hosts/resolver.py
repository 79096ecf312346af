"""The VPC's Resolver: a DNS server that knows the private names of instances and one public name, and a client for it.

`ip-10-0-3-4.eu-central-1.compute.internal` is 10.0.3.4, and `checkip.amazonaws.com` the internet's host. It answers at
the third address (.2) of the VPC's primary CIDR, at 169.254.169.253 and at fd00:ec2::253, by UDP and TCP (AWS,
"Understanding Amazon DNS"). The rules of `program` let queries reach it from addresses of the VPC alone.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Mapping

from cloudroute.lab.hosts.netns import ADDRESS_FAMILIES, Namespace
from cloudroute.lab.hosts.program import INTERNET_ADDRESSES
from cloudroute.lab.hosts.traffic import Protocol
from cloudroute.types import family_of

PORT = 53
_HEADER = struct.Struct("!6H")
"""Header: id, flags, and the numbers of questions, answers, authorities and additions (RFC 1035, 4.1.1)."""
_QUESTION = struct.Struct("!HH")
"""Type and class, which follow the name of a question."""
_ANSWER = struct.Struct("!HHHIH")
"""Answer, before its data: a pointer to the name, type, class, TTL in seconds, length of the data."""
_LENGTH = struct.Struct("!H")
"""Length prefix of a message over TCP."""
_A, _AAAA, _IN = 1, 28, 1
_NAME_POINTER = 0xC000 | _HEADER.size
_RESPONSE, _RECURSION_WANTED, _RECURSION_DONE, _NO_SUCH_NAME = 0x8000, 0x0100, 0x0080, 3
_TTL_SECONDS = 60
_INSTANCE = re.compile(r"ip-(\d+)-(\d+)-(\d+)-(\d+)\.[a-z0-9-]+\.(?:compute\.)?internal")
PUBLIC: Mapping[str, tuple[str, ...]] = {"checkip.amazonaws.com": INTERNET_ADDRESSES}
"""Names outside the VPC, with their addresses."""
_NO_ANSWER = (OSError, ValueError, IndexError, struct.error)
"""Errors for a client that has disconnected, or a malformed query."""


class Resolver:
    """DNS server at `addresses` of a namespace, on one thread, until `close`."""

    def __init__(self, namespace: Namespace, addresses: tuple[str, ...]) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._closing = False
        self._watch(self._wake_in, self._stop)
        with namespace.inside():
            for address in addresses:
                family = ADDRESS_FAMILIES[family_of(address)]
                packets = socket.socket(family, socket.SOCK_DGRAM)
                packets.bind((address, PORT))
                self._watch(packets, self._packet)
                self._watch(socket.create_server((address, PORT), family=family), self._connection)
        self._thread = threading.Thread(target=self._run, name="resolver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and close all sockets, so that the namespace can be removed."""
        self._wake_out.send(b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            self._forget(key.fileobj)  # type: ignore[arg-type] # only sockets were registered
        self._selector.close()
        self._wake_out.close()

    def _run(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select():
                with contextlib.suppress(*_NO_ANSWER):
                    key.data(key.fileobj)

    def _stop(self, _: socket.socket) -> None:
        self._closing = True

    def _packet(self, packets: socket.socket) -> None:
        query, sender = packets.recvfrom(4096)
        packets.sendto(answer(query), sender)

    def _connection(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        asked = bytearray()

        def read(_: socket.socket) -> None:
            data = b""
            with contextlib.suppress(OSError):
                data = connection.recv(4096)
            asked.extend(data)
            while len(asked) >= _LENGTH.size and len(asked) >= (end := _LENGTH.size + _LENGTH.unpack_from(asked)[0]):
                reply = answer(bytes(asked[_LENGTH.size : end]))
                connection.sendall(_LENGTH.pack(len(reply)) + reply)
                del asked[:end]
            if not data:
                self._forget(connection)

        self._watch(connection, read)

    def _watch(self, what: socket.socket, handler: Callable[[socket.socket], None]) -> None:
        what.settimeout(0)
        self._selector.register(what, selectors.EVENT_READ, handler)

    def _forget(self, what: socket.socket) -> None:
        self._selector.unregister(what)
        what.close()


def answer(query: bytes) -> bytes:
    """Return the reply to a query of one question.

    >>> answer(query("ip-10-0-3-4.eu-central-1.compute.internal"))[-4:].hex()
    '0a000304'
    >>> answer(query("checkip.amazonaws.com"))[-4:].hex()
    'c6336401'
    """
    id_, flags, *_ = _HEADER.unpack_from(query)
    name, end = _name(query)
    asked = _QUESTION.unpack_from(query, end)
    found = _addresses(name)
    # An existing name without an address of that type is no error: its answer is empty.
    answers = [one.packed for one in found if asked == (_A if one.version == 4 else _AAAA, _IN)]
    told = _RESPONSE | _RECURSION_DONE | flags & _RECURSION_WANTED | (0 if found else _NO_SUCH_NAME)
    records = [_ANSWER.pack(_NAME_POINTER, asked[0], _IN, _TTL_SECONDS, len(data)) + data for data in answers]
    question = query[_HEADER.size : end + _QUESTION.size]
    return _HEADER.pack(id_, told, 1, len(records), 0, 0) + question + b"".join(records)


def query(name: str) -> bytes:
    """Build the query for the IPv4 address of a name."""
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split("."))
    return _HEADER.pack(1, _RECURSION_WANTED, 1, 0, 0, 0) + labels + b"\0" + _QUESTION.pack(_A, _IN)


def ask(source: str, server: str, name: str, protocol: Protocol = "udp", timeout: float = 1.0) -> str:
    """Ask a DNS server once, from the namespace `source`: the IPv4 address of a name, "" for an error or none.

    Raises TimeoutError without an answer within `timeout` seconds.
    """
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with Namespace(source).inside():
        sock = socket.socket(ADDRESS_FAMILIES[family_of(server)], kind)
    with sock:
        sock.settimeout(timeout)
        sock.connect((server, PORT))
        message = query(name)
        sock.sendall(message if protocol == "udp" else _LENGTH.pack(len(message)) + message)
        reply = sock.recv(4096)
    reply = reply if protocol == "udp" else reply[_LENGTH.size :]
    return str(ipaddress.IPv4Address(reply[-4:])) if _HEADER.unpack_from(reply)[3] else ""


def _addresses(name: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return the addresses of an existing name."""
    instance = _INSTANCE.fullmatch(name)
    return [ipaddress.ip_address(one) for one in ([".".join(instance.groups())] if instance else PUBLIC.get(name, ()))]


def _name(message: bytes) -> tuple[str, int]:
    """Return the name of the question, and the offset of its end."""
    labels, at = [], _HEADER.size
    while length := message[at]:
        labels.append(message[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    return ".".join(labels).lower(), at + 1

"""A DNS question by UDP (RFC 1035): the C library would hide which server said what."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from cloudroute.probe import resolv
from cloudroute.probe.failure import Failed
from cloudroute.probe.sockets import packets

PORT = 53
NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME, REFUSED = 0, 2, 3, 5
_WORDS = {SERVER_FAILURE: "SERVFAIL", NO_SUCH_NAME: "NXDOMAIN", REFUSED: "REFUSED"}
_TYPES = {"A": (1, socket.AF_INET), "AAAA": (28, socket.AF_INET6)}
_HEADER = struct.Struct("!2s5H")
"""Id, flags, numbers of questions, answers, authorities and additions."""
_RECORD = struct.Struct("!HHIH")
"""Type, class, seconds to live, bytes of data, after a record's name."""
_INTERNET, _RESPONSE, _RECURSE = 1, 0x8000, 0x0100


class Reply(NamedTuple):
    """The answer of a server to one name."""

    server: str
    name: str
    rcode: int
    addresses: list[str]


def resolve(*, name: str, server: str = "", type: Literal["A", "AAAA"] = "A", timeout: float = 2.0) -> dict[str, Any]:  # noqa: A002 - the question's own word
    """Ask for the addresses of a name; `timeout` seconds for each server and name.

    `server` "" takes those of resolv.conf in turn: the next after silence, SERVFAIL or REFUSED. A name without a final
    dot goes through the search list. Returns `server`, `name`, `rcode` and `addresses`, none where the name has no
    record of that type. Fails with "dns", `server`, `name` and `rcode` for a name that no server has; with another code
    when the last server could not be asked.
    """
    conf = resolv.read()
    servers = [server] if server else conf.nameservers
    if not servers:
        raise Failed("dns", "resolv.conf has no nameserver")
    reply = _search(servers, conf.candidates(name), type, timeout)
    if reply.rcode != NO_ERROR:
        words = f"{reply.server} answers {_WORDS.get(reply.rcode, reply.rcode)} for {reply.name}"
        raise Failed("dns", words, server=reply.server, name=reply.name, rcode=reply.rcode)
    return reply._asdict()


def _search(servers: Sequence[str], names: Sequence[str], kind: str, timeout: float) -> Reply:
    """The first reply with addresses; else one without; else the last refusal."""
    replies = []
    for name in names:
        reply = _in_turn(servers, name, kind, timeout)
        if reply.addresses:
            return reply
        replies.append(reply)
    return min(reversed(replies), key=lambda one: one.rcode != NO_ERROR)


def _in_turn(servers: Sequence[str], name: str, kind: str, timeout: float) -> Reply:
    """Reply of the first server that knows. Raises the error of the last one when none can be asked."""
    for server in servers:
        try:
            reply = _ask(server, name, kind, timeout)
        except OSError:
            if server == servers[-1]:
                raise
            continue
        if reply.rcode in (NO_ERROR, NO_SUCH_NAME) or server == servers[-1]:
            return reply
    raise AssertionError  # there is a last one


def _ask(server: str, name: str, kind: str, timeout: float) -> Reply:
    number, family = _TYPES[kind]
    question = _encoded(name) + struct.pack("!HH", number, _INTERNET)
    query = _HEADER.pack(os.urandom(2), _RECURSE, 1, 0, 0, 0) + question
    deadline = time.perf_counter() + timeout
    with packets(server, PORT) as sock:
        sock.send(query)
        while (left := deadline - time.perf_counter()) > 0:
            sock.settimeout(left)
            answer = sock.recv(4096)
            if answer[:2] == query[:2] and len(answer) >= _HEADER.size + len(question):
                break
        else:
            raise TimeoutError
    _, flags, _, count, _, _ = _HEADER.unpack_from(answer)
    told = records(answer, _HEADER.size + len(question), count)
    addresses = [socket.inet_ntop(family, data) for found, data in told if found == number]
    return Reply(server, name, flags & 0xF, addresses)


def _encoded(name: str) -> bytes:
    labels = [label.encode() for label in name.split(".")]
    if not name.isascii() or not all(0 < len(label) < 64 for label in labels):
        raise Failed("other", f"{name!r} is no DNS name")
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def records(answer: bytes, at: int, count: int) -> list[tuple[int, bytes]]:
    """Type and data of `count` records, the first of which is `at` this offset. Raises Failed for a malformed one."""
    found = []
    try:
        for _ in range(count):
            while 0 < answer[at] < 0xC0:
                at += 1 + answer[at]
            at += 2 if answer[at] else 1  # a name ends with a pointer to an earlier one, or with no label
            kind, _, _, length = _RECORD.unpack_from(answer, at)
            at += _RECORD.size
            found.append((kind, answer[at : at + length]))
            at += length
    except (IndexError, struct.error):
        raise Failed("dns", "the answer is malformed or cut off") from None
    return found

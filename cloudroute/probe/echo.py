"""Questions to a `serve`, and to any TCP port."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from cloudroute.probe.dns import resolve
from cloudroute.probe.failure import Failed, failure
from cloudroute.probe.serve import ID_BYTES, LENGTH, LONGEST, OPTIONS, PORT, SHORTEST, ttl_of
from cloudroute.probe.sockets import connected, family_of, forget_errors, packets

HEADERS = {socket.AF_INET: 28, socket.AF_INET6: 48}
"""Bytes of IP and UDP headers."""


def payload_bytes(size: int, address: str) -> int:
    """UDP payload of an IP packet of `size` bytes to this address: at least as long as an answer."""
    return max(SHORTEST, size - HEADERS[family_of(address)])


def milliseconds(seconds: float) -> float:
    """A duration as answers give it."""
    return round(seconds * 1000, 3)


def udp(*, address: str, port: int = PORT, size: int = 0, timeout: float = 2.0, tries: int = 1) -> dict[str, Any]:
    """Send `tries` packets, one after another, each for `timeout` seconds; `size` is of the whole IP packet.

    Returns `seen`, `who` and `far_ttl` as the far side had them, `ttl` of the answer, `rtt_ms` of the fastest try, and
    `lost`, the number of unanswered tries. Fails when none is answered: "too-big" with `where` "device" if this
    machine's device has a smaller MTU, and nothing was sent; or "path", with its `mtu`, if a router said so (ICMP).
    """
    payload = payload_bytes(size, address)
    answers: list[dict[str, Any]] = []
    last: Exception = TimeoutError()
    with packets(address, port) as sock:
        for _ in range(tries):
            try:
                answers.append(_try(sock, payload, timeout))
            except (OSError, Failed) as error:
                last = error
    if not answers:
        raise last
    return {**min(answers, key=lambda one: float(one["rtt_ms"])), "lost": tries - len(answers)}


def _try(sock: socket.socket, payload: int, timeout: float) -> dict[str, Any]:
    options = OPTIONS[socket.AddressFamily(sock.family)]
    forget_errors(sock)
    question = os.urandom(ID_BYTES).ljust(payload, b"\0")
    start = time.perf_counter()
    try:
        sock.send(question)
    except OSError as error:
        raise _too_big(error, "the device carries less", where="device") from error
    while (left := start + timeout - time.perf_counter()) > 0:
        sock.settimeout(left)
        try:
            answer, extras, _, _ = sock.recvmsg(len(question), 128)
        except OSError as error:
            mtu = sock.getsockopt(options.level, options.mtu)
            raise _too_big(error, f"a router of the path carries {mtu} bytes", where="path", mtu=mtu) from error
        if answer[:ID_BYTES] == question[:ID_BYTES]:
            rtt = time.perf_counter() - start
            said = told(answer[ID_BYTES:])
            far = {"seen": said["seen"], "who": said["who"], "far_ttl": said["ttl"]}
            return {**far, "ttl": ttl_of(extras, options), "rtt_ms": milliseconds(rtt)}
    raise TimeoutError


def _too_big(error: OSError, words: str, **facts: Any) -> Exception:
    if error.errno != errno.EMSGSIZE:
        return error
    return Failed("too-big", f"the packet is too large: {words}", **facts)


def told(answer: bytes) -> dict[str, Any]:
    """The JSON of an answer. Raises Failed where another program sent it."""
    try:
        return dict(json.loads(answer.rstrip(b"\0")))
    except ValueError:
        raise Failed("other", "another program answers on that port") from None


def tcp(*, address: str, port: int = PORT, size: int = 0, timeout: float = 5.0) -> dict[str, Any]:
    """Send `size` bytes of payload over one connection and read as many back, within `timeout` seconds in all.

    Returns `seen` and `who` of the far side, `rtt_ms` of the handshake, and `mss`, the kernel's segment size in bytes.
    """
    size = max(SHORTEST, size)
    if size > LONGEST:
        raise Failed("other", f"size is at most {LONGEST} bytes")
    start = time.perf_counter()
    with connected(address, port, timeout) as sock:
        rtt = time.perf_counter() - start
        sock.settimeout(_left(start + timeout))
        sock.sendall(LENGTH.pack(size).ljust(size, b"\0"))
        answer = bytearray()
        while len(answer) < size:
            sock.settimeout(_left(start + timeout))
            data = sock.recv(65536)
            if not data:
                raise Failed("closed", f"the connection ended after {len(answer)} of {size} bytes")
            answer += data
        mss = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    said = told(bytes(answer))
    return {"seen": said["seen"], "who": said["who"], "rtt_ms": milliseconds(rtt), "mss": mss}


def _left(deadline: float) -> float:
    left = deadline - time.perf_counter()
    if left <= 0:
        raise TimeoutError
    return left


def connect(*, address: str, port: int, timeout: float = 2.0) -> dict[str, Any]:
    """Open a TCP connection, and close it. Returns `rtt_ms` of the handshake and `source`, the own address.

    `address` may be a full name with an IPv4 address; finding that takes up to `timeout` for each DNS server.
    """
    address = _address(address, timeout)
    start = time.perf_counter()
    with connected(address, port, timeout) as sock:
        return {"rtt_ms": milliseconds(time.perf_counter() - start), "source": sock.getsockname()[0]}


def _address(name: str, timeout: float) -> str:
    """The address of a name, or the address itself. The C library would ask silent servers for most of a minute."""
    with contextlib.suppress(OSError):
        socket.inet_pton(family_of(name), name)
        return name
    try:
        found: list[str] = resolve(name=f"{name}.", timeout=timeout)["addresses"]
    except OSError as error:
        raise Failed("dns", f"{name} is not resolved: {failure(error)['error']}") from None
    if not found:
        raise Failed("dns", f"{name} has no IPv4 address")
    return found[0]


KINDS: Mapping[str, Callable[..., dict[str, Any]]] = {"udp": udp, "tcp": tcp, "connect": connect}

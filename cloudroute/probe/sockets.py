"""Connected sockets that tell of ICMP errors, also of those that the kernel takes for temporary."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

from cloudroute.probe.serve import OPTIONS, packet_socket

_RECEIVE_ERRORS = {socket.AF_INET: 11, socket.AF_INET6: 25}
"""IP_RECVERR, IPV6_RECVERR: without it a UDP socket hears of closed ports and MTUs alone, not of unreachable hosts."""


def family_of(address: str) -> socket.AddressFamily:
    """The family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@contextlib.contextmanager
def packets(address: str, port: int) -> Iterator[socket.socket]:
    """A UDP socket, as `serve.packet_socket` makes it, that sends to this address and hears from no other."""
    family = family_of(address)
    with packet_socket(family) as opened:
        opened.setsockopt(OPTIONS[family].level, _RECEIVE_ERRORS[family], 1)
        opened.connect((address, port))
        yield opened


def forget_errors(opened: socket.socket) -> None:
    """Drop ICMP errors of earlier packets: the next call would raise one, and send nothing.

    As long as the queue holds one, `poll` returns at once, and waiting for an answer would take all of a CPU.
    """
    opened.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:
            opened.recvmsg(0, 0, socket.MSG_ERRQUEUE)


@contextlib.contextmanager
def connected(address: str, port: int, timeout: float) -> Iterator[socket.socket]:
    """A TCP connection. `timeout` seconds are for the handshake, and then for each call."""
    with socket.socket(family_of(address), socket.SOCK_STREAM) as opened:
        opened.settimeout(timeout)
        try:
            opened.connect((address, port))
        except TimeoutError:
            # An ICMP error does not end the handshake when it comes before the call has returned (net/ipv4/tcp_ipv4.c,
            # tcp_v4_err): the kernel keeps it as a "soft" one.
            if soft := opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(soft, os.strerror(soft)) from None
            raise
        yield opened

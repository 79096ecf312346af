"""One socket for requests: bulk writes, dumps and single reads.

The idea of a bulk write: an answer to each message would cost more than the message. Messages are sent 32 KiB at a
time, and only the last of such a chunk asks for an answer: the kernel works through them in order, so that answer is a
barrier. A failed message is answered in any case, with its sequence number, and the kernel goes on with the next.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from cloudroute.adapters.netlink import wire
from cloudroute.errors import KernelError

CHUNK = 32 * 1024
ANSWER_SIZE = 2048
"""Most bytes of the receive buffer for the answer to a failure: a chunk in which all fail must not overflow it."""
BUFFER_SIZE = 128 * 1024
"""The kernel hands out dumps 32 KiB at a time."""
TIMEOUT_SECONDS = 10
ATTEMPTS = 20
"""Attempts at a dump: it is repeated when others have changed the table meanwhile."""
NOT_PERMITTED = (
    "the kernel does not permit it: this needs root with the capability NET_ADMIN "
    "(in a pod: hostNetwork and securityContext.capabilities.add: [NET_ADMIN])"
)

SO_RCVBUFFORCE = 33
SOL_NETLINK = 270
_CAP_ACK, _EXT_ACK, _GET_STRICT_CHK = 10, 11, 12
_ACK_TLVS = 0x200
_FLAGS = struct.Struct("=H")
_ERROR = struct.Struct("=i")
_ERROR_SIZE = 36
"""Header, error number, and the header of the message that it answers; the kernel's text follows."""
_ERROR_TEXT = 1

K = TypeVar("K")
T = TypeVar("T")


class Failure(NamedTuple):
    """The kernel's refusal of one message: an error number, and a text if it gave one."""

    errno: int
    text: str

    @property
    def words(self) -> str:
        """The failure as text for people."""
        return self.text or os.strerror(self.errno)


def routing_socket(receive_buffer: int) -> socket.socket:
    """Return a bound socket of the present network namespace."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer)
    except PermissionError:  # root of a user namespace: as much as any process may have
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    opened.bind((0, 0))
    return opened


class Channel:
    """Requests and their answers, one at a time: threads wait for each other. Raises KernelError."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buffer = bytearray(BUFFER_SIZE)
        self._next = 1
        self._socket = routing_socket(4 << 20)
        for option in (_CAP_ACK, _EXT_ACK, _GET_STRICT_CHK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", TIMEOUT_SECONDS, 0))
        self._window = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // ANSWER_SIZE
        self.port: int = self._socket.getsockname()[0]
        """The port id, which marks the events of our own writes."""

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def submit(self, keys: Sequence[K], pack: Callable[[int], list[bytes]]) -> dict[K, Failure]:
        """Send the messages that `pack` makes, one per key, numbered from its argument on. Returns the failures by key.

        Raises KernelError when the kernel does not permit it: then it would permit no other write either.
        """
        if not keys:
            return {}
        with self._lock:
            first = self._number(len(keys))
            failures = self._send(pack(first), first)
        if any(failure.errno == errno.EPERM for failure in failures.values()):
            raise KernelError(NOT_PERMITTED)
        return {keys[index]: failure for index, failure in failures.items()}

    def request(self, kind: int, flags: int, body: bytes) -> Failure | None:
        """Send one write. Returns its failure, or None."""
        return self.submit([0], lambda first: [wire.message(kind, flags, first, body)]).get(0)

    def dump(self, kind: int, body: bytes, read: Callable[[bytearray, int, int], T]) -> list[T]:
        """Return all answers to a GET, each parsed by `read` (buffer, offset, length).

        The answer about a device that is gone is empty.
        """
        for _ in range(ATTEMPTS):
            answers, failure, interrupted = self._ask(kind, wire.DUMP, body, read)
            if failure is not None and failure.errno != errno.ENODEV:
                raise KernelError(f"the kernel can't list its tables (request {kind}): {failure.words}")
            if not interrupted:
                return answers
        raise KernelError(f"a table of the kernel (request {kind}) changed {ATTEMPTS} times while it was being read")

    def get(self, kind: int, body: bytes, read: Callable[[bytearray, int, int], T]) -> T | None:
        """Return the one answer to a GET; None when the object does not exist."""
        answers, failure, _ = self._ask(kind, wire.ACK, body, read)
        if failure is not None and failure.errno not in (errno.ENODEV, errno.ENOENT):
            raise KernelError(f"the kernel can't be asked (request {kind}): {failure.words}")
        return answers[0] if answers else None

    # --- under the lock ---------------------------------------------------------------------------

    def _number(self, count: int) -> int:
        """The first of `count` new sequence numbers. None is used twice, so that a late answer matches no request."""
        if self._next + count > 0xFFFF_FFFF:
            self._next = 1
        first = self._next
        self._next += count
        return first

    def _send(self, messages: list[bytes], first: int) -> dict[int, Failure]:
        failures: dict[int, Failure] = {}
        step = max(1, min(self._window, CHUNK // max(map(len, messages))))
        for start in range(0, len(messages), step):
            part = messages[start : start + step]
            chunk = bytearray(b"".join(part))
            flags_at = len(chunk) - len(part[-1]) + wire.FLAGS_OFFSET
            _FLAGS.pack_into(chunk, flags_at, _FLAGS.unpack_from(chunk, flags_at)[0] | wire.ACK)
            self._socket.sendall(chunk)
            self._collect(first, start + len(part) - 1, failures)
        return failures

    def _collect(self, first: int, last: int, failures: dict[int, Failure]) -> None:
        """Receive answers until that to message `last` has come."""
        while True:
            size = self._receive()
            offset = 0
            while offset < size:
                length, kind, flags, sequence, _ = wire.HEADER.unpack_from(self._buffer, offset)
                index = sequence - first
                if kind == wire.NLMSG_ERROR and 0 <= index <= last:
                    if (failure := self._failure(offset, length, flags)) is not None:
                        failures[index] = failure
                    if index == last:
                        return
                offset += (length + 3) & ~3

    def _ask(
        self, kind: int, flags: int, body: bytes, read: Callable[[bytearray, int, int], T]
    ) -> tuple[list[T], Failure | None, bool]:
        """Return the answers, the failure, and whether the table was changed meanwhile."""
        answers: list[T] = []
        interrupted = 0
        buffer, header, append = self._buffer, wire.HEADER.unpack_from, answers.append
        with self._lock:
            number = self._number(1)
            self._socket.sendall(wire.message(kind, flags, number, body))
            while True:
                size = self._receive()
                offset = 0
                while offset < size:
                    length, answer, answer_flags, sequence, _ = header(buffer, offset)
                    if sequence == number:
                        interrupted |= answer_flags & wire.DUMP_INTR
                        if answer <= wire.NLMSG_DONE:
                            return answers, self._failure(offset, length, answer_flags), bool(interrupted)
                        append(read(buffer, offset, length))
                    offset += (length + 3) & ~3

    def _failure(self, offset: int, length: int, flags: int) -> Failure | None:
        """Parse an error message, or the end of a dump, which begins with an error number as well."""
        (code,) = _ERROR.unpack_from(self._buffer, offset + 16)
        if code >= 0:
            return None
        words = b""
        if flags & _ACK_TLVS:
            words = wire.attributes(self._buffer, offset + _ERROR_SIZE, offset + length).get(_ERROR_TEXT, b"")
        return Failure(-code, words.rstrip(b"\0").decode(errors="replace"))

    def _receive(self) -> int:
        try:
            return self._socket.recv_into(self._buffer)
        except BlockingIOError:
            raise KernelError(f"the kernel did not answer a netlink request within {TIMEOUT_SECONDS} s") from None
        except OSError as error:
            raise KernelError(f"the kernel's answers could not be received: {error.strerror}") from None

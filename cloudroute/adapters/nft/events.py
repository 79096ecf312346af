"""Changes of our table by others, from the kernel's announcements of nftables changes.

The idea: every change anywhere in nftables is announced, and a kube-proxy may make hundreds a second. So messages
without our table's name are dropped at once. An announcement carries the netlink port of the process that made the
change, which for the nft command is its process id in our own pid namespace, in containers too: it marks our own
writes.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Collection

from cloudroute.adapters.netlink.channel import SO_RCVBUFFORCE
from cloudroute.dataplane import TABLE, Kind
from cloudroute.errors import KernelError

NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7
NFPROTO_INET = 1
RECEIVE_BYTES = 8 << 20
"""Room for the announcements of our own table with 5,000 peers, so that defining it loses none."""
DATAGRAM_BYTES = 64 << 10

_HEADER = struct.Struct("=IHHIIBBHHH")
"""nlmsghdr (length, type, flags, sequence, port), nfgenmsg (family, version, resource), first attribute (length, type).
The table's name is the first attribute of every announcement that is about something in a table."""
_FIRST_ATTRIBUTE = 1
_NAME = TABLE.encode() + b"\0"


class Events:
    """Calls `changed` from the thread "nft-events". Changes by the netlink ports in `own` do not count."""

    def __init__(self, own: Collection[int], changed: Callable[[Collection[Kind]], None]) -> None:
        self._own = own
        self._changed = changed
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
            self._socket.bind((0, 1 << (NFNLGRP_NFTABLES - 1)))
        except OSError as error:
            raise KernelError(f"the kernel does not announce changes of nftables: {error.strerror}") from None
        _enlarge(self._socket)
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC)
        self._closing = False
        self.thread = threading.Thread(target=self._run, name="nft-events", daemon=True)
        self.thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing = True
        os.write(self._waker, b"\0")
        self.thread.join()
        self._socket.close()
        os.close(self._wake)
        os.close(self._waker)

    @property
    def dead(self) -> bool:
        """Whether the thread has ended unasked."""
        return not self._closing and not self.thread.is_alive()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        buffer = bytearray(DATAGRAM_BYTES)
        while True:
            poll.poll()
            if self._closing:
                return
            try:
                size = self._socket.recv_into(buffer, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                foreign = True  # announcements were lost
            else:
                foreign = is_foreign(buffer, size, self._own)
            if foreign:
                self._changed({"nftables"})


def is_foreign(data: bytes | bytearray, size: int, own: Collection[int]) -> bool:
    """Whether a datagram of `size` bytes announces a change of our table by a port other than `own`.

    All announcements of one datagram come from one transaction, and so from one process.
    """
    if data.find(_NAME, 0, size) < 0:
        return False
    offset = 0
    while offset + _HEADER.size <= size:
        length, _, _, _, port, family, _, _, value, attribute = _HEADER.unpack_from(data, offset)
        if port in own:
            return False
        name = data[offset + _HEADER.size : offset + _HEADER.size - 4 + value]
        if family == NFPROTO_INET and attribute == _FIRST_ATTRIBUTE and name == _NAME:
            return True
        offset += max((length + 3) & ~3, _HEADER.size)
    return False


def _enlarge(receiver: socket.socket) -> None:
    try:
        receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)
    except PermissionError:  # in a user namespace: a large change of our own then only causes a read
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)

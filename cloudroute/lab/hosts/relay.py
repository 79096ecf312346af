"""Access to a server of the machine, as the API server: a host's 127.0.0.1:PORT leads to the machine's 127.0.0.1:PORT.

Hosts of the lab have no route to the machine they run on, and need none: a thread enters the host's namespace to open a
listener, which stays there; the connection on to the server is opened outside. So one kubeconfig works everywhere, and
faults in the VPC never disconnect an agent from the API. In the internet's namespace it may listen on the internet's
address instead: then hosts reach the server through the VPC's gateway. One thread serves all.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable

from cloudroute.lab.hosts.netns import Namespace

BUFFER = 256 * 1024
"""Bytes buffered for a side that does not read; the other side is not read from while it is full."""
BACKLOG = 128


class _Side:
    """One of the two sockets of a connection, and the data still to be sent to it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.other: _Side
        self.pending = bytearray()
        self.ended = False
        """Whether this side has closed its sending direction."""
        self.shut = False
        """Whether the close of the other side was passed on to this one."""
        self.events = 0


class Relay:
    """Listens in every namespace it was given. All methods may be called from any thread."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._selector = selectors.DefaultSelector()
        self._listeners: dict[str, socket.socket] = {}
        self._owners: dict[str, set[_Side]] = {}
        self._orders: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._closing = False
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.settimeout(0)
        self._selector.register(self._wake_in, selectors.EVENT_READ, self._woken)
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def add(self, namespace: Namespace, address: str = "127.0.0.1") -> None:
        """Listen on an IPv4 address of a namespace. When this returns, connections are accepted."""
        with namespace.inside():
            listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, self.port))
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        listener.settimeout(0)
        self._order(lambda: self._listen(namespace.name, listener))

    def remove(self, namespace: Namespace) -> None:
        """Stop listening in a namespace and end its connections."""
        self._order(lambda: self._forget(namespace.name))

    def close(self) -> None:
        """Stop all listeners and connections."""
        self._closing = True
        self._order(lambda: None)
        self._thread.join()

    # --- the thread ---------------------------------------------------------------------------

    def _order(self, order: Callable[[], None]) -> None:
        with self._lock:
            self._orders.append(order)
        with contextlib.suppress(OSError):
            self._wake_out.send(b"x")

    def _run(self) -> None:
        while not self._closing:
            for key, events in self._selector.select():
                # An earlier event of this round may have closed this socket.
                if self._selector.get_map().get(key.fd) is key:
                    key.data(events)
        self._carry_out()
        for name in list(self._listeners):
            self._forget(name)
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    def _woken(self, _events: int) -> None:
        self._wake_in.recv(4096)
        self._carry_out()

    def _carry_out(self) -> None:
        with self._lock:
            orders, self._orders = self._orders, []
        for order in orders:
            order()

    def _listen(self, name: str, listener: socket.socket) -> None:
        self._listeners[name] = listener
        self._owners[name] = set()
        self._selector.register(listener, selectors.EVENT_READ, lambda _events: self._accept(name))

    def _forget(self, name: str) -> None:
        listener = self._listeners.pop(name, None)
        if listener is None:
            return
        self._selector.unregister(listener)
        listener.close()
        for side in list(self._owners[name]):
            self._close(name, side)
        del self._owners[name]

    def _accept(self, name: str) -> None:
        try:
            near, _ = self._listeners[name].accept()
        except OSError:
            return
        try:
            far = socket.socket()
        except OSError:  # no file descriptor is left: the client may retry
            near.close()
            return
        for sock in (near, far):
            sock.settimeout(0)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client, server = _Side(near), _Side(far)
        client.other, server.other = server, client
        self._owners[name].add(client)
        # A refused connect is reported as the socket's first event.
        far.connect_ex(("127.0.0.1", self.port))
        self._watch(name, client)
        self._watch(name, server)

    def _serve(self, name: str, side: _Side, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._send(side)
            if events & selectors.EVENT_READ:
                self._receive(side)
            self._send(side.other)
        except BlockingIOError:
            pass
        except OSError:
            self._close(name, side)
            return
        if side.shut and side.other.shut:
            self._close(name, side)
            return
        self._watch(name, side)
        self._watch(name, side.other)

    def _receive(self, side: _Side) -> None:
        data = side.sock.recv(65536)
        side.ended = not data
        side.other.pending += data

    def _send(self, side: _Side) -> None:
        if side.pending:
            with contextlib.suppress(BlockingIOError):
                del side.pending[: side.sock.send(side.pending)]
        if side.other.ended and not side.pending and not side.shut:
            side.sock.shutdown(socket.SHUT_WR)
            side.shut = True

    def _watch(self, name: str, side: _Side) -> None:
        """Wait for the events that the side can handle next."""
        wanted = 0
        if not side.ended and len(side.other.pending) < BUFFER:
            wanted |= selectors.EVENT_READ
        if side.pending:
            wanted |= selectors.EVENT_WRITE
        if wanted == side.events:
            return
        if not wanted:
            self._selector.unregister(side.sock)
        elif side.events:
            self._selector.modify(side.sock, wanted, lambda events: self._serve(name, side, events))
        else:
            self._selector.register(side.sock, wanted, lambda events: self._serve(name, side, events))
        side.events = wanted

    def _close(self, name: str, side: _Side) -> None:
        for one in (side, side.other):
            if one.events:
                self._selector.unregister(one.sock)
            one.sock.close()
            self._owners[name].discard(one)

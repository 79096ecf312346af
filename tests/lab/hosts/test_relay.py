"""Connections from a host to the API server behave as without a relay."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from cloudroute.lab.hosts.netns import Namespace, leftovers
from cloudroute.lab.hosts.relay import BUFFER, Relay
from tests.hosts import require_netns

PREFIX = f"crlhr{os.getpid()}-"
PATIENCE = 10.0
MUCH = 8 * 1024 * 1024


class Upstream:
    """A server on the machine's loopback: `serve` is given each connection in a thread of its own."""

    def __init__(self, serve: Callable[[socket.socket], None], port: int = 0) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(PATIENCE)
                self._threads.append(threading.Thread(target=self._answer, args=(connection,)))
                self._threads[-1].start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._serve(connection)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a second time
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        for thread in self._threads:
            thread.join()


def whole(connection: socket.socket) -> bytes:
    """All bytes up to the end of the stream."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def answer_at_the_end(connection: socket.socket) -> None:
    said = whole(connection)
    connection.sendall(b"you said " + said)


@pytest.fixture
def host() -> Iterator[Namespace]:
    require_netns()
    namespace = Namespace(f"{PREFIX}host")
    namespace.create()
    yield namespace
    for left in leftovers(PREFIX):
        left.delete()


@contextlib.contextmanager
def relayed(host: Namespace, serve: Callable[[socket.socket], None]) -> Iterator[tuple[Upstream, Relay]]:
    upstream = Upstream(serve)
    relay = Relay(upstream.port)
    relay.add(host)
    try:
        yield upstream, relay
    finally:
        relay.close()
        upstream.close()


def connect(host: Namespace, port: int) -> socket.socket:
    with host.inside():
        client = socket.socket()
    client.settimeout(PATIENCE)
    try:
        client.connect(("127.0.0.1", port))
    except OSError:
        client.close()
        raise
    return client


def test_each_side_may_end_its_half_and_still_hear_the_other(host: Namespace) -> None:
    with relayed(host, answer_at_the_end) as (upstream, _), connect(host, upstream.port) as client:
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        assert whole(client) == b"you said hello"


def test_many_talk_at_once(host: Namespace) -> None:
    with relayed(host, answer_at_the_end) as (upstream, _):
        clients = [connect(host, upstream.port) for _ in range(100)]
        for index, client in enumerate(clients):
            client.sendall(str(index).encode())
            client.shutdown(socket.SHUT_WR)
        for index, client in enumerate(clients):
            with client:
                assert whole(client) == f"you said {index}".encode()


def test_a_slow_reader_holds_the_sender_up_and_nothing_is_lost(host: Namespace) -> None:
    read = threading.Event()
    heard: list[int] = []

    def listen_late(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        read.wait(PATIENCE)
        heard.append(len(whole(connection)))

    with relayed(host, listen_late) as (upstream, _), connect(host, upstream.port) as client:
        client.settimeout(0)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < 64 * MUCH:
                sent += client.send(bytes(65536))
        assert sent < 2 * MUCH + BUFFER, "the relay takes what nobody reads"
        client.settimeout(PATIENCE)
        read.set()
        client.sendall(bytes(MUCH))
        client.shutdown(socket.SHUT_WR)
        assert whole(client) == b""
    assert heard == [sent + MUCH]


def test_a_server_that_breaks_off_is_seen_to_break_off(host: Namespace) -> None:
    def abort(connection: socket.socket) -> None:
        connection.recv(1)

    with relayed(host, abort) as (upstream, _), connect(host, upstream.port) as client:
        client.sendall(b"x")
        with contextlib.suppress(ConnectionResetError):
            assert whole(client) == b""


def test_a_client_that_breaks_off_is_seen_to_break_off(host: Namespace) -> None:
    ended = threading.Event()

    def wait(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            whole(connection)
        ended.set()

    with relayed(host, wait) as (upstream, _):
        client = connect(host, upstream.port)
        client.sendall(b"x")
        client.close()
        assert ended.wait(PATIENCE)


def test_without_a_server_the_connection_ends_and_with_it_again_all_is_well(host: Namespace) -> None:
    with relayed(host, answer_at_the_end) as (first, _):
        first.close()
        with connect(host, first.port) as client, contextlib.suppress(ConnectionResetError):
            assert whole(client) == b""
        second = Upstream(answer_at_the_end, first.port)
        try:
            with connect(host, first.port) as client:
                client.sendall(b"again")
                client.shutdown(socket.SHUT_WR)
                assert whole(client) == b"you said again"
        finally:
            second.close()


def test_a_namespace_that_is_removed_is_left_and_its_connections_end(host: Namespace) -> None:
    other = Namespace(f"{PREFIX}other")
    other.create()
    with relayed(host, whole_and_wait) as (upstream, relay):
        relay.add(other)
        with connect(other, upstream.port) as left, connect(host, upstream.port) as stays:
            left.sendall(b"x")
            stays.sendall(b"x")
            relay.remove(other)
            with contextlib.suppress(ConnectionResetError):
                assert whole(left) == b""
            with pytest.raises(ConnectionRefusedError):
                connect(other, upstream.port)
            connect(host, upstream.port).close()
            stays.shutdown(socket.SHUT_WR)
            assert whole(stays) == b""


def whole_and_wait(connection: socket.socket) -> None:
    whole(connection)

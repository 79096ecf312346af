"""The API server's proxy connects from inside a namespace."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudroute.lab.hosts.egress import Egress
from cloudroute.lab.hosts.netns import Namespace
from tests.hosts import require_netns


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    require_netns()
    made = Namespace(f"crlhe{os.getpid()}")
    made.create()
    yield made
    made.delete()


def test_connections_are_made_in_the_namespace_and_failures_told(namespace: Namespace, tmp_path: Path) -> None:
    egress = Egress(namespace, tmp_path)
    try:
        with namespace.inside(), socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
            port = listener.getsockname()[1]
            with connect(tmp_path, f"[::1]:{port}") as client:
                assert client.recv(4096) == b"HTTP/1.1 200 OK\r\n\r\n"
                server, _ = listener.accept()
                with server:
                    client.sendall(b"question")
                    client.shutdown(socket.SHUT_WR)
                    assert server.recv(4096) + server.recv(4096) == b"question"
                    server.sendall(b"answer")
                assert client.recv(4096) + client.recv(4096) == b"answer"
        with connect(tmp_path, f"[::1]:{port}") as client:
            assert client.recv(4096).startswith(b"HTTP/1.1 502")
    finally:
        egress.close()


def connect(folder: Path, target: str) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(folder / "egress.sock"))
    client.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    return client

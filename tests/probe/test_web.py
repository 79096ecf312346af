"""HTTP and HTTPS."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

import pytest

from cloudroute.types import Family
from tests.packets.webhook import certificate
from tests.probe.net import FAR, SILENT, Net


class Answers(BaseHTTPRequestHandler):
    """Says what it was asked, and much more."""

    def do_PUT(self) -> None:
        said = f"{self.path} {self.headers['host']} {self.headers['x-ttl']} ".encode().ljust(1000, b".")
        self.send_response(403)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Server4(ThreadingHTTPServer):
    def server_bind(self) -> None:
        """Without a look-up of the own name, which would wait for a DNS server."""
        TCPServer.server_bind(self)


class Server6(Server4):
    address_family = socket.AF_INET6


@contextmanager
def web(hosts: Net, family: Family, secure: Callable[[socket.socket], socket.socket] | None = None) -> Iterator[int]:
    """A server at the far host; its port."""
    with hosts.far.inside():
        server = (Server4 if family == "ipv4" else Server6)((FAR[family], 0), Answers)
    if secure:
        server.socket = secure(server.socket)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def question(family: Family) -> dict[str, Any]:
    return {"address": FAR[family], "path": "/who", "method": "PUT", "headers": {"X-TTL": "60"}}


def test_status_and_the_start_of_the_body_are_told(hosts: Net, family: Family, question: dict[str, Any]) -> None:
    with web(hosts, family) as port:
        named = hosts.one("http", **question, port=port, host="web.test")
        plain = hosts.one("http", **question, port=port)
        tls = hosts.one("https", **question, port=port)
    assert named == {"ok": True, "status": 403, "body": "/who web.test 60 ".ljust(300, ".")}
    assert plain["body"].startswith(f"/who {FAR[family] if family == 'ipv4' else f'[{FAR[family]}]'}:{port} 60 ")
    assert tls["code"] == "tls"


def test_any_certificate_will_do(hosts: Net, family: Family, question: dict[str, Any], tmp_path: Path) -> None:
    """One for another address, which nobody has signed."""
    certificate("192.0.2.1", tmp_path / "pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    with web(hosts, family, lambda plain: context.wrap_socket(plain, server_side=True)) as port:
        assert hosts.one("https", **question, port=port, host="web.test")["status"] == 403
        answer = hosts.one("http", **question, port=port)
    assert answer["code"] == "closed"


def test_failures_have_codes(hosts: Net, family: Family, question: dict[str, Any]) -> None:
    """A closed port, silence, and the echo, which ends a connection that asks nothing sensible."""
    silent = {**question, "address": SILENT[family], "timeout": 0.3}
    answers = hosts.ask(
        *({"kind": kind, **one} for kind in ("http", "https") for one in (question, silent, {**question, "port": 8470}))
    )
    assert [answer["code"] for answer in answers] == ["refused", "timeout", "closed"] * 2

"""HTTP for probes, scrapes and the status page: small answers, many clients, some of them slow."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections import deque
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

REQUEST_SECONDS = 5
"""Seconds that a client may be silent, and that it may take to read an answer."""
MAX_CONNECTIONS = 16


class Answer(NamedTuple):
    """Answer of a path."""

    status: int
    content_type: str
    body: bytes
    packed: bytes = b""
    """The body gzipped, for clients that accept it; b"" where there is none."""
    headers: Mapping[str, str] = {}
    """Further headers. With an ETag among them, a client that has that version gets 304."""


class Server(ThreadingHTTPServer):
    """HTTP server with one thread per connection and few connections: a new one beyond the limit closes the oldest.

    So a client that sends nothing, or a byte now and then, can't block the kubelet's probes.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer: Callable[[str], Answer], host: str, port: int) -> None:
        self.answer = answer
        self._open: deque[Any] = deque()
        self._open_lock = threading.Lock()
        both = not host and socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if both or ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler, bind_and_activate=False)
        try:
            if both:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            self.server_bind()
            self.server_activate()
        except OSError:
            self.server_close()
            raise

    def server_bind(self) -> None:
        # HTTPServer.server_bind looks up the host's name, which can hang where DNS does.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            if len(self._open) >= MAX_CONNECTIONS:
                _hang_up(self._open.popleft())
            self._open.append(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            if request in self._open:
                self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: the client has gone, or its connection was closed by us."""


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client closed it first


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        answer = self.server.answer(self.path)
        etag = answer.headers.get("ETag")
        if etag and _names(self.headers.get("If-None-Match", ""), etag):
            self._head(304, answer.headers)
            return
        packed = bool(answer.packed) and _takes_gzip(self.headers.get("Accept-Encoding", ""))
        body = answer.packed if packed else answer.body
        headers = {"Content-Type": answer.content_type, "Content-Length": str(len(body)), **answer.headers}
        self._head(answer.status, {**headers, "Content-Encoding": "gzip"} if packed else headers)
        if with_body:
            self.wfile.write(body)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"X-Content-Type-Options": "nosniff", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def version_string(self) -> str:
        """The server's name without the interpreter's version, which attackers could use."""
        return "cloudroute"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (http.server's name)
        """Log nothing: probes would fill the log."""


def _names(if_none_match: str, etag: str) -> bool:
    """Whether an If-None-Match header names the version `etag`, weak or not.

    >>> _names('"a", W/"b"', 'W/"b"'), _names("*", '"a"'), _names('"b"', '"a"')
    (True, True, False)
    """
    had = [part.strip().removeprefix("W/") for part in if_none_match.split(",")]
    return "*" in had or etag.removeprefix("W/") in had


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header allows gzip.

    >>> _takes_gzip("br, GZIP;q=0.5"), _takes_gzip("gzip;q=0"), _takes_gzip("identity"), _takes_gzip("")
    (True, False, False, False)
    """
    for part in accept_encoding.lower().split(","):
        coding, *parameters = [word.strip().replace(" ", "") for word in part.split(";")]
        if coding == "gzip":
            return not any(parameter.startswith("q=0") and not parameter.strip("q=0.") for parameter in parameters)
    return False

"""The API over HTTP/1.1: a thread for each connection, chunked watch streams, and the schedule of faults.

The order in a request is that of a real server under stress: it arrives and is counted, then a fault may apply to it,
then it is executed, then a fault may drop the answer.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cloudroute.lab.kube import discovery, watches
from cloudroute.lab.kube.answers import Answers
from cloudroute.lab.kube.faults import Fault, Faults
from cloudroute.lab.kube.kubeconfig import write_kubeconfig
from cloudroute.lab.kube.requests import Request, parse, split
from cloudroute.lab.kube.resources import Registry
from cloudroute.lab.kube.status import Object, StatusError, expired
from cloudroute.lab.kube.store import Store

_REVIEW = ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"]


class _Gone(Exception):
    """The connection is to be closed without an answer."""


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], kube: KubeServer) -> None:
        self.kube = kube
        self.connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(address, _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - the base class's signature
        return not self.kube.faults.is_down

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._connections_lock:
            self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._connections_lock:
            self.connections.discard(request)
        super().shutdown_request(request)

    def disconnect_all(self) -> None:
        with self._connections_lock:
            connections = list(self.connections)
        for connection in connections:
            _disconnect(connection)


class KubeServer:
    """The embedded API, listening. `close` ends every connection; the objects stay with the KubeApi."""

    token = "any"  # noqa: S105 - every token is accepted
    ca_file: Path | None = None

    def __init__(
        self,
        store: Store,
        registry: Registry,
        answers: Answers,
        faults: Faults,
        calls: Counter[tuple[str, str]],
        address: tuple[str, int],
    ) -> None:
        self.store = store
        self.registry = registry
        self.answers = answers
        self.faults = faults
        self.calls = calls
        self.closing = False
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._listener = _Listener(address, self)
        self._thread = threading.Thread(
            target=self._listener.serve_forever, kwargs={"poll_interval": 0.05}, name="kube-api", daemon=True
        )
        faults.disconnect_all = self._listener.disconnect_all
        self._thread.start()

    @property
    def url(self) -> str:
        """URL of the server: http://host:port."""
        host, port = self._listener.server_address[:2]
        return f"http://{host!s}:{port}"

    @property
    def port(self) -> int:
        """Port of the server."""
        return int(self._listener.server_address[1])

    def kubeconfig(self, path: Path | None = None, user: str = "admin") -> Path:
        """Write a kubeconfig for it. Without a path it goes to a temporary file that `close` removes."""
        if path is None:
            self._folder = self._folder or tempfile.TemporaryDirectory(prefix="cloudroute-kube-")
            path = Path(self._folder.name) / f"kubeconfig-{user}"
        return write_kubeconfig(self.url, self.token, self.ca_file, user, path)

    def close(self) -> None:
        """Stop listening and end every connection, watches included."""
        self.closing = True
        self.faults.release()
        self._listener.shutdown()
        self._listener.server_close()
        self._listener.disconnect_all()
        self.store.wake()
        self._thread.join()
        if self._folder is not None:
            self._folder.cleanup()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: _Listener

    def handle(self) -> None:
        with contextlib.suppress(_Gone, OSError):
            super().handle()

    def finish(self) -> None:
        # The client has disconnected: the rest of the answer can't be sent.
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
        """Log nothing: `calls` counts the requests."""

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kube = self.server.kube
        if kube.faults.is_down or kube.closing:
            raise _Gone
        try:
            parts, query = split(self.path)
            if parts in (["healthz"], ["livez"], ["readyz"]):
                self._send(200, b"ok", "text/plain")
                return
            if parts == _REVIEW and self.command == "POST":
                self._send(201, json.dumps(_allowed(json.loads(body))).encode())
                return
            document = discovery.document(kube.registry, parts) if self.command == "GET" else None
            if document is not None:
                self._send(200, json.dumps(document).encode())
                return
            request = parse(kube.registry, self.command, parts, query, dict(self.headers.items()))
            self._serve(request, body)
        except StatusError as error:
            self._refuse(error)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _do  # noqa: N815 - the base class looks for these names

    def _serve(self, request: Request, body: bytes) -> None:
        kube = self.server.kube
        kube.calls[request.verb, request.target] += 1
        fault = kube.faults.take(request.verb, request.target)
        if fault is not None:
            self._strike(fault, request)
        if request.verb == "watch":
            forget = fault is not None and fault.kind == "fail"
            self._watch(request, iter([_too_old()]) if forget else None)
            return
        code, answer = kube.answers.answer(request, body)
        if fault is not None and fault.kind == "drop":
            raise _Gone
        self._send(code, answer)

    def _strike(self, fault: Fault, request: Request) -> None:
        """Apply a fault that acts before the request is processed."""
        kube = self.server.kube
        if fault.kind == "delay":
            time.sleep(fault.seconds)
        elif fault.kind == "hang":
            kube.faults.released.wait()
            raise _Gone
        elif fault.kind == "fail" and not (request.verb == "watch" and fault.code == 410):
            raise fault.error()

    def _watch(self, request: Request, lines: Iterator[bytes] | None) -> None:
        kube = self.server.kube
        lines = lines or watches.stream(kube.store, request, lambda: kube.closing)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        watch = kube.faults.opened(request.resource.plural, lambda: _disconnect(self.connection))
        try:
            for line in lines:
                if watch.silent:
                    self._stay_silent()
                if line:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                    self.wfile.flush()
                elif self._client_left(0):
                    raise _Gone
            if watch.silent:
                self._stay_silent()
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
        finally:
            kube.faults.closed(watch)

    def _stay_silent(self) -> None:
        """Keep the connection open and send nothing, until the client leaves or the server closes."""
        while not self.server.kube.closing and not self._client_left(1.0):
            pass
        raise _Gone

    def _client_left(self, timeout: float) -> bool:
        readable, _, _ = select.select([self.connection], [], [], timeout)
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def _refuse(self, error: StatusError) -> None:
        seconds = error.details.get("retryAfterSeconds")
        self._send(error.code, json.dumps(error.body()).encode(), retry_after=seconds)

    def _send(
        self, code: int, body: bytes, content_type: str = "application/json", retry_after: int | None = None
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def _allowed(review: Object) -> Object:
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    return {**kind, **review, "status": {"allowed": True, "reason": "the embedded API refuses nobody"}}


def _too_old() -> bytes:
    event = {"type": "ERROR", "object": expired("too old resource version").body()}
    return json.dumps(event).encode() + b"\n"


def _disconnect(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)

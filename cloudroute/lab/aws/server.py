"""The lab's AWS over HTTP, for boto3, the aws CLI and Terraform with an endpoint URL.

HTTP/1.1 with keep-alive: otherwise a client's measurements would include a TCP connect per call. A dropped answer
closes the socket; a hanging one keeps it open until the client gives up.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cloudroute.lab.aws import wire
from cloudroute.lab.aws.wire import AwsError, Request, Response
from cloudroute.ports import Clock


class Server:
    """A running server; `url` is its endpoint. Also a context manager that closes it."""

    def __init__(self, answer: Callable[[Request], Response], clock: Clock, host: str, port: int) -> None:
        self._http = _Http((host, port), answer, clock)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        bound = self._http.server_address[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{bound}"

    def close(self) -> None:
        """Stop listening and cut every connection."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._http.cut_all()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], answer: Callable[[Request], Response], clock: Clock) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)
        self.answer = answer
        self.clock = clock
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        """Shut down every connection; its thread then closes it."""
        with self._open_lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that disconnects in the middle of an answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # send head and body in one packet
    disable_nagle_algorithm = True
    server: _Http

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            response = self.server.answer(wire.parse(self.command, self.path, self.headers, body))  # type: ignore[arg-type]  # email.Message.get finds names in any case, and parse needs no more
        except AwsError as error:
            response = wire.refusal("ec2", error)
        except Exception as error:  # noqa: BLE001 - without an answer a client would retry for minutes
            response = wire.refusal("ec2", AwsError("InternalError", f"The lab itself failed: {error!r}"))
        self._reply(response)

    do_GET = do_POST  # noqa: N815 - the name that http.server calls

    def _reply(self, response: Response) -> None:
        if response.fate == "hang":
            self.rfile.read(1)  # returns when the client closes, or the server
        elif response.delay:
            self.server.clock.sleep(response.delay)
        if response.fate != "arrives":
            self.close_connection = True
            return
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)

    def log_message(self, *_: object) -> None:
        """Log nothing: the lab keeps counts, not an access log."""

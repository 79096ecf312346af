"""Requests to a lab that stays up: a unix socket, with one JSON line per request and one per answer.

Socket and log are beside the lab's folder and not in it: they exist before the folder, and so can report why the lab
could not be built.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import socketserver
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cloudroute.errors import CloudrouteError

RUN = Path("/run/cloudroute-lab")
ANSWER_SECONDS = 120.0
"""Time limit of an answer; it may have to wait for controllers to be replaced."""
REQUEST_SECONDS = 5.0
"""Time limit of a request's arrival after the connect."""
_CREDENTIALS = struct.Struct("@iII")

Request = Mapping[str, Any]
"""`do` names the action, the other keys are its arguments."""


class NotUp(CloudrouteError):
    """No such lab is up, or its daemon has died."""


def socket_path(name: str) -> Path:
    """Return the path of the socket of the lab's daemon."""
    return RUN / f"{name}.sock"


def log_path(name: str) -> Path:
    """Return the path of the log of the lab's daemon; `lab down` removes it."""
    return RUN / f"{name}.log"


def ask(name: str, request: Request, timeout: float = ANSWER_SECONDS) -> Any:
    """Send a request to the daemon of a lab. Raises NotUp, and CloudrouteError with its message when it refuses."""
    with _connected(name, timeout) as sock:
        try:
            sock.sendall(json.dumps(request).encode() + b"\n")
            with sock.makefile("rb") as stream:
                line = stream.readline()
        except TimeoutError as error:
            raise CloudrouteError(f"the lab {name} gives no answer for {timeout:g} s; see {log_path(name)}") from error
        except OSError:
            line = b""
    if not line:
        raise NotUp(f"the lab {name} ended before it answered; see {log_path(name)}")
    answer = json.loads(line)
    if "error" in answer:
        raise CloudrouteError(*answer["error"].split("\n"))
    return answer["ok"]


def kill(name: str) -> None:
    """Kill the daemon of a lab, even one that hangs. Raises NotUp when there is none."""
    with _connected(name, REQUEST_SECONDS) as sock:
        # Credentials of the listening process: the kernel has them even before an accept.
        pid, _, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):  # wait: its sockets close when it has ended
            sock.recv(1)


def _connected(name: str, timeout: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout)
    try:
        sock.connect(str(socket_path(name)))
    except OSError as error:
        sock.close()
        raise NotUp(f"no lab {name} is up ({error.strerror or error}): start one with cloudroute lab up") from error
    return sock


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers requests, each in a thread of its own. `answer` returns JSON values, or raises CloudrouteError.

    Raises CloudrouteError when a lab of this name is up.
    """

    daemon_threads = False
    """Closing waits for answers in progress: the last one is that of `down`."""
    request_queue_size = 128

    def __init__(self, name: str, answer: Callable[[Request], Any]) -> None:
        self.answer = answer
        RUN.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(NotUp), _connected(name, REQUEST_SECONDS):
            raise CloudrouteError(f"a lab {name} is up already")
        self._path = socket_path(name)
        self._path.unlink(missing_ok=True)
        super().__init__(str(self._path), _Handler)

    def shutdown(self) -> None:
        """Stop accepting requests. `server_close` then waits for answers in progress."""
        super().shutdown()
        self._path.unlink(missing_ok=True)


class _Handler(socketserver.StreamRequestHandler):
    server: Server
    timeout = REQUEST_SECONDS

    def handle(self) -> None:
        answer: dict[str, Any]
        try:
            request = json.loads(self.rfile.readline())
            if not isinstance(request, dict) or "do" not in request:
                raise CloudrouteError("expected a JSON object with `do`")
            answer = {"ok": self.server.answer(request)}
        except (CloudrouteError, UnicodeDecodeError, json.JSONDecodeError) as error:
            answer = {"error": str(error)}
        except OSError:
            return  # the client has disconnected, or sends nothing
        with contextlib.suppress(OSError):
            self.wfile.write(json.dumps(answer).encode() + b"\n")

"""Questions by HTTP and HTTPS."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Literal

from cloudroute.probe.failure import Failed
from cloudroute.probe.sockets import connected

BODY_CHARACTERS = 300
_PORTS = {"http": 80, "https": 443}


def request(
    kind: Literal["http", "https"],
    *,
    address: str,
    port: int = 0,
    path: str = "/",
    host: str = "",
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
    timeout: float = 5.0,
) -> dict[str, Any]:
    """Send one request without a body; `timeout` is for each step, `host` for the Host header and TLS.

    Returns `status` and the first 300 characters of `body`. Any certificate is accepted: the question is whether the
    server is reached, and nothing secret is sent.
    """
    named = {"Host": host} if host else {}
    connection = http.client.HTTPConnection(address, port or _PORTS[kind])
    with connected(address, connection.port, timeout) as opened:
        connection.sock = _secured(opened, host or address) if kind == "https" else opened
        try:
            connection.request(method, path, headers={**named, **(headers or {})})
            response = connection.getresponse()
            body = response.read(4 * BODY_CHARACTERS).decode(errors="replace")
        except http.client.RemoteDisconnected:
            raise Failed("closed", "the server ended the connection without an answer") from None
        except http.client.HTTPException as error:
            raise Failed("other", f"the answer is no HTTP: {type(error).__name__}") from None
        finally:
            connection.close()
    return {"status": response.status, "body": body[:BODY_CHARACTERS]}


def _secured(opened: socket.socket, name: str) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        return context.wrap_socket(opened, server_hostname=name)
    except ssl.SSLEOFError:
        raise Failed("closed", "the server ended the connection during the TLS handshake") from None
    except ssl.SSLError as error:
        raise Failed("tls", f"no TLS: {error.reason}") from None

"""The instance metadata service at 169.254.169.254: tokens, and the id of the instance that asks.

The answer to a request for a token travels as many hops as the instance's options say, so that pods get none where that
is one; all other answers travel on. A request without a token is refused where the options require one. Sources: "Use
the Instance Metadata Service to access instance metadata", "Configure the Instance Metadata Service options" in the
Amazon EC2 User Guide; API_InstanceMetadataOptionsResponse.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cloudroute.lab.aws import Aws
from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.hosts.program import METADATA

PORT = 80
INSTANCE_ID = "/latest/meta-data/instance-id"
TOKEN = "/latest/api/token"  # noqa: S105 - a path
TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 - a name
_FOLDERS: Mapping[str, str] = {"/latest/meta-data/": "instance-id\n"}


class Metadata:
    """Serves in a namespace that has the address, until `close`."""

    def __init__(self, namespace: Namespace, aws: Aws) -> None:
        self._server = _Server(("", 0), _handler(lambda address: _instance(aws, address)), bind_and_activate=False)
        self._server.socket.close()
        with namespace.inside():
            self._server.socket = socket.create_server((METADATA, PORT))
        threading.Thread(target=self._server.serve_forever, name="metadata", daemon=True).start()

    def close(self) -> None:
        """Close the socket, so that the namespace can be removed."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    block_on_close = False


def _instance(aws: Aws, address: str) -> Mapping[str, Any] | None:
    """The running instance that has an address."""
    filters = [
        {"Name": "network-interface.addresses.private-ip-address", "Values": [address]},
        {"Name": "instance-state-name", "Values": ["running"]},
    ]
    found = aws.scene.ec2.describe_instances(Filters=filters)["Reservations"]
    return found[0]["Instances"][0] if found else None


def _handler(instance_of: Callable[[str], Mapping[str, Any] | None]) -> type[BaseHTTPRequestHandler]:
    tokens: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            instance = instance_of(self.client_address[0])
            if instance is None or self.path != TOKEN:
                return self._say(404)
            hops = instance["MetadataOptions"]["HttpPutResponseHopLimit"]
            self.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
            token = secrets.token_urlsafe(32)
            tokens.add(token)
            return self._say(200, token)

        def do_GET(self) -> None:
            instance = instance_of(self.client_address[0])
            if instance is None:
                return self._say(404)
            if instance["MetadataOptions"]["HttpTokens"] == "required" and self.headers[TOKEN_HEADER] not in tokens:
                return self._say(401)
            content = {**_FOLDERS, INSTANCE_ID: instance["InstanceId"]}.get(self.path)
            return self._say(200, content) if content else self._say(404)

        def _say(self, status: int, content: str = "") -> None:
            data = content.encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler

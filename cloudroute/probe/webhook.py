"""An admission webhook in a pod: it refuses every object, and names itself in the refusal.

One line of JSON on stdin brings `cert` and `key` (PEM) and `name`; it serves until stdin ends. The API server calls it
for dry-run objects of verify's own namespace alone.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6

PORT = 8472
_LONGEST = 1 << 20


def main() -> int:
    """Run the command; returns the exit code."""
    given = json.loads(sys.stdin.readline())
    server = _Server(("::", PORT), _handler(f"refused by {given['name']}"))
    server.socket = _context(given["cert"] + given["key"]).wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write('{"serving": true}\n')
    sys.stdout.flush()
    sys.stdin.read()
    return 0


class _Server(ThreadingHTTPServer):
    """Of both families: an IPv6 socket takes IPv4, too."""

    address_family = AF_INET6
    daemon_threads = True


def _context(pem: str) -> ssl.SSLContext:
    """Return the TLS context of a certificate with its key. It is never on a disk: the pod's root is read-only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with os.fdopen(os.memfd_create("pem"), "w+b") as file:
        file.write(pem.encode())
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    return context


def _handler(message: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = min(int(self.headers.get("content-length") or 0), _LONGEST)
            uid = json.loads(self.rfile.read(length))["request"]["uid"]
            answer = {"uid": uid, "allowed": False, "status": {"message": message}}
            data = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing: stdout is for answers."""

    return Handler

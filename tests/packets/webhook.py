"""An admission webhook and an aggregated API, as a pod has them: python -m tests.packets.webhook PEM.

The webhook refuses objects with the label `refuse`. The API has the group probe.cloudroute.io with one kind. The text
of each answer names the pod's host, as the client sees it.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PORT = 8443
GROUP = "probe.cloudroute.io"


def certificate(address: str, path: Path) -> str:
    """Write a key and a certificate for an address; returns the certificate as PEM."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name, day = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "probe")]), datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made + key.private_bytes(*form))
    return made.decode()


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))["request"]
        refused = "refuse" in (request["object"]["metadata"].get("labels") or {})
        answer = {"uid": request["uid"], "allowed": not refused, "status": {"message": "refused by a pod"}}
        self._say({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})

    def do_GET(self) -> None:
        if self.path.startswith(f"/apis/{GROUP}/v1/things"):
            self._say({"apiVersion": f"{GROUP}/v1", "kind": "ThingList", "metadata": {}, "items": []})
        else:
            things = {"name": "things", "singularName": "", "namespaced": False, "kind": "Thing", "verbs": ["list"]}
            self._say({"kind": "APIResourceList", "groupVersion": f"{GROUP}/v1", "resources": [things]})

    def _say(self, answer: Any) -> None:
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def main(pem: str) -> None:
    """Answer until killed."""
    server = ThreadingHTTPServer(("", PORT), _Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])

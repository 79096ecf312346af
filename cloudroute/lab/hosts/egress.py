"""The way of an API server outside the VPC to nodes and pods: a proxy that connects from a namespace inside the VPC.

EKS runs its API servers elsewhere, and they reach kubelets, webhooks and aggregated APIs by interfaces that EKS has in
the VPC's subnets ("View Amazon EKS networking requirements for VPC and subnets" in the Amazon EKS User Guide). Here the
namespace has such an interface, and the server hands its connections over as an EgressSelectorConfiguration says
("Set up Konnectivity service" in the Kubernetes documentation): HTTP CONNECT on a Unix socket.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import socketserver
import threading
from collections.abc import Mapping
from pathlib import Path

import yaml

from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.kube.kubelets import client_certificate

CONNECT_SECONDS = 10.0
_CHUNK = 65536


class Egress:
    """Serves the API server until `close`. `folder` holds its socket and the files of `flags`."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "egress.sock"
        self._client, self._configuration = client_certificate(folder / "kubelet-client.pem"), folder / "egress.yaml"
        self._configuration.write_text(_configuration(path))
        self._server = _Server(str(path), _handler(namespace))
        threading.Thread(target=self._server.serve_forever, name="egress", daemon=True).start()

    @property
    def flags(self) -> Mapping[str, str]:
        """Flags of the API server, without dashes: its ways out, and its certificate for kubelets.

        Endpoints of Services are called directly, since no kube-proxy runs where this server stands.
        """
        return {
            "egress-selector-config-file": str(self._configuration),
            "enable-aggregator-routing": "true",
            "kubelet-client-certificate": str(self._client),
            "kubelet-client-key": str(self._client),
            "kubelet-preferred-address-types": "InternalIP",
        }

    @property
    def client_ca(self) -> str:
        """Certificate by which kubelets know the API server, as PEM."""
        return self._client.read_text().partition("-----BEGIN PRIVATE KEY")[0]

    def close(self) -> None:
        """Accept no more connections. Open ones end with the API server."""
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128  # a busy API server calls several kubelets at once


def _configuration(path: Path) -> str:
    connection = {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": str(path)}}}
    return yaml.safe_dump(
        {
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": [{"name": "cluster", "connection": connection}],
        }
    )


def _handler(namespace: Namespace) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.StreamRequestHandler):
        """One connection: `CONNECT host:port`, then bytes both ways."""

        def handle(self) -> None:
            host, _, port = self.rfile.readline().split()[1].decode().rpartition(":")
            while self.rfile.readline().strip():
                pass  # headers
            try:
                with namespace.inside():
                    far = socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS)
            except OSError as error:
                self.wfile.write(f"HTTP/1.1 502 {error}\r\n\r\n".encode())
                return
            with far:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                far.settimeout(None)
                _join(self.connection, far)

    return Handler


def _join(near: socket.socket, far: socket.socket) -> None:
    """Pass bytes both ways until both sides have ended, or one is broken."""
    with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
        for here, there in ((near, far), (far, near)):
            selector.register(here, selectors.EVENT_READ, (here, there))
        while selector.get_map():
            for key, _ in selector.select():
                here, there = key.data
                if data := here.recv(_CHUNK):
                    there.sendall(data)
                else:
                    selector.unregister(here)
                    there.shutdown(socket.SHUT_WR)

"""The adapter connected to the embedded API, and to a server with scripted answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cloudroute.adapters.kube.cluster import KubeCluster
from cloudroute.adapters.kube.transport import Transport
from cloudroute.clock import SystemClock
from cloudroute.lab.kube import KubeApi
from cloudroute.lab.kube.kubeconfig import write_kubeconfig

Json = dict[str, Any]


def crd(kind: str, plural: str) -> Json:
    """A CRD that accepts any object."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    version = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.cloudroute.io"},
        "spec": {
            "group": "cloudroute.io",
            "scope": "Cluster",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [version],
        },
    }


def node(name: str, number: int = 1) -> Json:
    """A Node as its kubelet registers it."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"providerID": f"aws:///us-east-1a/i-{number:017x}"},
        "status": {"addresses": [{"type": "InternalIP", "address": f"10.0.0.{number}"}]},
    }


@pytest.fixture
def api() -> KubeApi:
    """The embedded API's objects, both CRDs installed."""
    api = KubeApi()
    api.create(crd("NodeRoute", "noderoutes"))
    api.create(crd("RouteTable", "routetables"))
    api.reset_counts()
    return api


@pytest.fixture
def kubeconfig(api: KubeApi, tmp_path: Path) -> Iterator[str]:
    """A kubeconfig for the embedded API, which serves during the test."""
    server = api.serve()
    yield str(server.kubeconfig(tmp_path / "kubeconfig"))
    server.close()


@pytest.fixture
def transport(kubeconfig: str) -> Iterator[Transport]:
    """A connection to the embedded API."""
    transport = Transport(kubeconfig)
    yield transport
    transport.close()


@pytest.fixture
def start(kubeconfig: str) -> Iterator[Callable[..., KubeCluster]]:
    """Start a synced KubeCluster; all of them are stopped at the end."""
    started: list[KubeCluster] = []

    def start(changed: Callable[[], None] = lambda: None, **options: Any) -> KubeCluster:
        cluster = KubeCluster(kubeconfig, SystemClock(), **options)
        started.append(cluster)
        cluster.start(changed)
        for store in (cluster.nodes, cluster.node_routes, cluster.route_table_objects):
            assert store.wait_synced(5)
        return cluster

    yield start
    for cluster in started:
        cluster.stop()


@dataclass
class Asked:
    """One request received by the scripted server."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Script:
    """A server that answers each request with the next of `answers`, and the last of them for ever."""

    url: str
    answers: list[tuple[int, bytes]]
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    """While cleared, a request whose scripted status is 0 gets no answer."""

    def transport(self, folder: Path) -> Transport:
        """A transport to this server, with the token "secret"."""
        return Transport(str(write_kubeconfig(self.url, "secret", None, "tester", folder / "scripted")))

    def then(self, status: int, body: Json | bytes, **headers: str) -> Script:
        """Add an answer."""
        self.answers.append((status, body if isinstance(body, bytes) else json.dumps(body).encode()))
        self.headers.update(headers)
        return self


@pytest.fixture
def script() -> Iterator[Script]:
    """A server with scripted answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            scripted.asked.append(Asked(self.command, self.path, dict(self.headers.items()), body))
            status, answer = scripted.answers[min(len(scripted.asked), len(scripted.answers)) - 1]
            if status == 0:
                scripted.hold.wait()
                self.close_connection = True
                return
            self.send_response(status)
            for key, value in scripted.headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 (http.server's names)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (http.server's name)
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Log nothing: some tests disconnect on purpose."""

    server = Server(("127.0.0.1", 0), Handler)
    scripted = Script(f"http://127.0.0.1:{server.server_port}", [])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield scripted
    scripted.hold.set()
    server.shutdown()
    server.server_close()
    thread.join()

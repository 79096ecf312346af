"""The lab's API server: a real kube-apiserver or the embedded one, which can stop and restart on the same port."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from cloudroute.lab.hosts.teardown import remember_kube
from cloudroute.lab.kube import Cluster, KubeApi, KubeServer
from cloudroute.lab.kube.real import RealKubeApi
from cloudroute.lab.kube.remote import RemoteCluster


class Api(Protocol):
    """An API server on 127.0.0.1. `http` is a client that raises while it is stopped; `objects` may still work."""

    @property
    def objects(self) -> Cluster: ...
    @property
    def http(self) -> RemoteCluster: ...
    @property
    def port(self) -> int: ...

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig to `path`."""
        ...

    def stop(self) -> None:
        """Stop the server: connections end, and the port is closed."""
        ...

    def start(self) -> None:
        """Start the server again, with the same objects."""
        ...

    def close(self) -> None: ...


class EmbeddedApi:
    """The embedded API server, in this process."""

    def __init__(self) -> None:
        self._kube = KubeApi()
        self._server: KubeServer | None = self._kube.serve()
        self.port = self._server.port
        self.url = self._server.url
        self.objects: Cluster = self._kube
        self.http = RemoteCluster(self.url, self._server.token, None)

    def kubeconfig(self, path: Path) -> Path:
        return self._running().kubeconfig(path)

    def stop(self) -> None:
        self._running().close()
        self._server = None

    def start(self) -> None:
        if self._server is None:
            self._server = self._kube.serve(port=self.port)

    def close(self) -> None:
        self.http.disconnect()
        if self._server is not None:
            self.stop()

    def _running(self) -> KubeServer:
        if self._server is None:
            raise RuntimeError("the API server is stopped")
        return self._server


class RealApi:
    """A real API server with its etcd, as processes. `folder` is the lab's: it identifies them after a crash."""

    def __init__(self, kube: RealKubeApi, folder: Path) -> None:
        self._kube = kube
        self.port = int(urlsplit(kube.url).port or 0)
        self.objects: Cluster = kube
        self.http: RemoteCluster = kube
        remember_kube(folder, kube.ca_file.parent)
        kube.start()

    def kubeconfig(self, path: Path) -> Path:
        return self._kube.kubeconfig(path)

    def stop(self) -> None:
        self._kube.stop_server()

    def start(self) -> None:
        self._kube.start_server()

    def close(self) -> None:
        self._kube.close()

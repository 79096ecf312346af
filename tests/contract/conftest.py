"""Each test that takes `kube_api` runs against the embedded API server and against the real one.

Both last for the session and are shared, so tests use names of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import urllib3
import yaml

from cloudroute.crds import manifests
from cloudroute.lab.kube import KubeApi
from cloudroute.lab.kube.real import RealKubeApi
from cloudroute.lab.kube.remote import RemoteCluster
from tests.accounts import CONTROLLER

Json = Any

CONTENT_TYPES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass(frozen=True)
class Answer:
    """An answer of the server."""

    status: int
    body: Json
    headers: Mapping[str, str]

    @property
    def version(self) -> str:
        """metadata.resourceVersion"""
        return str(self.body["metadata"]["resourceVersion"])

    @property
    def fields(self) -> list[str]:
        """Invalid fields of a 422, sorted, without a real server's remark that it skipped the rules."""
        return sorted({cause["field"] for cause in self.body["details"]["causes"]} - {"<nil>"})


class Api(RemoteCluster):
    """An API server: `ask` returns plain answers, the methods of `Cluster` prepare objects."""

    def __init__(self, url: str, token: str, ca_file: Path | None, compact: Callable[[], None]) -> None:
        super().__init__(url, token, ca_file)
        self.token = token
        self.ca_file = ca_file
        self.compact = compact
        self.pool = urllib3.PoolManager(ca_certs=str(ca_file) if ca_file else None, retries=False, timeout=20)
        self.kubeconfig: Callable[..., Path]

    def ask(
        self, method: str, path: str, body: Json = None, patch: str = "", token: str = "", **headers: str
    ) -> Answer:
        """Send a request. `patch` names the kind of a PATCH; header names are given with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {
            "Authorization": f"Bearer {token or self.token}",
            "Content-Type": CONTENT_TYPES.get(patch, "application/json"),
        }
        data = None if body is None else json.dumps(body)
        answer = self.pool.request(method, self.url + path, body=data, headers=sent)
        try:
            return Answer(answer.status, answer.json(), answer.headers)
        except ValueError:
            return Answer(answer.status, answer.data, answer.headers)

    def events(self, path: str, **query: str) -> Iterator[tuple[str, Json]]:
        """The events of a watch, until it ends; at most ten seconds."""
        fields = {"watch": "true", "timeoutSeconds": "10", **query}
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = self.pool.request("GET", self.url + path, fields=fields, headers=headers, preload_content=False)
        try:
            if answer.status != 200:
                yield "ERROR", json.loads(answer.read())
                return
            lines = b""
            for chunk in answer.stream():
                *whole, lines = (lines + chunk).split(b"\n")
                for line in whole:
                    event = json.loads(line)
                    yield event["type"], event["object"]
        finally:
            answer.close()


@pytest.fixture(scope="session")
def embedded_kube() -> Iterator[Api]:
    """The embedded API with the CRDs and the manifests of the controller."""
    kube = KubeApi()
    for item in [*manifests(), *yaml.safe_load_all(CONTROLLER.read_text())]:
        kube.create(item)
    server = kube.serve()
    api = Api(server.url, server.token, None, kube.store.compact)
    api.kubeconfig = server.kubeconfig
    yield api
    api.pool.clear()
    api.disconnect()
    server.close()


@pytest.fixture(scope="session", params=["embedded", "real"])
def kube_api(request: pytest.FixtureRequest) -> Iterator[Api]:
    """The embedded API, then the real one."""
    if request.param == "embedded":
        yield request.getfixturevalue("embedded_kube")
        return
    real: RealKubeApi = request.getfixturevalue("real_kube")
    api = Api(real.url, real.token, real.ca_file, real.compact)
    api.kubeconfig = real.kubeconfig
    yield api
    api.pool.clear()
    api.disconnect()


@pytest.fixture
def kubeconfig(kube_api: Api, tmp_path: Path) -> str:
    """A kubeconfig of the administrator."""
    return str(kube_api.kubeconfig(tmp_path / "kubeconfig"))


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"t-{uuid4().hex[:12]}"

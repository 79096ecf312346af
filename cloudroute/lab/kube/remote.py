"""Objects of an API server over HTTP: the direct access of KubeApi, for a server in another process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import urllib3

from cloudroute.adapters.kube.transport import MERGE_PATCH
from cloudroute.lab.kube.status import Object, StatusError

SERVED_SECONDS = 20.0
"""Seconds that a new CustomResourceDefinition may take until its objects can be created."""


_BUSY = urllib3.Retry(
    total=None, connect=False, read=False, redirect=False, other=False,
    status=20, status_forcelist={429}, allowed_methods=None, backoff_factor=0.1, backoff_max=1, raise_on_status=False,
)  # fmt: skip
"""Honours Retry-After, as all clients do: a server sends it while it sets up storage for a new kind."""


class _Resource(NamedTuple):
    prefix: str
    api_version: str
    kind: str
    plural: str
    namespaced: bool

    def collection(self, namespace: str) -> str:
        """Return the path of its objects: of all namespaces for ""."""
        within = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.prefix}{within}/{self.plural}"


class RemoteCluster:
    """Fulfils `kube.Cluster`. `ca_file` is read at the first request."""

    def __init__(self, url: str, token: str, ca_file: Path | None) -> None:
        self.url = url
        self._http = urllib3.PoolManager(
            maxsize=16,
            retries=_BUSY,
            timeout=urllib3.Timeout(connect=3, read=30),
            ca_certs=str(ca_file) if ca_file else None,
            headers={"Authorization": f"Bearer {token}"},
        )
        self._resources: list[_Resource] = []

    def request(
        self, method: str, path: str, body: Object | None = None, content_type: str = "application/json"
    ) -> Any:
        """Send one request and return the JSON of the answer. Raises StatusError."""
        encoded = None if body is None else json.dumps(body).encode()
        headers = {**self._http.headers, "Content-Type": content_type}
        answer = self._http.request(method, self.url + path, body=encoded, headers=headers)
        if answer.status < 400:
            return json.loads(answer.data)
        try:
            status = json.loads(answer.data)
        except ValueError:
            status = {"message": answer.data.decode(errors="replace")}
        raise StatusError(answer.status, status.get("reason") or "", status.get("message") or "", status.get("details"))

    def disconnect(self) -> None:
        """Close idle connections."""
        self._http.clear()

    def create(self, item: Object) -> Object:
        kind = (item["apiVersion"], item["kind"])
        resource = self._find(lambda resource: (resource.api_version, resource.kind) == kind, " ".join(kind))
        collection = resource.collection(item["metadata"].get("namespace", "default"))
        created: Object = self.request("POST", collection, item)
        if item["kind"] == "CustomResourceDefinition":
            self._wait_served(item)
        elif item.get("status") and created.get("status") != item["status"]:
            path = f"{collection}/{created['metadata']['name']}/status"
            created = self.request("PATCH", path, {"status": item["status"]}, MERGE_PATCH)
        return created

    def get(self, plural: str, name: str, namespace: str = "") -> Object:
        found: Object = self.request("GET", self._path(plural, name, namespace))
        return found

    def list(self, plural: str, namespace: str = "") -> list[Object]:
        answer = self.request("GET", self._path(plural, "", namespace))
        head = {"apiVersion": answer["apiVersion"], "kind": answer["kind"].removesuffix("List")}
        return [{**head, **item} for item in answer["items"]]

    def patch(self, plural: str, name: str, patch: Object, namespace: str = "") -> Object:
        patched: Object = self.request("PATCH", self._path(plural, name, namespace), patch, MERGE_PATCH)
        return patched

    def patch_status(self, plural: str, name: str, status: Object, namespace: str = "") -> Object:
        path = f"{self._path(plural, name, namespace)}/status"
        patched: Object = self.request("PATCH", path, {"status": status}, MERGE_PATCH)
        return patched

    def delete(self, plural: str, name: str, namespace: str = "") -> None:
        self.request("DELETE", self._path(plural, name, namespace), {"gracePeriodSeconds": 0})

    def _path(self, plural: str, name: str, namespace: str) -> str:
        path = self._find(lambda resource: resource.plural == plural, plural).collection(namespace)
        return f"{path}/{name}" if name else path

    def _find(self, matches: Callable[[_Resource], bool], wanted: str) -> _Resource:
        """Return the matching resource; the server is asked for all of them when it is not known yet."""
        for refresh in (False, True):
            if refresh:
                self._resources = list(self._discover())
            for resource in self._resources:
                if matches(resource):
                    return resource
        raise KeyError(f"no resource is or has the kind {wanted}; is its CustomResourceDefinition created?")

    def _discover(self) -> Iterator[_Resource]:
        groups = self.request("GET", "/apis")["groups"]
        versions = [version["groupVersion"] for group in groups for version in group["versions"]]
        for api_version, prefix in (("v1", "/api/v1"), *((version, f"/apis/{version}") for version in versions)):
            for item in self.request("GET", prefix)["resources"]:
                if "/" not in item["name"]:
                    yield _Resource(prefix, api_version, item["kind"], item["name"], item["namespaced"])

    def _wait_served(self, definition: Object) -> None:
        """Wait until a new resource is served: it answers 404, then 429, then 200."""
        spec = definition["spec"]
        path = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
        deadline = time.monotonic() + SERVED_SECONDS
        while True:
            try:
                self.request("GET", path)
            except StatusError as error:
                if error.code not in (404, 429) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

"""Objects that `cloudroute verify` makes for a while, and commands inside of containers.

The `kubernetes` package is imported here alone for its websocket client: `exec` is no request with one answer.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from kubernetes.stream.ws_client import ERROR_CHANNEL, STDIN_CHANNEL, STDOUT_CHANNEL, WSClient
from websocket import WebSocketBadStatusException, WebSocketException

from cloudroute.adapters.kube.access import configuration, headers_of
from cloudroute.adapters.kube.review import Review
from cloudroute.adapters.kube.transport import Json
from cloudroute.errors import CloudrouteError, LostRace

_CORE = "/api/v1"
_GOODBYE_SECONDS = 1
"""For the server to agree that a connection ends; then it is cut."""
_GLANCE_SECONDS = 0.25
"""How often a wait for output looks at its deadline."""


class Pods(Review):
    """Objects of any kind by their manifests, and `execute`. All methods raise errors.ApiError."""

    def __init__(self, kubeconfig: str | None) -> None:
        super().__init__(kubeconfig)
        self._configuration = configuration(kubeconfig)

    def create(self, manifest: Json, *, dry_run: bool = False) -> Json:
        """Create an object."""
        query = {"dryRun": "All"} if dry_run else None
        return self.request("POST", collection(manifest), query, body=manifest)

    def delete(self, manifest: Json) -> None:
        """Delete an object, and what belongs to it, at once. An absent one is no error."""
        path = f"{collection(manifest)}/{quote(manifest['metadata']['name'], safe='')}"
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        try:
            self.request("DELETE", path, body=body)
        except LostRace:  # 404
            return

    def get(self, path: str) -> Json | None:
        """Read an object by its path; None where there is none."""
        try:
            return self.request("GET", path)
        except LostRace:  # 404
            return None

    def list(self, path: str, selector: str = "") -> Iterator[Json]:
        """Read all objects of a collection, in pages."""
        return self._list(path, lambda raw: raw, selector)

    def execute(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> Execution:
        """Start a command in a container, with stdin. Raises CloudrouteError with the reason when it can't."""
        options = [("command", word) for word in command]
        options += [("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "false")]
        where = f"{_CORE}/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}/exec"
        address = f"{self.url.replace('http', 'ws', 1)}{where}?{urlencode(options)}"
        try:
            headers = dict(headers_of(self._configuration))
            client: Any = WSClient(self._configuration, address, headers, capture_all=False)  # type: ignore[no-untyped-call]
        except (WebSocketException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise CloudrouteError(f"exec into {namespace}/{pod}: {_refusal(error)}") from error
        return Execution(client, f"{namespace}/{pod}")


class Execution:
    """A running command in a container. For one thread at a time; `close` ends its stdin."""

    def __init__(self, client: Any, where: str) -> None:
        self._client, self._where = client, where
        self._text = ""

    def send(self, value: object) -> None:
        """Write a value to its stdin as one line of JSON."""
        try:
            self._client.write_channel(STDIN_CHANNEL, json.dumps(value, separators=(",", ":")) + "\n")
        except (WebSocketException, OSError) as error:
            self._check_end()  # the server may have said why
            raise CloudrouteError(f"exec into {self._where}: {error}") from error

    def lines(self, seconds: float) -> Iterator[Mapping[str, Any]]:
        """Yield the lines of its stdout, which are JSON, until it ends.

        Raises CloudrouteError when it says nothing for `seconds`, or ends with an error.
        """
        deadline = time.monotonic() + seconds
        while True:
            while "\n" in self._text:
                line, _, self._text = self._text.partition("\n")
                deadline = time.monotonic() + seconds
                yield self._parse(line)
            if not self._client.is_open():
                self._check_end()
                return
            if time.monotonic() > deadline:
                raise CloudrouteError(f"exec into {self._where}: no word within {seconds:g} s")
            try:
                self._client.update(timeout=_GLANCE_SECONDS)
            except (WebSocketException, OSError) as error:
                raise CloudrouteError(f"exec into {self._where}: {error}") from error
            self._text += self._client.read_channel(STDOUT_CHANNEL)

    def close(self) -> None:
        """End the connection; the command finds its stdin closed."""
        self._client.close(timeout=_GOODBYE_SECONDS)

    def _parse(self, line: str) -> Mapping[str, Any]:
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise CloudrouteError(f"exec into {self._where}: it said {line[:200]!r}, and no JSON object")
        return value

    def _check_end(self) -> None:
        """Raise CloudrouteError for a command that failed: the server says so on a channel of its own."""
        said = self._client.read_channel(ERROR_CHANNEL)
        try:
            status = json.loads(said) if said else {}
        except ValueError:
            status = {"status": "Failure", "message": said}
        if status.get("status") == "Failure":
            raise CloudrouteError(f"exec into {self._where}: {status.get('message')}")


def _refusal(error: Exception) -> str:
    """Words for why a connection was refused: those of the API server's Status, where the answer is one.

    >>> body = b'{"kind": "Status", "message": "no pod a", "code": 404}'
    >>> _refusal(WebSocketBadStatusException("Handshake status 404", 404, "Not Found", {}, body))
    'no pod a'
    """
    if isinstance(error, WebSocketBadStatusException):
        with contextlib.suppress(ValueError, TypeError, KeyError):  # a proxy's page
            return str(json.loads(error.resp_body or b"")["message"])
    return str(error)


def collection(manifest: Mapping[str, Any]) -> str:
    """Return the path of an object's collection, by its manifest."""
    version, kind = manifest["apiVersion"], manifest["kind"].lower()
    base = _CORE if version == "v1" else f"/apis/{version}"
    namespace = manifest["metadata"].get("namespace", "")
    plural = f"{kind[:-1]}ies" if kind.endswith("cy") else f"{kind}s"
    return f"{base}/namespaces/{namespace}/{plural}" if namespace else f"{base}/{plural}"

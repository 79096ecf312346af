"""One pool of connections to the API server; JSON goes in, JSON comes out.

The idea: take from the `kubernetes` package only the hard parts (kubeconfig, exec plugins, client
certificates, tokens that are reread each minute, proxies). Its generated models would decode a list of
5,000 Nodes into 500 MB; dicts that are projected page by page need a few MB.

Every call has a timeout and is made once: a PUT that urllib3 repeats by itself could answer with a false 409.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import urllib3

from cloudroute import __version__
from cloudroute.adapters.kube import errors
from cloudroute.adapters.kube.access import Access, NoAccess, find_access
from cloudroute.adapters.kube.errors import Call
from cloudroute.errors import UsageError

Json = dict[str, Any]

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"

CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
_CHUNK = 1 << 16


class Transport:
    """Connections to one API server. Thread-safe. `kubeconfig` None means the pod's service account."""

    def __init__(self, kubeconfig: str | None) -> None:
        self._access = _access(kubeconfig)
        self._pool = self._access.pool
        self.url = self._access.url
        self._who = f"from {kubeconfig}" if kubeconfig else "the pod's service account"

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int] | None = None,
        body: Json | None = None,
        content_type: str = JSON,
        timeout: float | None = None,
        hook: Callable[[Json], Any] | None = None,
    ) -> Json:
        """Send one request, once. `timeout` in seconds is for connecting and the answer together.

        `hook` may replace each JSON object of the answer as soon as it is decoded. Raises errors.ApiError.
        """
        call = Call.of(method, path)
        limits = urllib3.Timeout(total=timeout) if timeout else _limits(READ_SECONDS)
        response = self._send(call, method, self._address(path, query), limits, body=body, content_type=content_type)
        try:
            answer = json.loads(response.data, object_hook=hook)
        except ValueError as error:
            raise errors.no_answer(call, self.url, error) from error
        if not isinstance(answer, dict):
            raise errors.no_answer(call, self.url, ValueError("the answer is no JSON object"))
        return answer

    def watch(self, path: str, query: Mapping[str, str | int], silence: float) -> Watch:
        """Open a watch that fails when the server sends nothing for `silence` seconds. Raises errors.ApiError."""
        call = Call.of("GET", path, watch=True)
        address = self._address(path, {**query, "watch": "true"})
        response = self._send(call, "GET", address, _limits(silence), stream=True)
        return Watch(response, call, self.url, self._who)

    def close(self) -> None:
        """Close the idle connections; one in use is closed at the end of its call."""
        self._pool.clear()

    def _address(self, path: str, query: Mapping[str, str | int] | None) -> str:
        return f"{self.url}{path}{'?' + urlencode(query) if query else ''}"

    def _send(
        self,
        call: Call,
        method: str,
        address: str,
        timeout: urllib3.Timeout,
        *,
        body: Json | None = None,
        content_type: str = JSON,
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Accept": JSON, "User-Agent": f"cloudroute/{__version__}"}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            headers.update(self._access.headers())
            response = self._pool.request(
                method,
                address,
                body=None if body is None else json.dumps(body, separators=(",", ":")).encode(),
                headers=headers,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=not stream,
            )
            if not 200 <= response.status < 300:
                raise errors.from_response(call, response.status, response.data, response.headers, self._who)
        except (urllib3.exceptions.HTTPError, OSError, NoAccess) as error:
            # NoAccess and OSError: the token's file is missing for a moment while it is being replaced.
            raise errors.no_answer(call, self.url, error) from error
        return response


class Watch:
    """An open watch: iterate over its events. `close` may be called by any thread, and wakes the reader."""

    def __init__(self, response: urllib3.BaseHTTPResponse, call: Call, url: str, who: str) -> None:
        self._response = response
        self._call = call
        self._url = url
        self._who = who

    def __iter__(self) -> Iterator[Json]:
        """Yield the events until the server ends the watch. Raises errors.ApiError, for an ERROR event too."""
        try:
            for line in self._lines():
                event = json.loads(line)
                if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
                    raise ValueError("the watch sent no event")
                if event.get("type") == "ERROR":
                    status = event["object"]
                    raise errors.from_status(self._call, int(status.get("code") or 500), status, self._who)
                yield event
        except (urllib3.exceptions.HTTPError, OSError, ValueError, TypeError) as error:
            raise errors.no_answer(self._call, self._url, error) from error
        finally:
            self._response.close()

    def close(self) -> None:
        """Shut the socket down: closing alone would not wake a thread that is blocked in a read."""
        with contextlib.suppress(RuntimeError, ValueError, OSError):  # closed already
            self._response.shutdown()

    def _lines(self) -> Iterator[bytes]:
        rest = b""
        for chunk in self._response.stream(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from filter(None, lines)


def _limits(read: float) -> urllib3.Timeout:
    return urllib3.Timeout(connect=CONNECT_SECONDS, read=read)


def _access(kubeconfig: str | None) -> Access:
    try:
        return find_access(kubeconfig)
    except Exception as error:  # errors of YAML, of the file system, and of the content
        raise UsageError([_no_configuration(kubeconfig, error)]) from error


def _no_configuration(kubeconfig: str | None, error: Exception) -> str:
    if kubeconfig is None:
        return f"no --kubeconfig is given and this is no pod of a cluster ({error}): give --kubeconfig FILE"
    return f"--kubeconfig {kubeconfig} can't be used: {error}"

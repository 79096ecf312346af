"""boto3 without a socket: one session's calls are answered by a function of this process.

The hook is botocore's `before-send` event on that session alone, so nothing global is patched and other sessions still
use the network. A lost answer becomes the exception that botocore itself raises for it, so its retries work as usual.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

import boto3
import botocore.loaders
import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from cloudroute.lab.aws import wire
from cloudroute.lab.aws.wire import AwsError, Request, Response
from cloudroute.ports import Clock

# Keep the user's own configuration, profile and files, out of the lab.
_HERMETIC: dict[str, Any] = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}
# EC2's service model is megabytes of JSON: load it once for all sessions.
_models = botocore.loaders.create_loader()
_READ_TIMEOUT = 60.0
"""botocore's default read timeout in seconds."""


def make_session(
    answer: Callable[[Request], Response], clock: Clock, region: str, access_key: str, *, own: bool = False
) -> boto3.Session:
    """Return a session with this access key whose calls are answered by `answer`."""
    core = botocore.session.Session(session_vars=_HERMETIC)
    transport = _Transport(answer, clock, own=own)
    core.register_component("data_loader", _models)
    core.register("request-created", transport.remember_timeout)
    core.register("before-send", transport.send)
    return boto3.Session(access_key, "any-secret-will-do", region_name=region, botocore_session=core)


class _Transport:
    """Passes botocore's requests to `answer`, and turns its responses into botocore's."""

    def __init__(self, answer: Callable[[Request], Response], clock: Clock, *, own: bool) -> None:
        self._answer = answer
        self._clock = clock
        self._own = own
        self._thread = threading.local()

    def remember_timeout(self, **event: Any) -> None:
        """Note the client's read timeout: `send`, which runs next in this thread, does not receive it."""
        request: AWSRequest = event["request"]
        config = request.context.get("client_config")
        self._thread.read_timeout = (config and config.read_timeout) or _READ_TIMEOUT

    def send(self, **event: Any) -> Any:
        """Answer the request in place of the network."""
        request: AWSPreparedRequest = event["request"]
        raw: Any = request.body or b""
        body = raw.encode() if isinstance(raw, str) else bytes(raw)
        try:
            response = self._answer(
                wire.parse(request.method, request.url, _Headers(request.headers), body, own=self._own)
            )
        except AwsError as error:
            response = wire.refusal("ec2", error)
        timeout = float(getattr(self._thread, "read_timeout", _READ_TIMEOUT))
        if response.fate == "hang" or response.delay >= timeout:
            self._clock.sleep(timeout)
            raise ReadTimeoutError(endpoint_url=request.url)
        if response.delay:
            self._clock.sleep(response.delay)
        if response.fate == "cut":
            raise ConnectionClosedError(endpoint_url=request.url)
        headers = HTTPHeaders()
        headers["Content-Type"] = response.content_type
        headers["Date"] = formatdate(self._clock.now(), usegmt=True)
        return AWSResponse(request.url, response.status, headers, _Raw(response.body))


class _Headers(dict[str, str]):
    """A request's headers as text, with case-insensitive lookup: botocore writes some of them as bytes."""

    def __init__(self, headers: Any) -> None:
        decoded = ((k, v.decode() if isinstance(v, bytes) else str(v)) for k, v in headers.items())
        super().__init__((name.lower(), value) for name, value in decoded)

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class _Raw:
    """A response body with the methods that botocore calls."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body

"""The Kubernetes API in this process, without sockets: `Pool` takes the place of urllib3's PoolManager.

The real transport, reflectors, stores and errors of `adapters.kube` run on top of it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3

from cloudroute.lab.kube import KubeApi
from cloudroute.lab.kube.requests import Request, parse, split
from cloudroute.lab.kube.status import StatusError
from cloudroute.lab.kube.store import Change
from tests.simulation.network import Link, Lost
from tests.simulation.scheduler import Scheduler
from tests.simulation.threads import Event

BOOKMARK_SECONDS = 60.0


class Api(KubeApi):
    """The API server. `on_write` is called after each write: client, request, the object before and after."""

    def __init__(self) -> None:
        super().__init__()
        self.watches: list[Stream] = []
        self.down_until = 0.0
        self.renewals_lag = 0.0
        """Longest additional delay of a gateway's renewal on its way to a controller, in seconds."""
        self.on_write: Callable[[str, Request, Mapping[str, Any] | None, Mapping[str, Any] | None], None] = lambda *_: (
            None
        )

    def handle(self, who: str, method: str, target: str, content_type: str, body: bytes) -> Answer:
        """Serve one request of a client; `watch` serves watches."""
        try:
            parts, query = split(target)
            request = parse(self.registry, method, parts, query, {"Content-Type": content_type})
            self.calls[request.verb, request.target] += 1
            before = None
            if request.verb not in ("get", "list"):
                before = self._object(request)
            status, data = self._answers.answer(request, body)
            if request.verb not in ("get", "list"):
                self.pump()
                self.on_write(who, request, before, self._object(request) or json.loads(data))
            return Answer(status, data)
        except StatusError as error:
            return Answer(error.code, json.dumps(error.body()).encode())

    def _object(self, request: Request) -> Mapping[str, Any] | None:
        item = self.store.collection(request.resource.storage).items.get(request.key)
        return item.object if item else None

    def watch(self, link: Link, target: str, silence: float) -> Stream:
        """Start a watch; `silence` is the client's read timeout in seconds."""
        parts, query = split(target)
        stream = Stream(self, link, parse(self.registry, "GET", parts, query, {}), silence)
        self.watches.append(stream)
        stream.pump()
        return stream

    def pump(self) -> None:
        """Send each watch the changes that it has not seen; called after each write."""
        for stream in self.watches:
            stream.pump()

    def cut(self, link: Link | None = None) -> None:
        """Reset the connections of the watches of one process, or of all."""
        for stream in list(self.watches):
            if link in (None, stream.link):
                stream.end(urllib3.exceptions.ProtocolError("the connection is reset"))


class Answer:
    """The part of urllib3.BaseHTTPResponse that the transport uses."""

    def __init__(self, status: int, data: bytes) -> None:
        self.status, self.data = status, data
        self.headers: Mapping[str, str] = {}


class Stream(Answer):
    """A watch. Its lines arrive in order, each after the link's delay."""

    def __init__(self, api: Api, link: Link, request: Request, silence: float) -> None:
        super().__init__(200, b"")
        self._api, self.link, self._request, self._silence = api, link, request, silence
        self._collection = api.store.collection(request.resource.storage)
        self._matches = request.predicate()
        self._seen = request.number("resourceVersion")
        self._last = 0.0
        """Arrival time of the last line in flight: a later one must not overtake it."""
        self._on_its_way: deque[bytes | Exception | None] = deque()
        self._lines: deque[bytes | Exception | None] = deque()
        self._came = Event()
        self._open = True
        scheduler = link.scheduler
        self._scheduler: Scheduler = scheduler
        scheduler.after(request.number("timeoutSeconds") or 300, lambda: self.end(None))
        scheduler.after(BOOKMARK_SECONDS, self._bookmark)

    def pump(self) -> None:
        """Send the changes since the last line."""
        if not self._open or self._seen == self._api.store.version:
            return
        try:
            changes = self._collection.since(self._seen)
        except StatusError as error:
            self._send(_event("ERROR", error.body()))
            self.end(None)
            return
        self._seen = self._api.store.version
        for change in changes:
            if self._matches(change.item.object):  # no label that is selected by ever changes
                self._send(self._line(change))

    def _line(self, change: Change) -> bytes:
        return b'{"type":"%s","object":%s}\n' % (change.type.encode(), self._request.resource.encode(change.item))

    def _bookmark(self) -> None:
        if self._open:
            self.pump()
            version = str(self._api.store.version)
            self._send(_event("BOOKMARK", {"metadata": {"resourceVersion": version}}))
            self._scheduler.after(BOOKMARK_SECONDS, self._bookmark)

    def _send(self, line: bytes | Exception | None) -> None:
        # A line sent during a partition arrives after it: TCP retransmits.
        due = max(self._last, self.link.partitioned_until, self._scheduler.now + self.link.delay() + self._lag())
        self._last = due
        self._on_its_way.append(line)
        self._scheduler.at(due, self._receive)

    def _lag(self) -> float:
        """Delay of a line of the watch of gateways' Leases, at random."""
        if not self._api.renewals_lag or "labelSelector" not in self._request.query:
            return 0.0
        return self._scheduler.random.uniform(0, self._api.renewals_lag)

    def _receive(self) -> None:
        line = self._on_its_way.popleft()  # in order of sending: events of one moment come in random order
        if self.link.group.alive:
            self._lines.append(line)
            self._came.set()

    def end(self, error: Exception | None) -> None:
        """End the watch: as the server does at its timeout (None), or with an error."""
        if self._open:
            self._open = False
            self._api.watches.remove(self)
            self._send(error)

    # --- what the transport calls -----------------------------------------------------------

    def stream(self, _size: int) -> Iterator[bytes]:
        """Yield lines as they arrive."""
        while True:
            while not self._lines:
                self._came.clear()
                if not self._came.wait(self._silence):
                    raise urllib3.exceptions.ReadTimeoutError(None, "", "the watch says nothing")  # type: ignore[arg-type]
            line = self._lines.popleft()
            if line is None:
                return
            if isinstance(line, Exception):
                raise line
            yield line

    def close(self) -> None:
        """End the watch on the client's side."""
        if self._open:
            self._open = False
            self._api.watches.remove(self)

    def shutdown(self) -> None:
        """End the watch and wake its reader."""
        self.close()
        self._lines.append(None)
        self._came.set()


class Pool:
    """The part of urllib3.PoolManager that the transport uses, for one process."""

    def __init__(self, api: Api, link: Link) -> None:
        self._api, self._link = api, link
        self.freeze_seconds = 0.0
        """Seconds for which the process freezes when its next write of the Lease has arrived, before the answer has."""

    def request(
        self,
        method: str,
        address: str,
        *,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: urllib3.Timeout,
        preload_content: bool,
        **_: object,
    ) -> Answer:
        """Send one request and wait for its answer. Raises the exceptions of urllib3."""
        api, link = self._api, self._link
        url = urlsplit(address)
        target = f"{url.path}?{url.query}"
        seconds = float(timeout.total or timeout._read)  # type: ignore[arg-type] # the transport sets one of them
        if link.scheduler.now < api.down_until:
            link.scheduler.park(link.delay())
            raise urllib3.exceptions.ProtocolError("connection refused")
        who = link.group.name

        def serve() -> Answer:
            if not preload_content:
                return api.watch(link, target, seconds)
            if self.freeze_seconds and method != "GET" and "/leases" in target:
                link.group.paused_until = link.scheduler.now + self.freeze_seconds
                self.freeze_seconds = 0.0
            return api.handle(who, method, target, headers.get("Content-Type", ""), body or b"")

        try:
            return link.ask(serve, min(seconds, 10.0), write=method != "GET" and "/events" not in target)
        except Lost:
            raise urllib3.exceptions.ReadTimeoutError(None, "", "timed out") from None  # type: ignore[arg-type]

    def clear(self) -> None:
        """Do nothing: there are no idle connections to close."""


def _event(kind: str, body: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": body}, separators=(",", ":")).encode() + b"\n"

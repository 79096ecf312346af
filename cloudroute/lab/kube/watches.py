"""Watch streams: one JSON line per change, from a resourceVersion on.

The event type depends on the watch's selector: an object that begins to match is ADDED, one that ceases to match is
DELETED. Bookmarks come each minute and shortly before the end, as from a real server.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

from cloudroute.lab.kube.answers import table
from cloudroute.lab.kube.requests import Request
from cloudroute.lab.kube.status import Object, StatusError
from cloudroute.lab.kube.store import Change, ChangeType, Item, Store

DEFAULT_TIMEOUT = 1_800
"""Seconds until a watch ends that sets no timeout."""
BOOKMARK_SECONDS = 60.0
BOOKMARK_BEFORE_END = 2.0
"""Seconds before the end of a watch at which its last bookmark is sent."""
WAIT_SECONDS = 5.0
"""Longest wait of a stream without a change. Empty bytes then let the server check the connection."""


def stream(store: Store, request: Request, closing: Callable[[], bool]) -> Iterator[bytes]:
    """Return the lines of a watch; b"" after a wait without a change. Ends at its timeout or when `closing`."""
    return _Watch(store, request, closing).lines()


class _Watch:
    def __init__(self, store: Store, request: Request, closing: Callable[[], bool]) -> None:
        self._store = store
        self._request = request
        self._closing = closing
        self._collection = store.collection(request.resource.storage)
        self._matches = request.predicate()
        self._asked = request.number("resourceVersion")
        self._ends = time.monotonic() + (request.number("timeoutSeconds") or DEFAULT_TIMEOUT)
        self._bookmark_at = self._next_bookmark() if request.query.get("allowWatchBookmarks") == "true" else None

    def lines(self) -> Iterator[bytes]:
        """Yield all lines, with the initial state first if the request has no resourceVersion."""
        try:
            seen = self._asked
            if not seen:
                snapshot = self._store.snapshot(self._request.resource.storage)
                seen = snapshot.version
                yield from (self._line("ADDED", item) for item in snapshot.items if self._matches(item.object))
            while True:
                changes, version = self._wait(seen)
                for change in changes:
                    yield from self._translate(change)
                seen = max(seen, version)
                if self._closing() or self._collection.closed or time.monotonic() >= self._ends:
                    return
                if self._bookmark_at is not None and time.monotonic() >= self._bookmark_at:
                    self._bookmark_at = self._next_bookmark()
                    yield self._bookmark(seen)
                elif not changes:
                    yield b""
        except StatusError as error:
            yield _event("ERROR", error.body())

    def _wait(self, seen: int) -> tuple[list[Change], int]:
        """Wait for changes after `seen`; return them and the version up to which they are complete."""
        with self._store.lock:
            changes = self._collection.since(seen)
            if not changes and not self._closing() and not self._collection.closed:
                due = min(self._ends, self._bookmark_at or self._ends) - time.monotonic()
                self._collection.changed.wait(max(0.0, min(due, WAIT_SECONDS)))
                changes = self._collection.since(seen)
            return changes, self._store.version

    def _translate(self, change: Change) -> Iterator[bytes]:
        before = change.previous is not None and self._matches(change.previous.object)
        now = change.type != "DELETED" and self._matches(change.item.object)
        if now:
            yield self._line("MODIFIED" if before else "ADDED", change.item)
        elif before:
            yield self._line("DELETED", change.item)

    def _line(self, kind: ChangeType, item: Item) -> bytes:
        if self._request.wants_table:
            metadata = {"resourceVersion": str(item.version)}
            return _event(kind, table(self._request, [self._request.resource.shown(item.object)], metadata))
        return b'{"type":"%s","object":%s}\n' % (kind.encode(), self._request.resource.encode(item))

    def _bookmark(self, version: int) -> bytes:
        resource = self._request.resource
        metadata = {"resourceVersion": str(version), "creationTimestamp": None}
        return _event("BOOKMARK", {"kind": resource.kind, "apiVersion": resource.group_version, "metadata": metadata})

    def _next_bookmark(self) -> float | None:
        now, last = time.monotonic(), self._ends - BOOKMARK_BEFORE_END
        return min(now + BOOKMARK_SECONDS, last) if now < last else None


def _event(kind: str, body: Object) -> bytes:
    return json.dumps({"type": kind, "object": body}, separators=(",", ":")).encode() + b"\n"

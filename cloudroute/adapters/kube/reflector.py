"""A thread that keeps a store equal to the API server's objects of one kind.

The idea: list once, page by page and projected while decoding, so that no more than one object is ever held raw; then
watch from there, and list again only when the server no longer has the version (410), or after another error that a new
list may repair. After any failure it backs off and goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import Any, Generic, Protocol, TypeVar

from cloudroute.adapters.kube.project import Meta, meta
from cloudroute.adapters.kube.transport import Transport, Watch
from cloudroute.errors import ApiError, Retryable, Throttled
from cloudroute.telemetry import ChangeLog
from cloudroute.types import GatewayLease, LeftOut, Node, NodeRoute, RouteTableObject

_chance = Random()
T = TypeVar("T", bound=Node | LeftOut | NodeRoute | RouteTableObject | GatewayLease)
T_contra = TypeVar("T_contra", contravariant=True)

SILENCE_SECONDS = 75.0
"""Seconds without an event after which a watch is dead: the API server sends a bookmark each minute."""
WATCH_SECONDS = (240, 300)
"""Range of the timeout requested for a watch, drawn at random so that not all clients reconnect at once."""
FIRST_DELAY, LONGEST_DELAY = 0.2, 8.0
"""Seconds. The longest is below the default of --drain-seconds: when an API server is back and the controller finds it
first, an agent must still learn that a route will be removed before it is."""
STOP_SECONDS = 0.8
STEADY_SECONDS = 1.0
"""A watch that lasted that long, or delivered an event, has succeeded; any other counts as a failure."""


class Sink(Protocol[T_contra]):
    """Receives the objects of a `Reflector`: a `stores.MemoryStore`, or the heartbeats of gateways."""

    def replace(self, version: int, listed: Iterable[tuple[Meta, T_contra]]) -> None:
        """Apply a full list that was current at `version`."""
        ...

    def upsert(self, meta: Meta, obj: T_contra | None) -> None:
        """Apply an ADDED or MODIFIED event; an `obj` of None is left out."""
        ...

    def delete(self, meta: Meta) -> None:
        """Apply a DELETED event."""
        ...

    def progress(self, version: int) -> None:
        """Apply a BOOKMARK: there is no other event up to `version`."""
        ...


class Reflector(Generic[T]):
    """Lists and watches `path` into `store`; an object that `project` turns into None is left out.

    `labels` is a label selector, "" for all objects. `beat(name, within_seconds)` tells that the thread is alive.
    """

    def __init__(
        self,
        transport: Transport,
        path: str,
        project: Callable[[dict[str, Any]], T | None],
        store: Sink[T],
        beat: Callable[[str, float], None],
        list_limit: int,
        silence: float = SILENCE_SECONDS,
        labels: str = "",
    ) -> None:
        self._transport = transport
        self._path = path
        self._project = project
        self._store: Any = store
        self._beat = beat
        self._list_limit = list_limit
        self._silence = silence
        self._selection = {"labelSelector": labels} if labels else {}
        self._version = ""
        """resourceVersion to watch from; "" while a list is due."""
        self._watch: Watch | None = None
        self._watch_succeeded = False
        """Whether the watch of this turn succeeded. Only that resets the back-off: lists must not repeat at once."""
        self._stopping = threading.Event()
        self._changes = ChangeLog()
        self.trouble = ""
        """Error text of the last turn; "" when it succeeded."""
        self.thread = threading.Thread(target=self._run, name=f"reflector-{path.rsplit('/', 1)[-1]}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """Ask the thread to end, and wake it if a watch blocks it. A list ends by its own timeout."""
        self._stopping.set()
        if (watch := self._watch) is not None:
            watch.close()

    def _run(self) -> None:
        delays = _delays()
        away = 0
        while not self._stopping.is_set():
            self._alive()
            self._watch_succeeded = False
            delay = 0.0
            try:
                if not self._version:
                    self._list()
                if not self._stopping.is_set():
                    self._follow()
            except ApiError as error:
                if self._stopping.is_set():
                    return
                self._say(str(error))
                delay = error.retry_after if isinstance(error, Throttled) else FIRST_DELAY
                if isinstance(error, Retryable):
                    away += 1
                else:
                    self._version = ""
                    if away > 1:
                        # The API server is back and no longer has the version, as after a restart. The back-off that
                        # grew while it was away would delay the next list by seconds.
                        delays = _delays()
                    away = 0
            if self._watch_succeeded:
                delays = _delays()
            else:
                delay = max(delay, next(delays))
            self._stopping.wait(min(delay, LONGEST_DELAY))

    def _list(self) -> None:
        query: dict[str, str | int] = {"limit": self._list_limit, **self._selection}
        objects: list[tuple[Meta, T]] = []
        while True:
            page = self._transport.request("GET", self._path, query, hook=self._project_item)
            data = page.get("metadata") or {}
            objects += [item for item in page.get("items") or () if isinstance(item, tuple) and item[1] is not None]
            if self._stopping.is_set():
                return
            self._alive()
            if not data.get("continue"):
                break
            query["continue"] = data["continue"]
        self._version = str(data.get("resourceVersion", ""))
        self._store.replace(int(self._version or 0), objects)

    def _project_item(self, raw: dict[str, Any]) -> Any:
        """Replace an item by its projection while the page is being decoded; return any other JSON object unchanged.

        An item is an object with a uid. One at a time is held raw: with 5,000 Nodes, pages of 250, that saves 11 MB.
        """
        about = raw.get("metadata")
        return (meta(raw), self._project(raw)) if isinstance(about, dict) and "uid" in about else raw

    def _follow(self) -> None:
        query: dict[str, str | int] = {
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": _chance.randint(*WATCH_SECONDS),
            **self._selection,
        }
        self._watch = self._transport.watch(self._path, query, self._silence)
        opened = time.monotonic()
        self._say("")
        # `stop` sets the event before it looks for the watch, so either it or this check closes the watch.
        if self._stopping.is_set():
            self._watch.close()
        try:
            for event in self._watch:
                self._take(event)
                self._watch_succeeded = True
                self._alive()
        finally:
            self._watch_succeeded |= time.monotonic() - opened >= STEADY_SECONDS

    def _take(self, event: dict[str, Any]) -> None:
        raw = event["object"]
        about = meta(raw)
        match event.get("type"):
            case "BOOKMARK":
                self._store.progress(about.version)
            case "DELETED":
                self._store.delete(about)
            case _:
                self._store.upsert(about, self._project(raw))
        self._version = str(about.version)

    def _alive(self) -> None:
        self._beat(self.thread.name, self._silence + 2 * LONGEST_DELAY)

    def _say(self, trouble: str) -> None:
        self.trouble = trouble
        if trouble:
            self._changes.say("trouble", "can't watch", path=self._path, error=trouble, warning=True)
        elif self._changes.forget("trouble"):
            self._changes.say("well", "watching again", path=self._path)
            self._changes.forget("well")


class Reflectors:
    """The reflectors of a cluster's kinds, started, supervised and stopped together; `transport` closes with them."""

    def __init__(self, transport: Transport, reflectors: Sequence[Reflector[Any]]) -> None:
        self._transport = transport
        self._reflectors = reflectors

    def start(self) -> None:
        """Start the threads."""
        for reflector in self._reflectors:
            reflector.start()

    def stop(self) -> None:
        """Stop the threads within a second."""
        for reflector in self._reflectors:
            reflector.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for reflector in self._reflectors:
            if reflector.thread.ident is not None:
                reflector.thread.join(max(0.0, deadline - time.monotonic()))
        self._transport.close()

    def dead(self) -> str:
        """The name of a thread that has ended unasked; "" while all run."""
        threads = self.threads
        return next((thread.name for thread in threads if thread.ident is not None and not thread.is_alive()), "")

    @property
    def threads(self) -> Sequence[threading.Thread]:
        """The reflectors' threads, for supervision."""
        return [reflector.thread for reflector in self._reflectors]

    @property
    def trouble(self) -> str:
        """Reason why a store is not up to date, in words; "" while all are."""
        return "; ".join(dict.fromkeys(reflector.trouble for reflector in self._reflectors if reflector.trouble))


def _delays() -> Iterator[float]:
    """Yield the seconds to wait: short at first, doubling, each with jitter so that no two clients keep step."""
    delay = FIRST_DELAY
    while True:
        yield delay * _chance.uniform(0.5, 1.0)
        delay = min(delay * 2, LONGEST_DELAY)

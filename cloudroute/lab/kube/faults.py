"""A schedule of faults at the API server.

Each fault names its verb and resource ("*" for any) and the number of requests it affects. A resource is "nodes", a
subresource "nodes/status"; the verbs are those of RBAC. Tests set faults while the server runs.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cloudroute.lab.kube.status import StatusError

Kind = Literal["fail", "delay", "hang", "drop"]

_REASONS = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError"}


@dataclass
class Fault:
    """One entry of the schedule; `count` more requests are affected."""

    kind: Kind
    verb: str
    resource: str
    count: float
    code: int = 0
    seconds: float = 0

    def is_for(self, verb: str, resource: str) -> bool:
        """Whether it applies to this request."""
        return self.verb in ("*", verb) and self.resource in ("*", resource)

    def error(self) -> StatusError:
        """Return the refusal of a "fail"; `seconds` is its Retry-After."""
        details = {"retryAfterSeconds": math.ceil(self.seconds)} if self.seconds else {}
        return StatusError(self.code, _REASONS.get(self.code, "Unknown"), f"fault: {self.code}", details)


@dataclass(eq=False)
class OpenWatch:
    """A watch that a client holds open."""

    resource: str
    disconnect: Callable[[], None]
    silent: bool = False


class Faults:
    """The schedule. `count` may be `math.inf`."""

    def __init__(self) -> None:
        self.released = threading.Event()
        """Set to end the requests that hang now."""
        self.disconnect_all: Callable[[], None] = lambda: None
        """Set by the server: closes every connection."""
        self._lock = threading.Lock()
        self._schedule: list[Fault] = []
        self._watches: set[OpenWatch] = set()
        self._down_until = 0.0

    def fail(self, code: int, verb: str = "*", resource: str = "*", count: float = 1, retry_after: float = 0) -> None:
        """Answer `code` and do nothing. A 410 for a watch comes as its first event, as from a real server."""
        self._add(Fault("fail", verb, resource, count, code=code, seconds=retry_after))

    def delay(self, seconds: float, verb: str = "*", resource: str = "*", count: float = 1) -> None:
        """Wait before the request is processed."""
        self._add(Fault("delay", verb, resource, count, seconds=seconds))

    def hang(self, verb: str = "*", resource: str = "*", count: float = 1) -> None:
        """Read the request and never answer; `clear` and the end of the server close its connection."""
        self._add(Fault("hang", verb, resource, count))

    def drop(self, verb: str = "*", resource: str = "*", count: float = 1) -> None:
        """Execute the request, then close the connection without an answer."""
        self._add(Fault("drop", verb, resource, count))

    def silence(self, resource: str = "*") -> int:
        """Keep the watches that are open now open, but send nothing more on them. Returns their number."""
        return self._each_watch(resource, lambda watch: setattr(watch, "silent", True))

    def cut(self, resource: str = "*") -> int:
        """Close the connections of the watches that are open now. Returns their number."""
        return self._each_watch(resource, lambda watch: watch.disconnect())

    def down(self, seconds: float) -> None:
        """Stop serving for that many seconds: close open connections now, and new ones as soon as they are made."""
        self._down_until = time.monotonic() + seconds
        self.disconnect_all()

    def clear(self) -> None:
        """Remove every fault, and end the requests that hang now."""
        with self._lock:
            self._schedule.clear()
            self._down_until = 0.0
        self.release()

    def release(self) -> None:
        """Close the connections of the requests that hang now."""
        self.released.set()
        self.released = threading.Event()

    @property
    def is_down(self) -> bool:
        """Whether the server is made unavailable now."""
        return time.monotonic() < self._down_until

    def take(self, verb: str, resource: str) -> Fault | None:
        """Return the fault that applies to this request, if any; it counts as used."""
        with self._lock:
            fault = next((fault for fault in self._schedule if fault.is_for(verb, resource)), None)
            if fault is not None:
                fault.count -= 1
                if fault.count <= 0:
                    self._schedule.remove(fault)
            return fault

    def opened(self, resource: str, disconnect: Callable[[], None]) -> OpenWatch:
        """Register a watch that has begun; `disconnect` closes its connection."""
        watch = OpenWatch(resource, disconnect)
        with self._lock:
            self._watches.add(watch)
        return watch

    def closed(self, watch: OpenWatch) -> None:
        """Remove a watch that has ended."""
        with self._lock:
            self._watches.discard(watch)

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._schedule.append(fault)

    def _each_watch(self, resource: str, act: Callable[[OpenWatch], None]) -> int:
        with self._lock:
            watches = [watch for watch in self._watches if resource in ("*", watch.resource)]
        for watch in watches:
            act(watch)
        return len(watches)

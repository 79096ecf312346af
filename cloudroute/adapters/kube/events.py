"""Events for people: on change only, in the background, and never blocking.

The idea: an Event matters less than anything else the controller does. It is queued, written once per object and reason
(and occasion, for repeat occurrences), limited in rate, and dropped when the API server refuses it.
"""

from __future__ import annotations

import queue
import socket
import threading
import uuid
from collections import OrderedDict
from typing import Any

from cloudroute.adapters.kube.project import GROUP_VERSION
from cloudroute.adapters.kube.transport import Transport
from cloudroute.core.words import one_line
from cloudroute.errors import ApiError, LostRace
from cloudroute.ports import Clock
from cloudroute.types import Notice, micro_time

PATH = "/apis/events.k8s.io/v1/namespaces/default/events"
"""The namespace of Events on cluster-scoped objects is default."""
CONTROLLER = "cloudroute.io/controller"
"""`reportingController` of our Events."""
BURST, PER_SECOND = 100, 5.0
QUEUED = 1000
REMEMBERED = 20_000
_LONGEST_NOTE = 1024
_LONGEST_NAME = 220


_NAMES = uuid.UUID("8c1c6f6e-6a55-4d0c-9d6b-5a2f3f0b7d11")
"""UUID namespace of the names of our Events; any constant would do."""


class EventWriter:
    """Writes Events in a thread of its own, which starts with the first one: a standby has none."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._instance = socket.gethostname()[:128]
        self._queue: queue.Queue[Notice] = queue.Queue(QUEUED)
        self._lock = threading.Lock()
        self._said: OrderedDict[tuple[str, ...], None] = OrderedDict()
        self._thread: threading.Thread | None = None

    def say(self, notice: Notice) -> None:
        """Queue an Event unless that object has had one for that reason and occasion, or too many are waiting.

        Never raises.
        """
        with self._lock:
            if _subject(notice) in self._said or self._queue.full():
                return
            self._said[_subject(notice)] = None
            if len(self._said) > REMEMBERED:
                self._said.popitem(last=False)
            self._queue.put_nowait(notice)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="events", daemon=True)
                self._thread.start()

    def flush(self, timeout: float) -> bool:
        """Wait until all queued Events are written or dropped. Returns whether it took less than `timeout` seconds."""
        deadline = self._clock.monotonic() + timeout
        while self._queue.unfinished_tasks and self._clock.monotonic() < deadline:
            self._clock.sleep(0.01)
        return not self._queue.unfinished_tasks

    def _run(self) -> None:
        tokens, at = float(BURST), self._clock.monotonic()
        while True:
            notice = self._queue.get()
            now = self._clock.monotonic()
            tokens, at = min(float(BURST), tokens + (now - at) * PER_SECOND), now
            if tokens < 1:
                self._clock.sleep((1 - tokens) / PER_SECOND)
            tokens -= 1
            try:
                self._transport.request("POST", PATH, body=self._body(notice))
            except ApiError as error:
                if isinstance(error, LostRace) and error.code == "409":
                    continue
                with self._lock:  # the next cycle that finds the reason queues it again
                    self._said.pop(_subject(notice), None)
            finally:
                self._queue.task_done()

    def _body(self, notice: Notice) -> dict[str, Any]:
        now = micro_time(self._clock.now())
        name = notice.name[:_LONGEST_NAME].rstrip(".-")
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            # The same subject gives the same name, so that an Event of an earlier leader is not written again (409).
            "metadata": {
                "name": f"{name}.{uuid.uuid5(_NAMES, '/'.join(_subject(notice))).hex[:16]}",
                "namespace": "default",
            },
            "eventTime": now,
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": "Reconcile",
            "reason": notice.reason,
            "type": "Warning" if notice.warning else "Normal",
            "note": one_line(notice.message).encode()[:_LONGEST_NOTE].decode(errors="ignore"),
            "regarding": {
                "apiVersion": "v1" if notice.kind == "Node" else GROUP_VERSION,
                "kind": notice.kind,
                "name": notice.name,
                "uid": notice.uid,
            },
        }


def _subject(notice: Notice) -> tuple[str, ...]:
    """Key of an Event that is written once: the object, the reason and the occasion."""
    subject = notice.kind, notice.uid or notice.name, notice.reason
    return (*subject, notice.occasion) if notice.occasion else subject

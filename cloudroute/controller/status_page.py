"""Answers of the status page and /api/status: the leader's last cycle, as its loop handed it over.

It costs the loop one assignment and a few comparisons. All else is done in the threads of requests, at most once for
each cycle and second, however many requests come. No request reaches an API.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any, NamedTuple, Protocol

from cloudroute import __version__
from cloudroute.core.explain.overview import Cycle, compose, timestamp
from cloudroute.page import HEADERS, page
from cloudroute.telemetry import Answer
from cloudroute.types import Notice

REMEMBERED = 50
"""Number of changes in the history."""
AT_ONCE = 5
"""Most notices of one cycle that enter the history; the list of warnings has all."""
FRESH_SECONDS = 1.0
"""Seconds for which an answer is reused even after a new cycle: in a burst, cycles are more frequent than readers."""
_LEVEL = 5
_HTML, _JSON = "text/html; charset=utf-8", "application/json"


class _State(NamedTuple):
    """Input of an answer: the same state gives the same answer."""

    leads: bool
    holder: str
    cycle: Cycle | None
    history: tuple[dict[str, str], ...]
    trouble: str

    def same(self, other: _State) -> bool:
        """Compare by identity: comparing two cycles by value would compare all their nodes and routes."""
        return all(a is b for a, b in zip(self, other, strict=True))


class Election(Protocol):
    """Leader election: `Lease` or `NoLease`."""

    @property
    def held(self) -> bool: ...
    @property
    def identity(self) -> str: ...
    @property
    def holder(self) -> str: ...


class StatusPage:
    """State of the process for the page: written by the loop's thread, read by the threads of requests."""

    def __init__(self, cluster_name: str, election: Election, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._cluster_name, self._election, self._monotonic = cluster_name, election, monotonic
        self._cycle: Cycle | None = None
        self._trouble = ""
        self._noticed: frozenset[Notice] = frozenset()
        self._history: tuple[dict[str, str], ...] = ()
        """Replaced as a whole, since requests read it at any moment."""
        self._composing = threading.Lock()
        """Held while a request composes an answer; concurrent requests wait and return the same one."""
        self._made: tuple[_State, float, Answer] | None = None
        """Input of the last answer, its time (monotonic seconds), and the answer."""

    # --- called by the loop -----------------------------------------------------------------

    def cycle(self, cycle: Cycle) -> None:
        """Record a cycle that has ended."""
        at = timestamp(cycle.at)
        if self._trouble:
            self._note(at, "note", "the world can be read again")
        elif self._cycle is None:
            self._note(at, "note", "this process leads")
        if cycle.did:
            self._note(at, "did", cycle.did)
        new = [notice for notice in dict.fromkeys(cycle.notices) if notice not in self._noticed]
        for notice in new[:AT_ONCE]:
            words = f"{notice.kind.lower()}/{notice.name}: {notice.message}"
            self._note(at, "warning" if notice.warning else "note", words)
        if len(new) > AT_ONCE:
            self._note(at, "note", f"{len(new) - AT_ONCE} more notices")
        self._noticed = frozenset(cycle.notices)
        self._trouble, self._cycle = "", cycle

    def trouble(self, words: str, at: float) -> None:
        """Record that a read failed at `at`, seconds since the epoch, so that nothing was decided."""
        if words != self._trouble:
            self._note(timestamp(at), "warning", words)
        self._trouble = words

    def _note(self, at: str, kind: str, text: str) -> None:
        said = {"at": at, "kind": kind, "text": text[:1000]}
        self._history = (*self._history, said)[-REMEMBERED:]

    # --- called by requests -----------------------------------------------------------------

    def pages(self) -> dict[str, Callable[[], Answer]]:
        """Functions that answer requests, by path."""
        html = page()
        tag = _etag(html)
        whole = Answer(200, _HTML, html, gzip.compress(html, mtime=0), {**HEADERS, "ETag": tag})
        return {"/": lambda: whole, "/api/status": self.answer}

    def answer(self) -> Answer:
        """The status as JSON. Its ETag stays the same while only the times of the last cycle have changed."""
        with self._composing:
            state = _State(self._election.held, self._election.holder, self._cycle, self._history, self._trouble)
            now = self._monotonic()
            if self._made:
                known, since, answer = self._made
                if known.same(state) or (known.leads == state.leads and now - since < FRESH_SECONDS):
                    return answer
            answer = self._compose(state)
            self._made = (state, now, answer)
            return answer

    def _compose(self, state: _State) -> Answer:
        leads, cycle = state.leads, state.cycle
        said: dict[str, Any] = {
            "version": __version__,
            "cluster": self._cluster_name,
            "leader": leads,
            "identity": self._election.identity,
            "holder": state.holder,
        }
        if leads:
            said |= {"trouble": state.trouble, "history": state.history}
            said |= compose(cycle) if cycle else {}
        tag = _etag(_dump(said))
        headers = {**HEADERS, "ETag": f"W/{tag}"}
        if leads and cycle:
            said["looked"] = {
                "at": timestamp(cycle.at),
                "seconds": round(cycle.seconds, 3),
                "next": timestamp(cycle.at + cycle.next_in),
            }
            headers["Last-Modified"] = formatdate(cycle.at, usegmt=True)
        body = _dump(said)
        return Answer(200, _JSON, body, gzip.compress(body, _LEVEL, mtime=0), headers)


def _dump(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode("ascii")


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:20]}"'

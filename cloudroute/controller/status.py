"""What the status page and /api/status answer: the leader's last cycle, as its loop handed it over.

The loop pays one assignment and a few comparisons for it. All else is done in the thread of a request, and only when
somebody asks: at most once for each cycle and second, whoever asks how often. No request reaches an API.
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
from cloudroute.core.cluster.model import Notice
from cloudroute.core.explain.overview import Cycle, compose, timestamp
from cloudroute.page import HEADERS, page
from cloudroute.telemetry import Answer

REMEMBERED = 50
"""Changes that are shown."""
AT_ONCE = 5
"""Notices of one cycle that are told among the changes; all stand among the warnings."""
FRESH_SECONDS = 1.0
"""How long an answer is good, whatever the loop does meanwhile: in a burst it turns more often than people look."""
_LEVEL = 5
_HTML, _JSON = "text/html; charset=utf-8", "application/json"


class _State(NamedTuple):
    """What an answer is made of: the same state gives the same answer."""

    leads: bool
    holder: str
    cycle: Cycle | None
    history: tuple[dict[str, str], ...]
    trouble: str

    def same(self, other: _State) -> bool:
        """By identity: to compare two cycles by value is to compare two worlds."""
        return all(a is b for a, b in zip(self, other, strict=True))


class Election(Protocol):
    """Who leads: `Lease` or `NoLease`."""

    @property
    def held(self) -> bool: ...
    @property
    def identity(self) -> str: ...
    @property
    def holder(self) -> str: ...


class Status:
    """Told by the loop's thread, asked by those of requests."""

    def __init__(self, cluster_name: str, election: Election, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._cluster_name, self._election, self._monotonic = cluster_name, election, monotonic
        self._cycle: Cycle | None = None
        self._trouble = ""
        self._noticed: frozenset[Notice] = frozenset()
        self._history: tuple[dict[str, str], ...] = ()
        """Replaced as a whole, since requests read it at any moment."""
        self._composing = threading.Lock()
        """One request composes; others that come meanwhile wait and have what it made."""
        self._made: tuple[_State, float, Answer] | None = None
        """What the last answer was made of, when, and the answer."""

    # --- told by the loop -------------------------------------------------------------------

    def cycle(self, cycle: Cycle) -> None:
        """A cycle has ended."""
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
        """The world could not be read at `at`, seconds since the epoch, so nothing was decided."""
        if words != self._trouble:
            self._note(timestamp(at), "warning", words)
        self._trouble = words

    def _note(self, at: str, kind: str, text: str) -> None:
        said = {"at": at, "kind": kind, "text": text[:1000]}
        self._history = (*self._history, said)[-REMEMBERED:]

    # --- asked by requests ------------------------------------------------------------------

    def pages(self) -> dict[str, Callable[[], Answer]]:
        """What to serve, by path."""
        html = page()
        tag = _etag(html)
        whole = Answer(200, _HTML, html, gzip.compress(html, mtime=0), {**HEADERS, "ETag": tag})
        return {"/": lambda: whole, "/api/status": self.answer}

    def answer(self) -> Answer:
        """The status as JSON. Its ETag stays the same while nothing but the time of the look has changed."""
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

"""Events: written once per object and reason, without ever blocking the caller."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

import pytest

from cloudroute.adapters.kube import events
from cloudroute.adapters.kube.events import EventWriter
from cloudroute.adapters.kube.transport import Transport
from cloudroute.clock import SystemClock
from cloudroute.lab.kube import KubeApi
from cloudroute.types import Notice
from tests.waiting import eventually


class FakeClock(SystemClock):
    """A clock that moves only by sleeping."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def monotonic(self) -> float:
        return self.elapsed

    def sleep(self, seconds: float) -> None:
        self.elapsed += seconds


@pytest.fixture
def writer(transport: Transport) -> EventWriter:
    return EventWriter(transport, SystemClock())


def event(**about: Any) -> Notice:
    return replace(Notice("Node", "n1", "u1", "NoPodCIDR", "none left"), **about)


def test_an_event_regards_its_object_and_has_reason_and_message(api: KubeApi, writer: EventWriter) -> None:
    """The Event is in namespace default, regards the object by kind, name and uid, and has reason and message."""
    writer.say(event(reason="OverlayFallback", message="rtb-1 is full"))
    writer.say(event(kind="NodeRoute", uid="u2", warning=False, reason="Adopted", message="it was there"))
    assert writer.flush(5)
    first, second = sorted(api.list("events", "default"), key=lambda event: str(event["reason"]), reverse=True)
    assert (first["type"], first["reason"], first["message"]) == ("Warning", "OverlayFallback", "rtb-1 is full")
    assert first["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1"}
    assert first["reportingComponent"] == "cloudroute.io/controller"
    assert second["type"] == "Normal"
    assert second["involvedObject"]["apiVersion"] == "cloudroute.io/v1alpha1"


def test_untrusted_text_is_escaped(api: KubeApi, writer: EventWriter) -> None:
    """Untrusted text is escaped in the note, and none of it is left out."""
    writer.say(event(message="x\n\x1b[2J\u202e"))
    assert writer.flush(5)
    (written,) = api.list("events", "default")
    assert written["message"] == r"x\n\x1b[2J\u202e"


def test_the_same_reason_is_said_once_per_object(api: KubeApi, writer: EventWriter) -> None:
    """A repetition writes nothing; another reason, object or uid gives another Event."""
    for uid, reason in (("u1", "A"), ("u1", "A"), ("u1", "B"), ("u2", "A"), ("u2", "A")):
        writer.say(event(uid=uid, reason=reason))
    assert writer.flush(5)
    assert len(api.list("events", "default")) == 3


def test_an_event_that_was_not_taken_is_said_again_when_it_recurs(api: KubeApi, writer: EventWriter) -> None:
    """A refused Event raises nothing, and is written when its reason recurs."""
    api.faults.fail(503, "create")
    writer.say(event())
    assert writer.flush(5)
    assert api.list("events", "default") == []
    writer.say(event())
    assert writer.flush(5)
    assert len(api.list("events", "default")) == 1


def test_a_server_that_hangs_does_not_block_the_loop(api: KubeApi, writer: EventWriter) -> None:
    """say() returns at once even with thousands queued; the excess is dropped."""
    api.faults.hang("create", count=math.inf)
    started = time.monotonic()
    for number in range(events.QUEUED * 3):
        writer.say(event(name=f"n{number}", uid=""))
    assert time.monotonic() - started < 1
    assert not writer.flush(0.05)
    api.faults.clear()


def test_the_rate_of_events_is_limited(api: KubeApi, transport: Transport) -> None:
    """After the burst they go out at a fixed rate, in the clock's time."""
    clock = FakeClock()
    writer = EventWriter(transport, clock)
    more = 50
    for number in range(events.BURST + more):
        writer.say(event(name=f"n{number}", uid=""))
    eventually(lambda: len(api.list("events", "default")) == events.BURST + more, "all Events are written")
    assert clock.elapsed == pytest.approx(more / events.PER_SECOND, rel=0.1)


def test_long_names_and_notes_fit(api: KubeApi, writer: EventWriter) -> None:
    """A name of 253 characters and a note of any length give an Event that the API server accepts."""
    writer.say(event(name="n." * 126 + "n", message="ü" * 2000))
    assert writer.flush(5)
    (written,) = api.list("events", "default")
    assert len(written["metadata"]["name"]) <= 253
    assert len(written["message"].encode()) <= 1024


def test_events_of_an_earlier_leader_are_not_repeated(api: KubeApi, transport: Transport) -> None:
    """After a change of leader an Event is not written again; one for another uid is."""
    for _ in range(2):
        writer = EventWriter(transport, SystemClock())
        writer.say(event(uid="uid-1"))
        assert writer.flush(5)
    writer.say(event(uid="uid-2"))
    assert writer.flush(5)
    assert len(api.list("events", "default")) == 2

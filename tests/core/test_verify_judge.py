"""The verdicts of `cloudroute verify` on answers, and on the packets that nodes counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cloudroute.core.verify import judge
from cloudroute.core.verify.model import Asker, Judge, Outcome, Question
from cloudroute.core.verify.ways import Passage, ways
from cloudroute.dataplane import VTEP
from cloudroute.errors import CloudrouteError

TIMEOUT = {"ok": False, "code": "timeout", "error": "no answer in time"}
STREAM = {
    "ok": True,
    "sent": 500,
    "received": 500,
    "lost": 0,
    "tool_lost": 0,
    "duplicates": 0,
    "rtt_ms": [0.1, 0.2, 4.0],
}


@pytest.mark.parametrize(
    ("judged", "answer", "result"),
    [
        (judge.answered("10.0.0.1"), {"ok": True, "seen": "10.0.0.1"}, "ok"),
        (judge.answered("10.0.0.1"), {"ok": True, "seen": "10.0.0.9"}, "failed"),
        (judge.answered(), {"ok": True, "seen": "10.0.0.9", "lost": 1}, "ok"),
        (judge.answered(), TIMEOUT, "failed"),
        (judge.reached, {"ok": False, "code": "refused", "error": "Connection refused"}, "ok"),
        (judge.reached, {"ok": False, "code": "dns", "error": "Name or service not known"}, "skipped"),
        (judge.reached, TIMEOUT, "failed"),
        (judge.refused_as_too_big, {"ok": False, "code": "too-big", "error": "8951 bytes"}, "ok"),
        (judge.refused_as_too_big, {"ok": True}, "failed"),
        (judge.refused_as_too_big, TIMEOUT, "failed"),
        (judge.nothing_lost, STREAM, "ok"),
        (judge.nothing_lost, {**STREAM, "lost": 1}, "failed"),
        (judge.nothing_lost, {**STREAM, "lost": 3, "tool_lost": 2}, "failed"),
        (judge.nothing_lost, {**STREAM, "lost": 3, "tool_lost": 3}, "skipped"),
        (judge.nothing_lost, {**STREAM, "duplicates": 1}, "failed"),
        (judge.nothing_lost, TIMEOUT, "failed"),
        (judge.resolved(["10.96.0.1"]), {"ok": True, "addresses": ["10.96.0.1"], "server": "10.96.0.10"}, "ok"),
        (judge.resolved(["10.96.0.1"]), {"ok": True, "addresses": ["10.0.0.1"], "server": "10.96.0.10"}, "failed"),
        (judge.resolved(), {"ok": True, "addresses": [], "server": "10.96.0.10"}, "failed"),
        (judge.replied, {"ok": True, "status": 403}, "ok"),
        (judge.replied, TIMEOUT, "failed"),
        (judge.kept_out("netpol"), TIMEOUT, "ok"),
        (judge.kept_out("netpol"), {"ok": True}, "failed"),
        (judge.kept_out(""), {"ok": True}, "told"),
        (judge.kept_out("netpol"), {"ok": False, "code": "exec", "error": "no way"}, "skipped"),
        (judge.told, TIMEOUT, "told"),
        (judge.told, {"ok": True, "status": 401}, "told"),
    ],
)
def test_an_answer_is_judged(judged: Judge, answer: dict[str, Any], result: str) -> None:
    assert judged(answer)[0] == result


def test_an_error_in_the_middle_takes_nothing_along() -> None:
    first = Outcome(name="a", source="b", target="c", result="ok", expected="", got="")

    def outcomes() -> Iterator[Outcome]:
        yield first
        raise CloudrouteError("the API server is away")

    known, last = judge.collected(outcomes())
    assert known is first
    assert (last.result, last.got) == ("failed", "the API server is away")


def way(path: str, **passages: list[tuple[str, str]]) -> tuple[str, str]:
    """The result of packets from a to b that each node saw come and leave by these devices."""
    question = Question(
        name="pod-loss", asker=Asker("a", "pod"), target="pod on b", target_node="b", path=path, ask={},
        expected="", judge=judge.told,
    )  # fmt: skip
    seen = {node: [Passage("1", "2", *devices, 5) for devices in found] for node, found in passages.items()}
    seen["a"] = [*seen.get("a", ()), Passage("9", "2", "veth1", VTEP, 5)]  # another pod's
    (outcome,) = ways([(question, "1", "2")], seen)
    return outcome.result, outcome.got


NIC_OUT, TUNNEL_OUT, NIC_IN, TUNNEL_IN = ("veth1", "eth0"), ("veth1", VTEP), ("eth0", "veth2"), (VTEP, "veth2")


@pytest.mark.parametrize(
    ("path", "passages", "result"),
    [
        ("native", {"a": [NIC_OUT], "b": [NIC_IN]}, "ok"),
        ("direct", {"a": [NIC_OUT], "b": [NIC_IN]}, "ok"),
        ("overlay", {"a": [TUNNEL_OUT], "b": [TUNNEL_IN]}, "ok"),
        ("native", {"a": [TUNNEL_OUT], "b": [TUNNEL_IN]}, "failed"),
        ("overlay", {"a": [NIC_OUT], "b": [NIC_IN]}, "failed"),
        ("overlay", {"a": [TUNNEL_OUT, NIC_OUT], "b": [TUNNEL_IN]}, "failed"),
        ("native", {"a": [NIC_OUT], "b": [TUNNEL_IN], "c": [("eth0", VTEP)]}, "failed"),
        ("native", {"a": [NIC_OUT], "b": [NIC_IN], "c": [("eth0", "eth0")]}, "failed"),
        ("native", {"a": [NIC_OUT], "b": []}, "failed"),
        ("native", {"a": [NIC_OUT]}, "skipped"),
        ("native", {"a": [], "b": []}, "skipped"),
    ],
)
def test_the_way_of_packets_is_compared_with_the_path(
    path: str, passages: dict[str, list[tuple[str, str]]], result: str
) -> None:
    assert way(path, **passages)[0] == result


def test_a_gateway_in_between_is_named() -> None:
    assert "through c" in way("native", a=[NIC_OUT], b=[TUNNEL_IN], c=[("eth0", VTEP)])[1]

"""The way that packets took, by the counters of the nodes they passed, against the way that was predicted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from cloudroute.core.verify.model import Outcome, Question
from cloudroute.dataplane import VTEP


class Passage(NamedTuple):
    """Packets of a probe that a node forwarded."""

    source: str
    target: str
    came_by: str
    """Device by which they came in."""
    left_by: str
    packets: int


Passages = Mapping[str, Sequence[Passage]]
"""By node."""


def ways(asked: Iterable[tuple[Question, str, str]], passages: Passages) -> Iterator[Outcome]:
    """Judge each pair: a question that was asked of it, and the addresses of the two ends."""
    by_pair: dict[tuple[str, str], dict[str, list[Passage]]] = {}
    for node, found in passages.items():
        for one in found:
            by_pair.setdefault((one.source, one.target), {}).setdefault(node, []).append(one)
    for question, source, target in asked:
        yield _way(question, by_pair.get((source, target), {}), passages.keys())


def _way(question: Question, passed: Passages, counted: Collection[str]) -> Outcome:
    """Judge one pair: what each node saw pass of it, and the nodes that counted at all."""
    here, there = question.asker.node, question.target_node
    tunnel = question.path == "overlay"
    expected = f"{question.path}: {'by' if tunnel else 'not by'} {VTEP}, and by no third node"
    question = replace(question, name="pod-path", expected=expected)
    sent, received = passed.get(here, ()), passed.get(there, ())
    between = sorted(passed.keys() - {here, there})
    got = _words(sent, received, between)
    if not (sent and received):
        unknown = [node for node in (here, there) if node not in counted]
        got = f"not counted: no way into the agent of {' and '.join(unknown)}" if unknown else got
        return Outcome.as_judged(question, "failed" if not unknown and sent and not received else "skipped", got)
    devices = {one.left_by for one in sent} | {one.came_by for one in received}
    good = devices == {VTEP} if tunnel else VTEP not in devices
    return Outcome.as_judged(question, "ok" if good and not between else "failed", got)


def _words(sent: Sequence[Passage], received: Sequence[Passage], between: Sequence[str]) -> str:
    if not sent:
        return "no packet left the sender's node"
    parts = [f"left by {_listed(one.left_by for one in sent)}"]
    parts.append(f"came by {_listed(one.came_by for one in received)}" if received else "and did not arrive")
    if between:
        parts.append(f"through {', '.join(between)}")
    return ", ".join(parts)


def _listed(devices: Iterable[str]) -> str:
    return " and ".join(sorted(set(devices)))

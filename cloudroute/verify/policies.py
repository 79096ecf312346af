"""Whether a NetworkPolicy keeps packets out of a pod: cloudroute enforces none itself, an enforcer beside it may."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from cloudroute.core.verify.judge import answered
from cloudroute.core.verify.model import Answer, Asker, Outcome, Question, Result
from cloudroute.core.verify.questions import PORT, SMALL_BYTES, TCP_BYTES
from cloudroute.types import family_of
from cloudroute.verify import manifests
from cloudroute.verify.stage import Stage

TAKE_UP_SECONDS = 15.0
"""For an enforcer to take up a policy."""


def policies(
    stage: Stage, askers: Sequence[Asker], denied: Asker, addresses: Sequence[str], enforcer: str
) -> Iterator[Outcome]:
    """Ask the pod without a policy, make one that lets nothing in, and ask again. `enforcer`: its name, or ""."""
    asked = [_question(asker, denied, address, kind) for asker in askers for address in addresses for kind in _KINDS]
    open_before = [question for question, answer in stage.ask_all(asked) if answer.get("ok")]
    manifest = manifests.policy()
    stage.make(manifest)
    try:
        deadline = time.monotonic() + (TAKE_UP_SECONDS if enforcer else 0.0)
        while True:
            answers = list(stage.ask_all(open_before))
            if not any(answer.get("ok") for _, answer in answers) or time.monotonic() > deadline:
                break
    finally:
        stage.remove(manifest)
    yield from (_outcome(question, answer, enforcer) for question, answer in answers)


_KINDS = ("udp", "tcp")


def _question(asker: Asker, denied: Asker, address: str, kind: str) -> Question:
    ask = {"kind": kind, "address": address, "port": PORT, "size": SMALL_BYTES if kind == "udp" else TCP_BYTES}
    return Question(
        name="policy-deny",
        asker=asker,
        target=f"{denied}, {address}",
        target_node=denied.node,
        family=family_of(address),
        ask={**ask, "timeout": 0.5},
        expected="a NetworkPolicy that lets nothing in keeps the packet out",
        judge=answered(),
    )


def _outcome(question: Question, answer: Answer, enforcer: str) -> Outcome:
    if answer.get("code") == "exec":
        return _with(question, "skipped", str(answer["error"]))
    if not answer.get("ok"):
        return _with(question, "ok", "denied")
    if enforcer:
        return _with(question, "failed", f"answered, though {enforcer} runs")
    return _with(question, "told", "answered: nothing enforces NetworkPolicies in this cluster")


def _with(question: Question, result: Result, got: str) -> Outcome:
    return Outcome(
        name=question.name,
        source=str(question.asker),
        target=question.target,
        family=question.family,
        result=result,
        expected=question.expected,
        got=got,
        nodes=(question.asker.node, question.target_node),
    )

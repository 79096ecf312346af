"""Whether a NetworkPolicy keeps packets out of a pod: cloudroute enforces none itself, an enforcer beside it may."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from cloudroute.core.verify.judge import kept_out
from cloudroute.core.verify.model import Asker, Judge, Outcome, Question
from cloudroute.core.verify.questions import SMALL_BYTES, TCP_BYTES
from cloudroute.types import family_of
from cloudroute.verify import manifests
from cloudroute.verify.stage import Stage

TAKE_UP_SECONDS = 15.0
"""For an enforcer to take up a policy."""
_KINDS = ("udp", "tcp")


def policies(
    stage: Stage, askers: Sequence[Asker], denied: Asker, addresses: Sequence[str], enforcer: str
) -> Iterator[Outcome]:
    """Ask the pod without a policy, make one that lets nothing in, and ask again. `enforcer`: its name, or ""."""
    judge = kept_out(enforcer)
    asked = [
        _question(asker, denied, address, kind, judge) for asker in askers for address in addresses for kind in _KINDS
    ]
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
    yield from (Outcome.of(question, answer) for question, answer in answers)


def _question(asker: Asker, denied: Asker, address: str, kind: str, judge: Judge) -> Question:
    ask = {"kind": kind, "address": address, "size": SMALL_BYTES if kind == "udp" else TCP_BYTES}
    return Question(
        name="policy-deny",
        asker=asker,
        target=f"{denied}, {address}",
        target_node=denied.node,
        family=family_of(address),
        ask={**ask, "timeout": 0.5},
        expected="a NetworkPolicy that lets nothing in keeps the packet out",
        judge=judge,
    )

"""`verify --webhooks` judges the path of the API server's call, and not a Service that is seconds old."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from cloudroute.core.verify.model import Asker
from cloudroute.errors import ApiError
from cloudroute.verify.webhooks import webhooks
from tests.clock import FakeClock

ASKER = Asker("n1", "pod")
REFUSED = "admission webhook denied the request: refused by pod on n1"
REJECTED = "failed calling webhook: connect: connection refused"


class Execution:
    """A probe that answers once it serves."""

    def send(self, _: object) -> None: ...

    def lines(self, _: float) -> Iterator[str]:
        return iter(["ready"])

    def close(self) -> None: ...


class StubStage:
    """A cluster whose API server answers a dry run with these errors, one after the other, the last for good."""

    def __init__(self, *answers: str) -> None:
        self.pods, self.answers = self, list(answers)

    def create(self, _: object, *, dry_run: bool) -> None:
        assert dry_run
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if said:
            raise ApiError("create configmaps", "dry-run", "500", said)

    def run(self, *_: object) -> Execution:
        return Execution()

    def make(self, _: object) -> None: ...

    def remove(self, _: object) -> None: ...


@pytest.mark.parametrize(
    ("answers", "result", "got"),
    [
        (["", "", REFUSED], "ok", "it was asked"),
        (["", REJECTED, REJECTED, REFUSED], "ok", "it was asked"),
        ([REJECTED], "failed", REJECTED),
        ([""], "failed", "the API server did not ask"),
    ],
)
def test_a_new_service_has_five_seconds(
    monkeypatch: pytest.MonkeyPatch, answers: list[str], result: str, got: str
) -> None:
    """Errors while kube-proxy has not programmed it are no verdict; those of the path stay."""
    clock = FakeClock()
    timed = SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep)
    monkeypatch.setattr("cloudroute.verify.webhooks.time", timed)
    stage: Any = StubStage(*answers)
    (outcome,) = webhooks(stage, {"native": ASKER})
    assert outcome.result == result
    assert got in outcome.got

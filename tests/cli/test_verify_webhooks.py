"""`verify --webhooks` judges the path of the API server's call, and not a Service that is seconds old."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from cloudroute.adapters.kube.pods import collection
from cloudroute.core.verify.model import Asker, Outcome
from cloudroute.errors import ApiError, LostRace
from cloudroute.verify.manifests import Json
from cloudroute.verify.stage import Stage
from cloudroute.verify.webhooks import configuration, webhooks
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


class StubPods:
    """A cluster whose API server answers a dry run with these errors, one after the other, the last for good."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.there: dict[str, Json] = {}
        """Webhook configurations by path, and Services."""

    def create(self, manifest: Json, *, dry_run: bool = False) -> Json:
        if not dry_run:
            if self.there.setdefault(_path(manifest), manifest) is not manifest:
                raise LostRace("create", manifest["metadata"]["name"], "409", "already exists")
            return manifest
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if said:
            raise ApiError("create configmaps", "dry-run", "500", said)
        return manifest

    def get(self, path: str) -> Json | None:
        return self.there.get(path)

    def delete(self, manifest: Json) -> None:
        self.there.pop(_path(manifest), None)

    def execute(self, *_: object) -> Execution:
        return Execution()


def _path(manifest: Json) -> str:
    return f"{collection(manifest)}/{manifest['metadata']['name']}"


def tried(pods: Any) -> list[Outcome]:
    return list(webhooks(Stage(pods, "cloudroute", print, keep=False), {"native": ASKER}))


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
    pods = StubPods(*answers)
    (outcome,) = tried(pods)
    assert outcome.result == result
    assert got in outcome.got
    assert not pods.there


def test_a_configuration_that_a_killed_run_left_is_replaced() -> None:
    """Only one run at a time has the namespace, so nobody else uses it."""
    pods = StubPods(REFUSED)
    left = configuration("webhook-pod-n0", "a former certificate")
    pods.create(left)
    assert [outcome.result for outcome in tried(pods)] == ["ok"]
    assert not pods.there


def test_a_configuration_of_somebody_else_stays_and_is_told() -> None:
    """It has our name and other webhooks."""
    pods = StubPods(REFUSED)
    foreign = configuration("webhook-pod-n0", "")
    foreign["webhooks"][0]["name"] = "policy.example.com"
    pods.create(foreign)
    (outcome,) = tried(pods)
    assert (outcome.result, "not made by verify" in outcome.got) == ("skipped", True)
    assert list(pods.there.values()) == [foreign]

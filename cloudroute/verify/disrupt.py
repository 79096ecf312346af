"""`verify --disrupt`: an agent and the leader are restarted under traffic, and no packet may be lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from cloudroute.adapters.kube.leases import KubeLeases
from cloudroute.adapters.kube.pods import Pods
from cloudroute.adapters.kube.project import is_ready
from cloudroute.adapters.kube.review import component
from cloudroute.adapters.kube.transport import READ_SECONDS
from cloudroute.core.identity import host_of
from cloudroute.core.verify.model import Outcome, Question, Result
from cloudroute.verify.stage import Stage
from cloudroute.wiring import LEASE

STREAM_SECONDS = 30.0
"""Of traffic around each restart: a pod is there again after some ten, and another leader within the lease's 15."""
_LEAD_SECONDS = 3.0
"""Of traffic before the restart."""
_LOOK_SECONDS = 0.5


def disrupt(stage: Stage, flows: Sequence[Question], node: str) -> Iterator[Outcome]:
    """Restart the agent of a node, then the leader, each under all `flows`."""
    namespace = stage.agents_namespace
    agent = _Restarted(stage.pods, namespace, "agent", lambda: stage.agents.get(node, ""))
    leader = _Restarted(stage.pods, namespace, "controller", lambda: _leader(stage.pods, namespace))
    for name, restarted in (("disrupt-agent", agent), ("disrupt-leader", leader)):
        yield from _under_traffic(stage, name, restarted, flows)


def _under_traffic(stage: Stage, name: str, restarted: _Restarted, flows: Sequence[Question]) -> Iterator[Outcome]:
    long = [replace(flow, name=name, ask={**flow.ask, "seconds": STREAM_SECONDS}) for flow in flows]
    with ThreadPoolExecutor(1) as pool:
        traffic = pool.submit(lambda: list(stage.ask_all(long, STREAM_SECONDS)))
        time.sleep(_LEAD_SECONDS)
        yield restarted.outcome(name, STREAM_SECONDS - _LEAD_SECONDS)
        yield from (Outcome.of(question, answer) for question, answer in traffic.result())


class _Restarted:
    """A pod of ours that is deleted; its successor has to be Ready in time."""

    def __init__(self, pods: Pods, namespace: str, component: str, name: Callable[[], str]) -> None:
        self._pods, self._namespace, self._component, self._name = pods, namespace, component, name

    def outcome(self, name: str, seconds: float) -> Outcome:
        """Delete the pod, and wait for its successor at most so long."""
        old, before = self._name(), self._ready()
        said = f"{self._component} pod {old}"
        expected = f"as many are Ready again within {seconds:g} s"
        if old not in before:
            return _outcome(name, said, "skipped", expected, f"no {self._component} is known that is Ready")
        start = time.monotonic()
        self._pods.delete({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": old, "namespace": self._namespace}})
        while time.monotonic() < start + seconds:
            ready = self._ready()
            if old not in ready and len(ready) >= len(before):
                return _outcome(name, said, "ok", expected, f"after {time.monotonic() - start:.0f} s")
            time.sleep(_LOOK_SECONDS)
        return _outcome(name, said, "failed", expected, f"{len(self._ready())} of {len(before)} are")

    def _ready(self) -> set[str]:
        """The names of the component's Ready pods."""
        found = self._pods.list(f"/api/v1/namespaces/{self._namespace}/pods", component(self._component))
        return {
            pod["metadata"]["name"]
            for pod in found
            if "deletionTimestamp" not in pod["metadata"] and is_ready(pod["status"])
        }


def _leader(pods: Pods, namespace: str) -> str:
    """The name of the pod that leads, "" while nobody does."""
    lease = KubeLeases(pods, namespace, LEASE, READ_SECONDS).read()
    return pods.controllers(namespace).get(host_of(lease.holder), "") if lease else ""


def _outcome(name: str, target: str, result: Result, expected: str, got: str) -> Outcome:
    return Outcome(
        name=name,
        source="verify",
        target=target,
        result=result,
        expected=expected,
        got=got,
    )

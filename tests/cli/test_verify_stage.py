"""`cloudroute verify` creates objects of its own in a cluster, and removes these alone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudroute.adapters.kube.pods import Pods
from cloudroute.core.verify.model import Asker
from cloudroute.errors import CloudrouteError, LostRace, Unreachable
from cloudroute.lab.kube import KubeApi
from cloudroute.verify import manifests
from cloudroute.verify.stage import Stage

AGENTS = "cloudroute"
IMAGE = "registry.example/cloudroute:1"
HOST_PORT = Asker("n1", "host-port")
"""Its pod is in the namespace of the agents."""


def agent() -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "cloudroute", "app.kubernetes.io/component": "agent"}
    container = {"name": "agent", "image": IMAGE, "imagePullPolicy": "Always"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "agent", "namespace": AGENTS, "labels": labels},
        "spec": {"nodeName": "n1", "containers": [container]},
        "status": {"phase": "Running"},
    }


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[KubeApi]:
    kube = KubeApi()
    with contextlib.closing(kube.serve()) as server:
        server.kubeconfig(tmp_path / "kubeconfig")
        kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": AGENTS}})
        kube.create(agent())
        yield kube


@pytest.fixture
def stage(kube: KubeApi, tmp_path: Path) -> Iterator[Stage]:
    pods = Pods(str(tmp_path / "kubeconfig"))
    yield Stage(pods, AGENTS, lambda _: None, keep=False)
    pods.close()


def names(kube: KubeApi, resource: str, *namespace: str) -> set[str]:
    return {item["metadata"]["name"] for item in kube.list(resource, *namespace)}


def test_all_is_removed_at_the_end_and_after_any_error(kube: KubeApi, stage: Stage) -> None:
    def interrupted() -> None:
        with stage:
            stage.make(manifests.probe(HOST_PORT, AGENTS, stage.image))
            assert names(kube, "pods", AGENTS) == {"agent", "cloudroute-verify"}
            assert manifests.NAMESPACE in names(kube, "namespaces")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(kube, "pods", AGENTS) == {"agent"}
    assert manifests.NAMESPACE not in names(kube, "namespaces")


def test_an_object_whose_creation_was_not_answered_is_removed(kube: KubeApi, stage: Stage) -> None:
    with stage:
        kube.faults.drop("create", "pods")
        with pytest.raises(Unreachable):
            stage.make(manifests.probe(HOST_PORT, AGENTS, stage.image))
        assert names(kube, "pods", AGENTS) == {"agent", "cloudroute-verify"}
    assert names(kube, "pods", AGENTS) == {"agent"}


def test_an_object_of_that_name_that_was_there_before_stays(kube: KubeApi, stage: Stage) -> None:
    foreign = {**agent(), "metadata": {"name": "cloudroute-verify", "namespace": AGENTS}}
    kube.create(foreign)
    with stage, pytest.raises(LostRace):
        stage.make(manifests.probe(HOST_PORT, AGENTS, stage.image))
    assert names(kube, "pods", AGENTS) == {"agent", "cloudroute-verify"}


def test_pods_of_both_namespaces_are_waited_for(kube: KubeApi, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port of the host answers once its pod does: asked before, it would refuse."""
    monkeypatch.setattr("cloudroute.verify.stage.START_SECONDS", 0.0)
    probe = Asker("n1", "pod")
    with stage:
        for asker in (probe, HOST_PORT):
            stage.make(manifests.probe(asker, AGENTS, stage.image))
        ready = {"conditions": [{"type": "Ready", "status": "True"}], "podIPs": [{"ip": "100.64.0.2"}]}
        kube.patch_status("pods", "pod-n1", ready, manifests.NAMESPACE)
        assert stage.await_ready([probe, HOST_PORT]) == ({probe: ("100.64.0.2",)}, {HOST_PORT: "phase Pending"})
        kube.patch_status("pods", "cloudroute-verify", ready, AGENTS)
        assert stage.await_ready([probe, HOST_PORT]) == (dict.fromkeys((probe, HOST_PORT), ("100.64.0.2",)), {})


def test_a_second_run_is_refused_while_the_first_one_is_at_work(kube: KubeApi, stage: Stage) -> None:
    kube.create(manifests.namespace())
    with pytest.raises(CloudrouteError, match=f"kubectl delete namespace {manifests.NAMESPACE}"):
        stage.__enter__()
    assert manifests.NAMESPACE in names(kube, "namespaces")


def test_the_commands_after_a_kill_remove_all_that_a_run_makes(kube: KubeApi, stage: Stage) -> None:
    """They are those of docs/verify.md. A webhook configuration left there would be in the way of the next run."""
    kube.create(manifests.namespace())
    with pytest.raises(CloudrouteError) as refusal:
        stage.__enter__()
    page = (Path(__file__).parents[2] / "docs" / "verify.md").read_text(encoding="utf-8")
    commands = [line.removeprefix("$ ") for line in page.splitlines() if line.startswith("$ kubectl delete")]
    assert [line.strip() for line in refusal.value.lines[1:]] == commands
    assert [command.split()[2] for command in commands] == ["validatingwebhookconfiguration", "pod", "namespace"]


def test_the_namespace_of_a_run_before_is_waited_for_while_it_goes(kube: KubeApi, stage: Stage) -> None:
    before = manifests.namespace()
    kube.create({**before, "metadata": {**before["metadata"], "finalizers": ["example.com/pods"]}})
    kube.delete("namespaces", manifests.NAMESPACE)
    gone = {"metadata": {"finalizers": None}}
    threading.Timer(0.3, lambda: kube.patch("namespaces", manifests.NAMESPACE, gone)).start()
    with stage:
        (found,) = [one for one in kube.list("namespaces") if one["metadata"]["name"] == manifests.NAMESPACE]
        assert "deletionTimestamp" not in found["metadata"]


def test_the_pods_have_the_agents_image_and_need_no_secret_for_it(stage: Stage) -> None:
    with stage:
        assert stage.image == manifests.Image(IMAGE, "IfNotPresent")
        assert stage.agents == {"n1": "agent"}


def test_without_an_agent_there_is_nothing_to_run(kube: KubeApi, stage: Stage) -> None:
    kube.delete("pods", "agent", AGENTS)
    with pytest.raises(CloudrouteError, match="pass --namespace"):
        stage.__enter__()
    assert manifests.NAMESPACE not in names(kube, "namespaces")

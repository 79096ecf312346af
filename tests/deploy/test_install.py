"""The chart goes onto a real API server, is upgraded and goes again, by Helm and by kubectl."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cloudroute.lab.kube.real import RealKubeApi
from cloudroute.lab.kube.status import StatusError
from tests.contract.test_crds import ROUTE
from tests.deploy.conftest import CHART, DEPLOY, VALUES, Run
from tests.waiting import eventually

CRDS = {"noderoutes.cloudroute.io", "routetables.cloudroute.io"}
RELEASE = "cloudroute"
TAKE_OVER = ("--take-ownership", "--server-side=false")
"""As deploy/cloudroute.yaml says. kubectl stays a manager of the fields: a server-side apply would conflict with it."""


@pytest.fixture
def kubeconfig(cluster: RealKubeApi, tmp_path: Path) -> Path:
    return cluster.kubeconfig(tmp_path / "kubeconfig")


@pytest.fixture
def namespace() -> str:
    return f"net-{uuid4().hex[:8]}"


def names(cluster: RealKubeApi, plural: str, namespace: str = "") -> set[str]:
    return {item["metadata"]["name"] for item in cluster.list(plural, namespace)}


def serves_node_routes(cluster: RealKubeApi) -> bool:
    """A CRD that is new or has changed is not served at once."""
    try:
        cluster.list("noderoutes")
    except (KeyError, StatusError):
        return False
    return True


def forget(cluster: RealKubeApi, namespace: str) -> None:
    """Remove what an uninstalled release leaves on purpose."""
    for name in CRDS:
        cluster.delete("customresourcedefinitions", name)
    cluster.delete("namespaces", namespace)
    # The API server looks for a minute whether a CRD's objects are gone, and only then begins anew
    # (apiextensions-apiserver, pkg/controller/finalizer/crd_finalizer.go, deleteInstances).
    eventually(lambda: not CRDS & names(cluster, "customresourcedefinitions"), "the CRDs are gone", 180)


def test_installed_upgraded_uninstalled(cluster: RealKubeApi, helm: Run, kubeconfig: Path, namespace: str) -> None:
    """One command each. An upgrade brings what is new in the CRDs; what is left is the CRDs with their NodeRoutes."""

    def does(*words: str) -> str:
        answer = helm(*words, "--namespace", namespace, kubeconfig=kubeconfig)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    said = does("install", RELEASE, str(CHART), "--create-namespace", *VALUES)
    assert f"kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=privileged" in said
    assert names(cluster, "daemonsets", namespace) == {"cloudroute-agent"}
    eventually(lambda: serves_node_routes(cluster), "NodeRoutes are served")
    cluster.create(
        {"apiVersion": "cloudroute.io/v1alpha1", "kind": "NodeRoute", "metadata": {"name": namespace}, "spec": ROUTE}
    )
    stale: dict[str, Any] = {"spec": {"names": {"shortNames": []}}}
    cluster.patch("customresourcedefinitions", "noderoutes.cloudroute.io", stale)
    does("upgrade", RELEASE, str(CHART), "--reset-then-reuse-values", "--set", "controller.settings.route-limit=auto")
    (container,) = cluster.get("deployments", "cloudroute-controller", namespace)["spec"]["template"]["spec"][
        "containers"
    ]
    assert "--route-limit=auto" in container["args"]
    definition = cluster.get("customresourcedefinitions", "noderoutes.cloudroute.io")
    assert definition["spec"]["names"]["shortNames"] == ["nr"]
    eventually(lambda: serves_node_routes(cluster), "NodeRoutes are served again")

    does("uninstall", RELEASE)
    assert not names(cluster, "deployments", namespace) | names(cluster, "daemonsets", namespace)
    assert "noderoutes.cloudroute.io" not in names(cluster, "validatingadmissionpolicies")
    assert not {name for name in names(cluster, "clusterroles") if name.startswith("cloudroute")}
    assert names(cluster, "customresourcedefinitions") >= CRDS
    assert namespace in names(cluster, "noderoutes")
    cluster.delete("noderoutes", namespace)
    forget(cluster, namespace)


def test_a_namespace_that_is_made_with_it(cluster: RealKubeApi, helm: Run, kubeconfig: Path, namespace: str) -> None:
    """It has the labels by which agents are admitted, and outlives the release."""
    words = ("--create-namespace", "--take-ownership", "--set", "namespace.create=true", *VALUES)
    answer = helm("install", RELEASE, str(CHART), "--namespace", namespace, *words, kubeconfig=kubeconfig)
    assert answer.returncode == 0, answer.stderr
    labels = cluster.get("namespaces", namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"
    answer = helm("uninstall", RELEASE, "--namespace", namespace, kubeconfig=kubeconfig)
    assert answer.returncode == 0, answer.stderr
    assert namespace in names(cluster, "namespaces")
    forget(cluster, namespace)


def test_the_plain_manifests_are_taken(cluster: RealKubeApi, kubectl: str, kubeconfig: Path) -> None:
    """kubectl applies them, twice, and the second time changes nothing; the policy's expressions are typed right."""

    def does(*words: str) -> str:
        command = [kubectl, "--kubeconfig", str(kubeconfig), *words, "-f", str(DEPLOY / "cloudroute.yaml")]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def generations() -> list[int]:
        return [item["metadata"].get("generation", 0) for item in json.loads(does("get", "-o", "json"))["items"]]

    does("apply")
    before = generations()
    does("apply")
    assert generations() == before

    def checked() -> bool:
        policy = cluster.get("validatingadmissionpolicies", "noderoutes.cloudroute.io")
        return "typeChecking" in policy.get("status", {})

    eventually(checked, "the controller manager has checked the policy")
    policy = cluster.get("validatingadmissionpolicies", "noderoutes.cloudroute.io")
    assert policy["status"]["typeChecking"] == {}
    does("delete")


def test_manifests_that_were_applied_become_a_release(
    cluster: RealKubeApi, helm: Run, kubectl: str, kubeconfig: Path
) -> None:
    """Helm takes over what kubectl has applied: everything is the same object, and pods stay; later upgrades work."""
    command = [kubectl, "--kubeconfig", str(kubeconfig)]
    file = ("-f", str(DEPLOY / "cloudroute.yaml"))
    subprocess.run([*command, "apply", *file], capture_output=True, check=True)

    def uids() -> dict[str, str]:
        answer = subprocess.run([*command, "get", *file, "-o", "json"], capture_output=True, check=True)
        items = json.loads(answer.stdout)["items"]
        return {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["uid"] for item in items}

    def pods() -> set[str]:
        return {pod["metadata"]["uid"] for pod in cluster.list("pods", RELEASE)}

    eventually(lambda: len(pods()) == 2, "the controller's pods are there")
    objects, before = uids(), pods()
    words = ("--namespace", RELEASE, "--values", str(CHART / "plain.yaml"))
    refused = helm("install", RELEASE, str(CHART), *words, kubeconfig=kubeconfig)
    assert "invalid ownership metadata" in refused.stderr
    answer = helm("install", RELEASE, str(CHART), *words, *TAKE_OVER, kubeconfig=kubeconfig)
    assert answer.returncode == 0, answer.stderr
    assert (uids(), pods()) == (objects, before)

    more = ("--set", "controller.settings.route-limit=auto")
    answer = helm("upgrade", RELEASE, str(CHART), *words, *more, kubeconfig=kubeconfig)
    assert answer.returncode == 0, answer.stderr
    assert uids() == objects
    (container,) = cluster.get("deployments", "cloudroute-controller", RELEASE)["spec"]["template"]["spec"][
        "containers"
    ]
    assert "--route-limit=auto" in container["args"]
    eventually(lambda: pods() != before, "the controller's pods are being replaced")
    subprocess.run([*command, "delete", *file], capture_output=True, check=True)

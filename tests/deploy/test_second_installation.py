"""A second installation in one cluster is refused, and the first one keeps all that it has."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cloudroute.lab.kube.real import RealKubeApi
from tests.deploy.conftest import CHART, DEPLOY, VALUES, Run

FIRST, SECOND = "cloudroute", "another"
NOW = DEPLOY / "cloudroute.yaml"


class Kubectl:
    """kubectl as the administrator."""

    def __init__(self, program: str, kubeconfig: Path) -> None:
        self._command = [program, "--kubeconfig", str(kubeconfig)]

    def does(self, *words: str) -> str:
        """Return the output; the command must succeed."""
        return subprocess.run([*self._command, *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def kubectl_(cluster: RealKubeApi, kubectl: str, tmp_path: Path) -> Iterator[Kubectl]:
    """kubectl of a cluster that is left empty."""
    ctl = Kubectl(kubectl, cluster.kubeconfig(tmp_path / "admin"))
    yield ctl
    ctl.does("delete", "--ignore-not-found", "-f", str(NOW))
    ctl.does("delete", "--ignore-not-found", "namespace", SECOND)


def whole_clusters(ctl: Kubectl) -> dict[str, object]:
    """Objects that belong to the whole cluster, by name."""
    kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,crds"
    found = yaml.safe_load(ctl.does("get", kinds, "-o", "yaml", "-l", "app.kubernetes.io/name=cloudroute"))["items"]
    return {
        f"{one['kind']}/{one['metadata']['name']}": [one.get(part) for part in ("spec", "rules", "roleRef", "subjects")]
        for one in found
    }


def test_helm_refuses_a_second_release(cluster: RealKubeApi, helm: Run, kubectl_: Kubectl, tmp_path: Path) -> None:
    """Under another name, and in another namespace: it says what is in the way and whose it is; nothing has changed."""

    def install(release: str, namespace: str) -> str:
        words = (release, str(CHART), "--namespace", namespace, "--create-namespace", *VALUES)
        return helm("install", *words, kubeconfig=tmp_path / "admin").stderr

    assert "Error" not in install(FIRST, FIRST)
    before = whole_clusters(kubectl_)
    for release, namespace in (("second", FIRST), (FIRST, SECOND)):
        words = install(release, namespace)
        assert "exists and cannot be imported into the current release: invalid ownership metadata" in words
        key = "release-name" if namespace == FIRST else "release-namespace"
        assert f'annotation validation error: key "meta.helm.sh/{key}" must equal' in words, words
        assert f'current value is "{FIRST}"' in words
    assert whole_clusters(kubectl_) == before
    assert not kubectl_.does("get", "deployments,daemonsets", "--namespace", SECOND, "-o", "name")
    assert helm("uninstall", FIRST, "--namespace", FIRST, kubeconfig=tmp_path / "admin").returncode == 0

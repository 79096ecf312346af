"""Shared by tests of the deployment: Helm, a real cluster's API with its control plane, and the image."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudroute.lab.kube.real import CONTROL_PLANE, RealKubeApi, find_assets
from tests.releases import built, image_of, shared_folder
from tests.required import lacking

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "chart"
VALUES = ("--set", "settings.cluster-cidr={10.244.0.0/16}")
"""The values without which the chart does not render."""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Helm, if this machine has it."""
    return find_helm(tmp_path_factory.mktemp("helm"))


def find_helm(home: Path) -> Run:
    """Helm as a function of its words; `kubeconfig` names a cluster. Nothing of the user's own is read or written."""
    assets = find_assets(["helm"])
    found = str(assets / "helm") if assets else shutil.which("helm")
    if found is None:
        lacking("helm")

    def run(*words: str, kubeconfig: Path | str = os.devnull) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HELM_DATA_HOME": str(home), "HELM_CACHE_HOME": str(home)}
        environment |= {"HELM_CONFIG_HOME": str(home), "KUBECONFIG": str(kubeconfig)}
        return subprocess.run([found, *words], env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def cluster() -> Iterator[RealKubeApi]:
    """A real API server that admits privileged pods, with a controller manager; nothing of ours is in it yet."""
    if find_assets(CONTROL_PLANE) is None:
        lacking("apiserver")
    server = RealKubeApi(control_plane=True)
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the image."""
    return image_of(built(shared_folder(tmp_path_factory)))


def named(documents: list[Any], kind: str, name: str) -> Any:
    """The one document of that kind and name."""
    (found,) = (one for one in documents if one["kind"] == kind and one["metadata"]["name"] == name)
    return found

"""One cluster for the folder: every kind of path, a gateway, and agents that stay frozen: nothing restarts them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import helm, image, phases, say, terraform
from tests.cluster.fleet import Fleet, Size
from tests.cluster.phases import Phases
from tests.cluster.release import SPACE, Release
from tests.cluster.stage import bring_up, new_fleet
from tests.deploy.conftest import Run
from tests.packets.world import OWN_ENTRIES
from tests.terraform.kit import Terraform
from tests.waiting import eventually

__all__ = ["helm", "image", "phases", "say", "terraform"]

SIZE = Size("verify", zones=2, nodes_per_zone=3)
GATEWAY_LABEL = "role=gateway"
SETTINGS: dict[str, object] = {
    "route-limit": OWN_ENTRIES + 3,  # the aggregate, and two nodes
    "gateway-nodes": GATEWAY_LABEL,
}


@pytest.fixture(scope="package")
def fleet(terraform: Terraform, image: Path, phases: Phases) -> Iterator[Fleet]:
    """Six nodes that wait for their network; the first is to be a gateway."""
    with new_fleet(SIZE, terraform, image, phases) as fleet:
        key, _, value = GATEWAY_LABEL.partition("=")
        fleet.kube.patch("nodes", min(fleet.hosts), {"metadata": {"labels": {key: value}}})
        yield fleet


@pytest.fixture(scope="package")
def release(fleet: Fleet, helm: Run, kubectl: str, phases: Phases, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The chart is installed, and every node is ready."""
    release = Release(fleet, helm, kubectl, tmp_path_factory.mktemp("user"), SETTINGS)
    bring_up(fleet, release, phases)
    path = "/spec/template/spec/containers/0/livenessProbe"
    patch = json.dumps([{"op": "remove", "path": path}])
    release.kubectl("patch", "daemonset", "cloudroute-agent", "--namespace", SPACE, "--type=json", f"--patch={patch}")
    eventually(release.rolled, "the agents have no liveness probe", 120, fleet.diagnosis)
    eventually(release.settled, "all is in place", 60, fleet.diagnosis)
    return release

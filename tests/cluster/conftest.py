"""One cluster for the module: nothing less shows that it all works together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloudroute.lab.hosts.kubelet import missing
from cloudroute.lab.hosts.teardown import tear_down
from cloudroute.lab.hosts.workload import daemonset
from cloudroute.lab.kube.real import CONTROL_PLANE, find_assets
from tests.cluster.fleet import NAME, Fleet
from tests.cluster.phases import Phases
from tests.cluster.release import Release
from tests.deploy.conftest import Run, helm, image
from tests.required import lacking
from tests.terraform.conftest import terraform
from tests.terraform.kit import Terraform

__all__ = ["helm", "image", "terraform"]


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """A line on the terminal, whatever is captured: who waits minutes wants to see where it is."""
    plugins = request.config.pluginmanager
    capture, reporter = plugins.getplugin("capturemanager"), plugins.getplugin("terminalreporter")

    def write(line: str) -> None:
        if reporter is None:
            return  # one of several workers: it has no terminal
        with capture.global_and_fixture_disabled():
            reporter.write_line(line)

    return write


@pytest.fixture(scope="module")
def phases(say: Callable[[str], None], terraform: Terraform, image: Path) -> Phases:
    """They begin when all that they need has been built."""
    say("\nA cold start, by the second:")
    return Phases(say)


@pytest.fixture(scope="module")
def fleet(terraform: Terraform, image: Path, phases: Phases) -> Iterator[Fleet]:
    """Nodes that wait for their network."""
    if problems := missing():
        lacking("kubelet", *problems)
    if find_assets([*CONTROL_PLANE, "kube-proxy"]) is None:
        lacking("kubelet")
    if find_assets(["coredns"]) is None:
        lacking("coredns")
    tear_down(NAME)  # what a killed run has left
    with Fleet(terraform, [image], phases) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def release(fleet: Fleet, helm: Run, kubectl: str, phases: Phases, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The chart is installed, every node is ready, and a workload has a pod on each."""
    release = Release(fleet, helm, kubectl, tmp_path_factory.mktemp("user"))
    release.prepare()
    assert not fleet.all_ready()
    release.install()
    phases.done("Helm has installed the chart")

    milestones = {
        "a controller leads": lambda: bool(release.leader()),
        "every node has a NodeRoute": lambda: len(fleet.node_routes()) == len(fleet.hosts),
        "every agent says that all is in place": release.settled,
        "every node is Ready": fleet.all_ready,
        "all pods of the chart are ready": release.rolled,
    }
    phases.wait_all(milestones, 240, fleet.diagnosis)
    fleet.install_dns()
    fleet.kube.create(daemonset("web"))
    phases.wait("a pod of the workload runs on every node", lambda: fleet.adopt("web"), 60, fleet.diagnosis)
    return release

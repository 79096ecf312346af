"""One cluster for the folder: nothing less shows that it all works together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests import lanes
from tests.cluster.fleet import Fleet, Size
from tests.cluster.phases import Phases
from tests.cluster.release import Release
from tests.cluster.stage import bring_up, new_fleet
from tests.deploy.conftest import Run, helm
from tests.releases import image_meanwhile, shared_folder
from tests.terraform.conftest import terraform
from tests.terraform.kit import Terraform

__all__ = ["helm", "terraform"]

SIZE = Size("fleet", zones=2, nodes_per_zone=3)


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


@pytest.fixture(scope="package", autouse=True)
def _first() -> Iterator[None]:
    """This lane is the longest, so its worker does not step back meanwhile, where it may say so."""
    back = lanes.NICE if "PYTEST_XDIST_WORKER" in os.environ else 0
    try:
        os.nice(-back)
    except PermissionError:
        back = 0
    yield
    os.nice(back)


@pytest.fixture(scope="package")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Path]]:
    """The archive of the image, built while Terraform waits for AWS."""
    with image_meanwhile(shared_folder(tmp_path_factory)) as image:
        yield image


@pytest.fixture(scope="package")
def phases(say: Callable[[str], None], terraform: Terraform) -> Phases:
    """They begin when Terraform is there."""
    say("\nA cold start, by the second:")
    return Phases(say)


@pytest.fixture(scope="package")
def fleet(terraform: Terraform, image: Future[Path], phases: Phases) -> Iterator[Fleet]:
    """Nodes that wait for their network."""
    with new_fleet(SIZE, terraform, image, phases) as fleet:
        yield fleet


@pytest.fixture(scope="package")
def release(fleet: Fleet, helm: Run, kubectl: str, phases: Phases, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The chart is installed, every node is ready, and a workload has a pod on each."""
    release = Release(fleet, helm, kubectl, tmp_path_factory.mktemp("user"))
    bring_up(fleet, release, phases)
    return release

"""One cluster for the module: nothing less shows that it all works together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.fleet import Fleet, Size
from tests.cluster.phases import Phases
from tests.cluster.release import Release
from tests.cluster.stage import bring_up, new_fleet
from tests.deploy.conftest import Run, helm, image
from tests.terraform.conftest import terraform
from tests.terraform.kit import Terraform

__all__ = ["helm", "image", "terraform"]

SIZE = Size("fleet", zones=2, nodes_per_zone=2)


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


@pytest.fixture(scope="package")
def phases(say: Callable[[str], None], terraform: Terraform, image: Path) -> Phases:
    """They begin when all that they need has been built."""
    say("\nA cold start, by the second:")
    return Phases(say)


@pytest.fixture(scope="module")
def fleet(terraform: Terraform, image: Path, phases: Phases) -> Iterator[Fleet]:
    """Nodes that wait for their network."""
    with new_fleet(SIZE, terraform, image, phases) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def release(fleet: Fleet, helm: Run, kubectl: str, phases: Phases, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The chart is installed, every node is ready, and a workload has a pod on each."""
    release = Release(fleet, helm, kubectl, tmp_path_factory.mktemp("user"))
    bring_up(fleet, release, phases)
    return release

"""The release under test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import releases
from tests.deploy.conftest import helm

__all__ = ["helm"]


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository that it is built from; not to be changed."""
    return releases.sources(releases.shared_folder(tmp_path_factory))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its files."""
    return releases.built(releases.shared_folder(tmp_path_factory))


@pytest.fixture
def clone(sources: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a clone of that repository, in a folder of that name."""

    def make(name: str) -> Path:
        releases.git(sources, "clone", "--quiet", str(sources), str(tmp_path / name))
        return tmp_path / name

    return make

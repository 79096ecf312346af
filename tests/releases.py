"""A release of the working tree, built once for all tests that use it, whichever worker runs them."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.required import lacking

ROOT = Path(__file__).parents[1]
DAY = "2026-01-31"
"""Day of the release."""
LEFT_OUT = (".git", ".venv", "dist", ".terraform", "*_cache", "__pycache__", ".hypothesis")
"""Parts of the working tree that are not copied: its history, and large folders that git ignores."""


def git(folder: Path, *words: str) -> str:
    """Output of git in that folder, without the user's settings."""
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "safe.directory=*")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", *who, "-C", str(folder), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def commit(folder: Path) -> None:
    """Commit everything in the folder."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All")


def release(sources: Path, out: Path, *options: str, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    """Run the program that `make release` runs."""
    command = [sys.executable, str(sources / "deploy" / "release" / "build.py"), *options, str(out)]
    return subprocess.run(command, cwd=sources, umask=umask, capture_output=True, text=True, check=False)


def sources(shared: Path) -> Path:
    """A repository with the working tree in one commit, whose changelog releases this version. Not to be changed."""
    if shutil.which("git") is None:
        lacking("git")
    return _once(shared, "cloudroute", _copy)


def built(shared: Path) -> Path:
    """The folder with all files of that release."""
    _demand()
    repository = sources(shared)

    def build(out: Path) -> None:
        done = release(repository, out, "--final")
        assert done.returncode == 0, done.stderr

    return _once(shared, "release", build)


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a run share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def image_of(release: Path) -> Path:
    """The archive of a release's image."""
    (found,) = release.glob("*-image.tar")
    return found


@contextmanager
def image_meanwhile(shared: Path) -> Iterator[Future[Path]]:
    """The archive of the image, built beside what the caller does. The test ends where it can't be built."""
    _demand()
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(lambda: image_of(built(shared)))


def _once(shared: Path, name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name: the first one who asks makes it, and others wait for that."""
    folder = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            partial = shared / f"{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            make(partial)
            partial.rename(folder)
    return folder


def _copy(folder: Path) -> None:
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    changelog = folder / "CHANGELOG.md"
    (version,) = re.findall(r'__version__ = "(.+)"', (folder / "cloudroute" / "__init__.py").read_text())
    heads = rf"## \[Unreleased\]\n(\n## \[{re.escape(version)}\] - .*\n)?"
    text, count = re.subn(heads, f"## [Unreleased]\n\n## [{version}] - {DAY}\n", changelog.read_text(), count=1)
    assert count == 1
    changelog.write_text(text)
    git(folder, "init", "--quiet")
    commit(folder)


def _demand() -> None:
    """End the test where deploy/image/build.sh can't run."""
    command = [str(ROOT / "deploy" / "image" / "build.sh"), "--check"]
    environment = {**os.environ, "PYTHON": sys.executable}
    checked = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if checked.stderr:
        lacking("buildah", "; ".join(checked.stderr.splitlines()))

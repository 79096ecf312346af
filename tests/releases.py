"""A release of the working tree, built once for all tests that use it, whichever worker runs them."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
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


def sources(factory: pytest.TempPathFactory) -> Path:
    """A repository with the working tree in one commit, whose changelog releases this version. Not to be changed."""
    if shutil.which("git") is None:
        lacking("git")
    return _once(factory, "cloudroute", _copy)


def built(factory: pytest.TempPathFactory) -> Path:
    """The folder with all files of that release."""
    if problem := _cannot_build():
        lacking("buildah", problem)
    repository = sources(factory)

    def build(out: Path) -> None:
        done = release(repository, out, "--final")
        assert done.returncode == 0, done.stderr

    return _once(factory, "release", build)


def _once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name, which all workers of a run share: the first one makes it, and others wait for that."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
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


def _cannot_build() -> str:
    """Reason why deploy/image/build.sh can't run here; "" if it can."""
    command = [str(ROOT / "deploy" / "image" / "build.sh"), "--check"]
    environment = {**os.environ, "PYTHON": sys.executable}
    checked = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    return "; ".join(checked.stderr.splitlines())

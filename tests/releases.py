"""A release of the working tree, built once a session for all tests that use it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.required import lacking

ROOT = Path(__file__).parents[1]
DAY = "2026-01-31"
"""Day of the release."""
LEFT_OUT = (".git", ".venv", "dist", ".terraform", "*_cache", "__pycache__", ".hypothesis")
"""Parts of the working tree that are not copied: its history, and large folders that git ignores."""
_SOURCES, _BUILT = pytest.StashKey[Path](), pytest.StashKey[Path]()


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


def sources(config: pytest.Config, factory: pytest.TempPathFactory) -> Path:
    """A repository with the working tree in one commit, whose changelog releases this version. Not to be changed."""
    if _SOURCES not in config.stash:
        if shutil.which("git") is None:
            lacking("git")
        config.stash[_SOURCES] = _copy(factory.mktemp("sources") / "cloudroute")
    return config.stash[_SOURCES]


def built(config: pytest.Config, factory: pytest.TempPathFactory) -> Path:
    """The folder with all files of that release."""
    if _BUILT not in config.stash:
        if problem := _cannot_build():
            lacking("buildah", problem)
        out = factory.mktemp("release")
        done = release(sources(config, factory), out, "--final")
        assert done.returncode == 0, done.stderr
        config.stash[_BUILT] = out
    return config.stash[_BUILT]


def _copy(folder: Path) -> Path:
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    changelog = folder / "CHANGELOG.md"
    (version,) = re.findall(r'__version__ = "(.+)"', (folder / "cloudroute" / "__init__.py").read_text())
    heads = rf"## \[Unreleased\]\n(\n## \[{re.escape(version)}\] - .*\n)?"
    text, count = re.subn(heads, f"## [Unreleased]\n\n## [{version}] - {DAY}\n", changelog.read_text(), count=1)
    assert count == 1
    changelog.write_text(text)
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def _cannot_build() -> str:
    """Reason why deploy/image/build.sh can't run here; "" if it can."""
    command = [str(ROOT / "deploy" / "image" / "build.sh"), "--check"]
    environment = {**os.environ, "PYTHON": sys.executable}
    checked = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    return "; ".join(checked.stderr.splitlines())

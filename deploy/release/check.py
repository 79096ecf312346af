"""Finds the reasons why a tree can't be released, all at once.

The version stands in cloudroute/__init__.py; files that repeat it must agree.
"""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

VERSION = "cloudroute/__init__.py"
CHANGELOG = "CHANGELOG.md"
REPEATED = {
    "deploy/chart/Chart.yaml": ({"version": r"^version: (\S+)$", "appVersion": r"^appVersion: (\S+)$"}, "change it"),
    "deploy/cloudroute.yaml": (
        {"label": r'app\.kubernetes\.io/version: "(.+)"', "image": r"image: cloudroute:(\S+)"},
        "run: make manifests",
    ),
}
"""Path, the pattern of each version there, and the remedy."""


def version(root: Path) -> str:
    """The version of this tree."""
    (found,) = re.findall(r'^__version__ = "(.+)"$', (root / VERSION).read_text(), re.MULTILINE)
    return str(found)


def released_at(root: Path) -> int | None:
    """When the changelog releases this version: the first second (UTC) of that day. None if it does not.

    The day is part of the sources, as the commit's time is not: what is built from the sdist is the same.
    """
    section = rf"^## \[Unreleased\]\s+## \[{re.escape(version(root))}\] - (\d{{4}}-\d\d-\d\d)$"
    found = re.search(section, (root / CHANGELOG).read_text(), re.MULTILINE)
    return int(datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()) if found else None


def disagreements(root: Path) -> list[str]:
    """Each place that says another version than cloudroute/__init__.py, or none."""
    true = version(root)
    said = []
    for path, (patterns, remedy) in REPEATED.items():
        text = (root / path).read_text()
        for what, pattern in patterns.items():
            found = sorted(set(re.findall(pattern, text, re.MULTILINE)))
            if found != [true]:
                said.append(f"{path}: {what} is {', '.join(found) or 'missing'}, but {VERSION} says {true}: {remedy}")
    return said


def unfinished(root: Path) -> list[str]:
    """Reasons that forbid a release and not a snapshot: no release's version, no changelog, uncommitted files."""
    true = version(root)
    said = []
    if not re.fullmatch(r"\d+\.\d+\.\d+", true):
        said.append(f"{VERSION}: {true} is no release: Python and Helm both understand X.Y.Z alone")
    if released_at(root) is None:
        said.append(f'{CHANGELOG}: no section "## [{true}] - YYYY-MM-DD" right below an empty "## [Unreleased]"')
    if changed := git(root, "status", "--porcelain").splitlines():
        said.append(f"not committed: {', '.join(line[3:] for line in changed)}")
    return said


def git(root: Path, *words: str) -> str:
    """Return the output of git. Raises CalledProcessError where the tree is no clone."""
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603

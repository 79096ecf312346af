"""The dependencies of cloudroute: pinned, hashed, declared, under compatible licences.

Known vulnerabilities are not looked for here, since that needs a service on the network: docs/threat-model.md says how.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "deploy/image/requirements.lock", "deploy/image/build.lock")
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9][0-9a-z.]*)(?: ; (?P<marker>.+))?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
LICENCES = {
    "Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "PSF-2.0", "MPL-2.0",
    # as classifiers name them
    "Apache Software License", "MIT License", "BSD License", "Python Software Foundation License",
    "Mozilla Public License 2.0 (MPL 2.0)",
}  # fmt: skip
"""Licences whose terms the distributed image meets by the licence files in it. No GPL, and none without a name."""


class Pin(NamedTuple):
    """A line of a lock file."""

    version: str
    marker: str
    hashes: frozenset[str]


def read(lock: str) -> dict[str, Pin]:
    """The pins of a lock file by name. Fails where a line is anything else, such as a URL or an index."""
    pins = {}
    for entry in (ROOT / lock).read_text().replace("\\\n", " ").splitlines():
        head, *hashes = re.split(r"\s+(?=--)", entry.strip())
        found = PIN.fullmatch(head)
        assert found, f"{lock}: {head}"
        assert hashes, f"{lock}: {head} has no hash"
        assert all(HASH.fullmatch(one) for one in hashes), entry
        pins[found["name"]] = Pin(found["version"], found["marker"] or "", frozenset(hashes))
    return pins


def needed(requirements: Iterable[str]) -> dict[str, Distribution]:
    """Transitive dependencies of these distributions on this machine, by name."""
    found: dict[str, Distribution] = {}
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        if name in found and not requirement.extras:
            continue
        found[name] = distribution(name)
        for one in ("", *requirement.extras):
            waiting += [(Requirement(text), one) for text in found[name].requires or ()]
    return found


RUNTIME = needed(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])


@pytest.mark.parametrize("lock", LOCKS)
def test_each_line_is_a_version_with_hashes(lock: str) -> None:
    """Each line pins a version with hashes, so that no other file can be installed."""
    assert read(lock)


def test_the_image_is_built_from_the_very_files_that_were_tested() -> None:
    """The image's locks are parts of the lock that the tests run with."""
    tested = read(LOCKS[0])
    for lock in LOCKS[1:]:
        assert read(lock).items() <= tested.items()


def test_the_image_has_what_is_declared_and_what_that_needs_and_no_more() -> None:
    """The image has the declared dependencies and theirs, and none of the lab or of development."""
    locked = {name for name, pin in read(LOCKS[1]).items() if here(pin)}
    assert locked == RUNTIME.keys()


def here(pin: Pin) -> bool:
    return not pin.marker or bool(Requirement(f"x ; {pin.marker}").marker.evaluate())  # type: ignore[union-attr]


def test_installed_versions_are_the_locked_ones() -> None:
    """The installed versions are the locked ones, so that the tests apply to the image."""
    locked = read(LOCKS[0])
    assert {name: found.version for name, found in RUNTIME.items()} == {name: locked[name].version for name in RUNTIME}


@pytest.mark.parametrize("name", sorted(RUNTIME))
def test_the_licence_is_one_of_those_that_are_known(name: str) -> None:
    """Each distribution declares a known licence."""
    about = RUNTIME[name].metadata
    expression, classifiers, text = (
        about.get_all(field) or [] for field in ("License-Expression", "Classifier", "License")
    )
    named = [one.rsplit(" :: ", 1)[-1] for one in classifiers if one.startswith("License ::")]
    said = [*expression, *named, *text]
    assert said, "it names none"
    assert set(re.split(r" (?:AND|OR) ", said[0])) <= LICENCES

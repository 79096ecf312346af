"""The map in CONTRIBUTING.md names the folders that exist."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT

DATA = frozenset({"tests/tools"})
"""Scripts, no tests."""


def test_the_map_names_each_folder_and_no_other() -> None:
    """The map names each folder with code in cloudroute, and each part of the tests."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `((?:cloudroute|tests)[a-z0-9_/]*)` \|", text, re.MULTILINE))
    code = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "cloudroute").rglob("*.py")}
    parts = {f"tests/{path.name}" for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name[0] != "_"}
    assert named == code | (parts - DATA)


def test_files_that_it_names_are_there() -> None:
    """Files named in CONTRIBUTING.md exist."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_/]+\.(?:py|md))`", text))
    places = (ROOT, ROOT / "cloudroute", ROOT / "cloudroute/core/explain/doctor")
    assert len(named) > 10
    assert [name for name in sorted(named) if not any((place / name).exists() for place in places)] == []

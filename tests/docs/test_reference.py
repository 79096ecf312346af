"""docs/reference equals the output of the generator."""

from __future__ import annotations

import re

import pytest

from cloudroute.core.explain.doctor.examine import CHECKS
from tests.docs import reference
from tests.docs.pages import ROOT
from tests.docs.reference import FOLDER, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_as_made_from_the_code(name: str) -> None:
    """The page equals the generated one."""
    path = FOLDER / f"{name}.md"
    same = path.exists() and path.read_text() == PAGES[name]()
    assert same, f"{path.name} is out of date: run python -m tests.docs.reference"


def test_no_page_is_left() -> None:
    """The folder holds generated pages only."""
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.md" for name in PAGES}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("flags", "| `--route-reserve N` | Entries of each table and family to leave free"),
        ("flags", "## cloudroute lab break"),
        ("metrics", "| `cloudroute_routes` | gauge | `table`, `family`, `state` |"),
        ("metrics", "| `cloudroute_agent_changes_total` | counter | `kind`, `cause` |"),
        ("crd", "| `spec.subnets[].cidrs` | list of strings |"),
        ("crd", "| LIMIT-V6 | `.status.ipv6.limit` | With `-o wide`."),
        ("chart", "| `controller.settings.route-limit` | `auto` or integer 1 to 1000 |"),
        (
            "chart",
            "| `settings.log-level` | `debug` or `info` or `warning` or `error` |  | The least that is logged. |",
        ),
    ],
)
def test_holds_what_a_reader_looks_up(name: str, words: str) -> None:
    """Flags, series, fields and values are listed with their descriptions."""
    assert words in reference.PAGES[name]()


@pytest.mark.parametrize("name", ["README.md", "docs/start.md"])
def test_the_number_of_doctors_checks_is_that_of_the_code(name: str) -> None:
    said = re.findall(r"(\d+) checks", (ROOT / name).read_text(encoding="utf-8"))
    assert said == [str(len(CHECKS))]

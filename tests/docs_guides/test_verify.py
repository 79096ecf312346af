"""docs/verify.md names the checks and the flags of the code."""

from __future__ import annotations

import ast
import re

from cloudroute.config import settings_of
from cloudroute.verify.options import VerifyOptions
from tests.docs.pages import ROOT
from tests.docs_guides import pages

FOLDERS = ("core/verify", "verify")


def first_words(heading: str) -> set[str]:
    """First word of each row of a section's tables, where it is code."""
    text = pages.section(pages.read("verify"), heading)
    return set(re.findall(r"^\| `([-a-z]+)[ `]", text, re.MULTILINE))


def test_each_check_of_the_page_exists() -> None:
    """No check has another name in the code than in its row."""
    files = [path for folder in FOLDERS for path in (ROOT / "cloudroute" / folder).glob("*.py")]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text()))]
    checks = first_words("Checks")
    assert len(checks) == 24
    assert checks - {node.value for node in nodes if isinstance(node, ast.Constant)} == set()


def test_each_flag_is_explained() -> None:
    """The table has all flags that are verify's own."""
    assert {setting.flag for setting in settings_of(VerifyOptions)} <= first_words("Flags")

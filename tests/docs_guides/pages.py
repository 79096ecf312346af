"""The guides, parsed into sections, tables, and names of tests."""

from __future__ import annotations

import ast
import re

from tests.docs.pages import ROOT

GUIDES = ("eks", "self-managed", "operations", "security", "comparison")
_TEST = re.compile(r"tests/[\w/]+\.py::\w+")


def read(guide: str) -> str:
    """A page of docs/."""
    return (ROOT / "docs" / f"{guide}.md").read_text()


def section(page: str, heading: str) -> str:
    """Text below a heading of the second level, up to the next one. Raises KeyError."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    if not found:
        raise KeyError(heading)
    return found[1]


def headings(text: str, level: int) -> list[str]:
    """The headings of a level, in order."""
    return re.findall(rf"^#{{{level}}} (.+)$", text, re.MULTILINE)


def table(text: str) -> list[tuple[str, ...]]:
    """The rows of a text's first table, without its head and without the backquotes."""
    lines = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)[0].splitlines()
    return [tuple(cell.strip().replace("`", "") for cell in line.strip("|").split(" | ")) for line in lines[2:]]


def tests_that_are_not_there(text: str) -> list[str]:
    """Tests that a text names (tests/a/test_b.py::test_c) and that do not exist."""
    return [name for name in dict.fromkeys(_TEST.findall(text)) if not _exists(*name.split("::"))]


def _exists(path: str, test: str) -> bool:
    file = ROOT / path
    if not file.is_file():
        return False
    return any(isinstance(node, ast.FunctionDef) and node.name == test for node in ast.parse(file.read_text()).body)

"""Texts of the program, read from its source: reasons (one word, of Events, conditions and status) and sentences."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from cloudroute.ports import EC2_WRITES
from tests.docs.pages import ROOT

SAYERS = ("Notice", "notify", "say", "Condition", "Report", "Obstacle", "NodeUnusable")
"""Functions that take a reason among their arguments."""
_REASON = re.compile(r"[A-Z][A-Za-z]+")
_NO_REASONS = ("Node", "RouteTable", "True", "False")
GAP = "\0"
"""Placeholder for a value within a sentence."""


@cache
def reasons() -> frozenset[str]:
    """Every reason of an Event, a condition or a NodeRoute's status."""
    return frozenset(reason for tree in _trees() for reason in reasons_in(tree))


@cache
def sentences() -> tuple[str, ...]:
    """Every text in the source, each value in it as GAP."""
    return tuple(text for tree in _trees() for text in texts_in(tree))


def reasons_in(tree: ast.AST) -> Iterator[str]:
    """Reasons in a file.

    >>> list(reasons_in(ast.parse('Notice("Node", name, "", "OtherVPC", words); print("Nothing")')))
    ['OtherVPC']
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or _name(node.func) not in SAYERS:
            continue
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            if isinstance(argument, ast.JoinedStr) and _text(argument) == f"{GAP}Refused":
                yield from (f"{action}Refused" for action in EC2_WRITES)
            elif isinstance(argument, ast.Constant) and _is_reason(_text(argument)):
                yield _text(argument)


def texts_in(tree: ast.AST) -> Iterator[str]:
    """Strings and f-strings.

    >>> list(texts_in(ast.parse('f"a {b} c" + "d"')))
    ['a \\x00 c', 'd']
    """
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) not in inside and isinstance(node, ast.JoinedStr | ast.Constant) and (text := _text(node)):
            yield text


def _is_reason(text: str) -> bool:
    return text not in _NO_REASONS and _REASON.fullmatch(text) is not None


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or GAP for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _trees() -> Iterator[ast.AST]:
    for path in sorted((ROOT / "cloudroute").rglob("*.py")):
        if not _is_lab(path):
            yield ast.parse(path.read_text())


def _is_lab(path: Path) -> bool:
    return (ROOT / "cloudroute" / "lab") in path.parents

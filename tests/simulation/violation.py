"""A violated invariant."""

from __future__ import annotations


class Violation(AssertionError):
    """An invariant is violated."""


def require(true: object, invariant: int, words: str) -> None:
    """Raise Violation unless the condition `true` holds."""
    if not true:
        raise Violation(f"invariant {invariant}: {words}")

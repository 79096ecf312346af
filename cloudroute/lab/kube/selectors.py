"""Label and field selectors, parsed into predicates."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from cloudroute.lab.kube.status import Object, bad_request
from cloudroute.selector import Selector

Predicate = Callable[[Object], bool]

_FLAGS = frozenset({"hostNetwork", "unschedulable"})
"""Boolean fields that are false when absent."""


def labels(selector: str) -> Predicate:
    """Parse a label selector. Raises StatusError 400 for an invalid one.

    >>> labels("zone in (a, b),!old")({"metadata": {"labels": {"zone": "b"}}})
    True
    """
    try:
        parsed = Selector.parse(selector)
    except ValueError as error:
        raise bad_request(f"unable to parse requirement: {selector!r}: {error}") from None
    return lambda item: parsed.matches(item["metadata"].get("labels") or {})


def fields(selector: str, supported: Collection[str]) -> Predicate:
    """Parse a field selector: `path=value`, `path==value`, `path!=value`, joined by commas. A missing field is "".

    Raises StatusError 400 for a field that is not in `supported`.

    >>> fields("spec.nodeName=a", {"spec.nodeName"})({"spec": {"nodeName": "b"}})
    False
    """
    terms: list[tuple[list[str], bool, str]] = []
    for part in filter(None, selector.split(",")):
        match = re.fullmatch(r"([\w.]+)\s*(==?|!=)\s*(.*)", part.strip())
        if match is None:
            raise bad_request(f"invalid field selector: {part!r}")
        path, operator, value = match.groups()
        if path not in supported:
            raise bad_request(f"field label not supported: {path}")
        terms.append((path.split("."), operator != "!=", value))
    return lambda item: all((field_text(item, path) == value) == wanted for path, wanted, value in terms)


def field_text(item: Any, path: list[str]) -> str:
    """Return the text that a field selector compares. A list has none: `status.podIPs` is valid, but never matches."""
    for name in path:
        item = item.get(name) if isinstance(item, dict) else None
    if path[-1] in _FLAGS:
        return str(bool(item)).lower()
    return "" if item is None or isinstance(item, list) else str(item)

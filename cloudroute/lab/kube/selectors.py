"""Label and field selectors, parsed into predicates."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from cloudroute.lab.kube.status import Object, bad_request

Predicate = Callable[[Object], bool]

_FLAGS = frozenset({"hostNetwork", "unschedulable"})
"""Fields that are false when they are absent."""
_TERM = re.compile(
    r"\s*(?:"
    r"(?P<not>!)?\s*(?P<exists>[\w./-]+)\s*"
    r"|(?P<key>[\w./-]+)\s*(?P<operator>==?|!=)\s*(?P<value>[\w.-]*)\s*"
    r"|(?P<set_key>[\w./-]+)\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\)\s*"
    r")(?:,|$)"
)


def labels(selector: str) -> Predicate:
    """Parse a label selector: `a=b`, `a==b`, `a!=b`, `a`, `!a`, `a in (b,c)`, `a notin (b,c)`, joined by commas.

    >>> labels("zone in (a, b),!old")({"metadata": {"labels": {"zone": "b"}}})
    True
    """
    terms: list[Callable[[Mapping[str, str]], bool]] = []
    position = 0
    while position < len(selector):
        match = _TERM.match(selector, position)
        if match is None:
            raise bad_request(f"unable to parse requirement: {selector[position:]!r}")
        terms.append(_label_term(match.groupdict()))
        position = match.end()

    def matches(item: Object) -> bool:
        present = item["metadata"].get("labels") or {}
        return all(term(present) for term in terms)

    return matches


def _label_term(part: Mapping[str, Any]) -> Callable[[Mapping[str, str]], bool]:
    if part["exists"]:
        return lambda present: (part["exists"] in present) != bool(part["not"])
    if part["key"]:
        return lambda present: (present.get(part["key"]) == part["value"]) != (part["operator"] == "!=")
    values = {value.strip() for value in part["values"].split(",")}
    return lambda present: (present.get(part["set_key"]) in values) == (part["set"] == "in")


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
    """The text a field selector compares. A list has none: `status.podIPs` may be asked for and finds nothing."""
    for name in path:
        item = item.get(name) if isinstance(item, dict) else None
    if path[-1] in _FLAGS:
        return str(bool(item)).lower()
    return "" if item is None or isinstance(item, list) else str(item)

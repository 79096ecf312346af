"""Label selectors of Kubernetes, parsed once and matched often.

The grammar is that of `kubectl --selector`: requirements joined by commas, all of which must hold. Source:
staging/src/k8s.io/apimachinery/pkg/labels/selector.go. Its comparisons of numbers (`key > 1`) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

EXPECTED = (
    "expected a label selector: key=value, key!=value, key in (a,b), key notin (a,b), key or !key, joined by commas"
)

_SPACE = r"[ \t\r\n]*"
_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_DOMAIN = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"
_KEY = rf"(?:(?=[^/]{{1,253}}/){_DOMAIN}/)?{_NAME}"
_REQUIREMENT = re.compile(
    rf"{_SPACE}(?:"
    rf"(?P<negated>!)?{_SPACE}(?P<key>{_KEY})"
    rf"|(?P<equal_key>{_KEY}){_SPACE}(?P<equal>==?|!=){_SPACE}(?P<value>(?:{_NAME})?)"
    rf"|(?P<set_key>{_KEY})[ \t\r\n]+(?P<set>in|notin){_SPACE}\((?P<values>[^()]*)\)"
    rf"){_SPACE}(?P<more>,|\Z)"
)


class Requirement(NamedTuple):
    """One condition on a key. `values` None stands for any value; `negated` inverts the result."""

    key: str
    values: frozenset[str] | None
    negated: bool

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels fulfil it. A missing key has no value: `a!=b` and `a notin (b)` hold then."""
        found = self.key in labels and (self.values is None or labels[self.key] in self.values)
        return found != self.negated


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector; without requirements it selects everything. `text` is its source, as given."""

    requirements: tuple[Requirement, ...] = ()
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Read a selector. Raises ValueError, whose text says what was expected.

        >>> Selector.parse("zone in (a, b),!old").matches({"zone": "b"})
        True
        """
        requirements: list[Requirement] = []
        position, more = 0, text.strip(" \t\r\n")
        while more:
            match = _REQUIREMENT.match(text, position)
            if match is None:
                raise ValueError(EXPECTED)
            requirements.append(_requirement(match))
            position, more = match.end(), match["more"]
        return cls(tuple(requirements), text)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(requirement.holds(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return self.text


EVERY = Selector()
NOBODY = Selector((Requirement("", frozenset(), negated=False),))


def _requirement(match: re.Match[str]) -> Requirement:
    if match["key"]:
        return Requirement(match["key"], None, bool(match["negated"]))
    if match["equal_key"]:
        return Requirement(match["equal_key"], frozenset((match["value"],)), match["equal"] == "!=")
    values = [value.strip(" \t\r\n") for value in match["values"].split(",")]
    if not all(re.fullmatch(f"(?:{_NAME})?", value) for value in values):
        raise ValueError(EXPECTED)
    return Requirement(match["set_key"], frozenset(values), match["set"] == "notin")

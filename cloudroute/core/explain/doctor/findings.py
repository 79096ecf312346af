"""The words of a finding, and how a check that lacks a fact ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

F = TypeVar("F")
T = TypeVar("T")

State = Literal["ok", "warning", "failed", "not checked"]
Group = Literal["Kubernetes", "AWS", "VPC", "Node"]
GROUPS: tuple[Group, ...] = ("Kubernetes", "AWS", "VPC", "Node")

_LISTED = 5


@dataclass(frozen=True, slots=True)
class Unknown:
    """A fact that could not be read, or that nobody needed: `why`, in words."""

    why: str


class Lacking(Exception):
    """A check needs a fact that is Unknown."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def known(fact: T | Unknown) -> T:
    """The fact. Raises Lacking, which ends the check as not checked, when it is Unknown."""
    if isinstance(fact, Unknown):
        raise Lacking(fact.why)
    return fact


class Outcome(NamedTuple):
    """End of a check; `todo` is the advice unless all is well."""

    state: State
    found: str
    todo: str = ""


def ok(found: str) -> Outcome:
    """All is well."""
    return Outcome("ok", found)


def warning(found: str, todo: str) -> Outcome:
    """It works, but worse than it could, or not for long."""
    return Outcome("warning", found, todo)


def failed(found: str, todo: str) -> Outcome:
    """It can't work so."""
    return Outcome("failed", found, todo)


class Check(NamedTuple, Generic[F]):
    """A question. `why` says why its answer matters, whatever it is."""

    group: Group
    name: str
    why: str
    look: Callable[[F], Outcome]

    def answer(self, facts: F) -> Finding:
        """Look, and say what was found."""
        try:
            outcome = self.look(facts)
        except Lacking as lacking:
            outcome = Outcome("not checked", lacking.why)
        return Finding(self.group, self.name, outcome.state, outcome.found, self.why, outcome.todo)


class Finding(NamedTuple):
    """One line of the answer. `found` of one that is not checked is the reason."""

    group: Group
    check: str
    state: State
    found: str
    why: str
    todo: str


def listed(words: Iterable[str]) -> str:
    """Some of many, for a sentence.

    >>> listed(["a", "b"]), listed(map(str, range(7)))
    ('a, b', '0, 1, 2, 3, 4 and 2 more')
    """
    every = list(words)
    more = f" and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    return ", ".join(every[:_LISTED]) + more


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "node"), counted(2, "node"), counted(0, "node")
    ('1 node', '2 nodes', '0 nodes')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"

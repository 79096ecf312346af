"""Types of checks and findings. A check that lacks a fact ends as not checked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
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
    """A fact that could not be read or was not needed. `why`: the reason, in words."""

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
    """Result of a check; `todo` is the remedy, "" if the state is ok."""

    state: State
    found: str
    todo: str = ""


def ok(found: str) -> Outcome:
    """Outcome without a problem."""
    return Outcome("ok", found)


def warning(found: str, todo: str) -> Outcome:
    """Outcome for a problem that degrades the network now, or will break it."""
    return Outcome("warning", found, todo)


def failed(found: str, todo: str) -> Outcome:
    """Outcome for a problem with which the network can't work."""
    return Outcome("failed", found, todo)


def graded(
    broken: tuple[str, Collection[str]],
    degraded: tuple[str, Collection[str]] = ("", ()),
    *,
    fine: str,
    todo: str,
) -> Outcome:
    """Outcome by the worst problem found: failed, else a warning, else ok with `fine`.

    `broken` and `degraded` each begin a sentence and give the places that end it; without places there is no problem.
    """
    for make, (words, places) in ((failed, broken), (warning, degraded)):
        if places:
            return make(f"{words} {listed(places)}", todo)
    return ok(fine)


class Check(NamedTuple, Generic[F]):
    """A check. `why`: the reason why its result matters, whatever it is."""

    group: Group
    name: str
    why: str
    look: Callable[[F], Outcome]

    def answer(self, facts: F) -> Finding:
        """Run the check and return its finding."""
        try:
            outcome = self.look(facts)
        except Lacking as lacking:
            outcome = Outcome("not checked", lacking.why)
        return Finding(self.group, self.name, outcome.state, outcome.found, self.why, outcome.todo)


class Finding(NamedTuple):
    """Result of one check, for the report. `found` of a check that is not checked is the reason."""

    group: Group
    check: str
    state: State
    found: str
    why: str
    todo: str


def listed(words: Iterable[str]) -> str:
    """The first few words and the number of the rest, for a sentence.

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

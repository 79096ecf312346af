"""What a command is, to the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cloudroute.config import Loaded

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a command: `invocation[ControllerSettings]` and its words (SRC DST)."""

    settings: Loaded
    words: tuple[str, ...] = ()

    def __getitem__(self, kind: type[T]) -> T:
        return self.settings[kind]


@dataclass(frozen=True, slots=True)
class Command:
    """`run` returns the exit code and raises CloudrouteError, whose text is for people."""

    name: str
    summary: str
    text: str
    """One paragraph: what happens."""
    example: str
    """A shell line, or several, that works as it stands."""
    run: Callable[[Invocation], int]
    kinds: tuple[type, ...] = ()
    """The settings classes whose fields are its flags."""
    words: tuple[str, ...] = ()
    """What must follow the flags, in this order. One in brackets may be left out; one that ends in dots is the rest."""
    required: tuple[str, ...] = ()
    """Fields that must not stay empty."""

    @property
    def takes_line(self) -> bool:
        """Whether what follows `--` is a command line of its own."""
        return self.words[-1:] != () and self.words[-1].endswith("...")

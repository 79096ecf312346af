"""The description of a command, from which the command line is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cloudroute.config import Loaded

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a command: its settings, by class (`invocation[ControllerSettings]`), and its words (SRC DST)."""

    settings: Loaded
    words: tuple[str, ...] = ()

    def __getitem__(self, kind: type[T]) -> T:
        return self.settings[kind]


@dataclass(frozen=True, slots=True)
class Command:
    """`run` returns the exit code, or raises CloudrouteError with a text for people."""

    name: str
    summary: str
    text: str
    """One paragraph on the effects of the command."""
    example: str
    """One or more shell lines that work as they are."""
    run: Callable[[Invocation], int]
    kinds: tuple[type, ...] = ()
    """The settings classes whose fields are its flags."""
    words: tuple[str, ...] = ()
    """Positional arguments, in order. Brackets mark an optional one; one that ends in dots takes all the rest."""
    required: tuple[str, ...] = ()
    """Fields that must not be empty."""

    @property
    def takes_line(self) -> bool:
        """Whether the arguments after `--` are a command line of their own."""
        return self.words[-1:] != () and self.words[-1].endswith("...")

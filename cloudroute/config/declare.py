"""Declaration of a field of a settings class: its default, its parser and its documentation, in one place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from cloudroute.config.values import Reader

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """All facts about one field."""

    field: str
    reader: Reader[object]
    group: str
    meaning: str
    why: str
    unit: str
    default: object
    repeatable: bool
    bare: str | None
    """The value that the flag has without one; None when it needs a value."""
    short: str

    @property
    def key(self) -> str:
        """Its name in a file: route-limit."""
        return self.field.replace("_", "-")

    @property
    def flag(self) -> str:
        """Its name on the command line: --route-limit."""
        return "--" + self.key

    @property
    def variable(self) -> str:
        """Its name in the environment: CLOUDROUTE_ROUTE_LIMIT."""
        return "CLOUDROUTE_" + self.field.upper()

    @property
    def shown_default(self) -> str:
        """The default as it would be written on the command line; "" where there is none."""
        values = self.default if self.repeatable and isinstance(self.default, tuple) else (self.default,)
        return ",".join(map(self.reader.show, values))


def setting(
    reader: Reader[Any],
    group: str,
    meaning: str,
    *,
    default: T,
    why: str = "",
    unit: str = "",
    repeatable: bool = False,
    bare: str | None = None,
    short: str = "",
) -> T:
    """Declare a field of a settings class: its default, its parser and its text in `--help`."""
    about = {name: value for name, value in locals().items() if name != "default"}
    return field(default=default, metadata=about)


def settings_of(kind: type) -> Iterator[Setting]:
    """Yield the settings that a class declares, in order."""
    for declared in fields(kind):
        yield Setting(field=declared.name, default=declared.default, **declared.metadata)


class Settings:
    """Base of settings that are read from flags, environment and file. Other classes are read from flags alone."""

    __slots__ = ()

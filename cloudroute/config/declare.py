"""How a settings class declares a field: its value, and all that is ever said of it, in one place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from cloudroute.config.values import Reader

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """All that is to say of one field."""

    field: str
    reader: Reader[object]
    group: str
    meaning: str
    why: str
    unit: str
    default: object
    repeatable: bool
    bare: str | None
    """What the flag means without a value; None when it needs one."""
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
    default: T,
    reader: Reader[Any],
    group: str,
    meaning: str,
    *,
    why: str = "",
    unit: str = "",
    repeatable: bool = False,
    bare: str | None = None,
    short: str = "",
) -> T:
    """Declare a field of a settings class: its default, how it is read and what `--help` says of it."""
    about = {name: value for name, value in locals().items() if name != "default"}
    return field(default=default, metadata=about)


def settings_of(kind: type) -> Iterator[Setting]:
    """The settings that a class declares, in order."""
    for declared in fields(kind):
        yield Setting(field=declared.name, default=declared.default, **declared.metadata)


class Settings:
    """Read from flags, environment and file. A class that is not derived from it is read from flags alone."""

    __slots__ = ()

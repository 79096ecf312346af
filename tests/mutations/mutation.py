"""One entry of the table."""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """A mistake: `old` becomes `new` in `file`, a path from the root of the checkout. `old` stands there once."""

    harm: str
    """A sentence: the effect of the mistake on users."""
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    """Arguments of pytest: the tests at the lowest level that can catch it."""
    reason: str = ""
    """Reason why no test can catch it; "" for a mistake that must be caught."""

    @property
    def part(self) -> str:
        """Folder of the file below `cloudroute`, at most two levels ("core/cluster", "agent"); else the file."""
        _, *folders, name = self.file.split("/")
        return "/".join(folders[:2]) or name

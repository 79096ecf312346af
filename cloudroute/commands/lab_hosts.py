"""What the commands of a lab of hosts have in common: its name, who may, and what the daemon says of it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

from cloudroute.config import setting
from cloudroute.config.values import matching
from cloudroute.errors import CloudrouteError

DEFAULT_NAME = "lab"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabName:
    """A flag alone."""

    name: str = setting(
        DEFAULT_NAME,
        matching(r"[a-z][a-z0-9]{0,9}", "a name of up to 10 small letters and digits, a letter first", "NAME"),
        "Lab",
        "Which lab: several can be up at once.",
    )


class Place(NamedTuple):
    """A host, a pod or the internet: where packets begin and end."""

    words: str
    """As `lab status` shows it."""
    host: str
    """The node it is or is on; "" when no node."""
    namespace: str
    addresses: tuple[str, ...]


def demand_root() -> None:
    """Raise CloudrouteError where there can be no lab of hosts."""
    if sys.platform != "linux":
        raise CloudrouteError("the lab's hosts are network namespaces: this needs Linux")
    if os.geteuid() != 0:
        raise CloudrouteError("the lab's hosts are network namespaces: be root, or use sudo")


def places(status: dict[str, Any]) -> dict[str, Place]:
    """Every place of a lab by the names that it may be called by."""
    found: dict[str, Place] = {}
    for host in status["hosts"]:
        for what in (host, *host["pods"]):
            words = host["name"] if what is host else f"{host['name']}/{what['name']}"
            place = Place(words, host["name"], what["namespace"], tuple(what["addresses"]))
            found |= {words: place, what["namespace"]: place}
    for other in status["others"]:
        place = Place(other["name"], "", other["namespace"], tuple(other["addresses"]))
        found |= {other["name"]: place, other["namespace"]: place}
    return found


def locate(word: str, status: dict[str, Any]) -> Place:
    """The place that a word names. Raises CloudrouteError when there is none."""
    known = places(status)
    if word not in known:
        shown = ", ".join(dict.fromkeys(place.words for place in known.values()))
        raise CloudrouteError(f"{word}: there is no such host or pod in the lab; there are {shown}")
    return known[word]


def named(name: str) -> str:
    """The flag that a further command needs to mean the same lab."""
    return "" if name == DEFAULT_NAME else f" --name {name}"

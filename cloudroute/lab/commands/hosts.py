"""Shared by the commands of a lab of hosts: its name, the check for root, and the places in its status."""

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
    """Options that are flags only, without an environment variable or a key in the file."""

    name: str = setting(
        matching(r"[a-z][a-z0-9]{0,9}", "a name of up to 10 small letters and digits, a letter first", "NAME"),
        "Lab",
        "Which lab: several can be up at once.",
        default=DEFAULT_NAME,
    )


class Place(NamedTuple):
    """An end of a path: a host, a pod or the internet."""

    words: str
    """Name as in `lab status`."""
    host: str
    """The node itself, or the node of the pod; "" for the internet."""
    namespace: str
    addresses: tuple[str, ...]


def demand_root() -> None:
    """Raise CloudrouteError if this is not Linux, or the user is not root."""
    if sys.platform != "linux":
        raise CloudrouteError("the lab's hosts are network namespaces: this needs Linux")
    if os.geteuid() != 0:
        raise CloudrouteError("the lab's hosts are network namespaces: be root, or use sudo")


def places(status: dict[str, Any]) -> dict[str, Place]:
    """Return the places of a lab by each of their names: as in `lab status`, and the network namespace."""
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
    """Return the place of this name. Raises CloudrouteError when there is none."""
    known = places(status)
    if word not in known:
        shown = ", ".join(dict.fromkeys(place.words for place in known.values()))
        raise CloudrouteError(f"{word}: there is no such host or pod in the lab; there are {shown}")
    return known[word]


def named(name: str) -> str:
    """Return the flag by which a further command finds this lab; "" for the default name."""
    return "" if name == DEFAULT_NAME else f" --name {name}"

"""Tables and chains of all programs: read only."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from cloudroute.adapters.nft.command import Command
from cloudroute.errors import KernelError


class Chain(NamedTuple):
    """A chain. `type` ("filter", "nat" or "route"), `hook` and `policy` are "" for one that is no base chain."""

    family: str
    table: str
    name: str
    type: str
    hook: str
    policy: str


def list_tables(command: Command) -> list[tuple[str, str]]:
    """Family and name of each table. Raises KernelError."""
    return [(table["family"], table["name"]) for table in _listed(command, "tables", "table")]


def list_chains(command: Command) -> list[Chain]:
    """All chains, without their rules. Raises KernelError."""
    return [
        Chain(*(chain.get(key, "") for key in ("family", "table", "name", "type", "hook", "policy")))
        for chain in _listed(command, "chains", "chain")
    ]


def _listed(command: Command, what: str, kind: str) -> list[dict[str, Any]]:
    try:
        return [entry[kind] for entry in json.loads(command.all(what))["nftables"] if kind in entry]
    except (ValueError, LookupError, TypeError):
        raise KernelError(f"nft's list of all {what} is malformed") from None

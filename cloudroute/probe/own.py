"""The network of this pod, as its kernel and resolv.conf have it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloudroute.probe import resolv

_NET, _DEVICES = Path("/proc/net"), Path("/sys/class/net")
_GLOBAL = 0
"""Scope of an address in /proc/net/if_inet6."""


def describe() -> dict[str, Any]:
    """Read all.

    Returns `addresses` without loopback and link-local ones, `mtu` in bytes by device, `gateway` by family, and
    `nameservers`, `search` and `ndots` of resolv.conf.
    """
    return {
        "addresses": [*_addresses4(), *_addresses6()],
        "mtu": {path.name: int((path / "mtu").read_text()) for path in sorted(_DEVICES.iterdir()) if path.is_dir()},
        "gateway": dict([*_gateways4(), *_gateways6()]),
        **resolv.read()._asdict(),
    }


def _lines(name: str) -> list[str]:
    """Lines of a table; none where this kernel is without the family."""
    path = _NET / name
    return path.read_text().splitlines() if path.exists() else []


def _addresses4() -> list[str]:
    """Leaves of the FIB that are local: "|-- 10.1.2.3", and below it "/32 host LOCAL"."""
    local, leaf = set(), ""
    for line in _lines("fib_trie"):
        match line.split():
            case ["|--", leaf]:
                pass
            case ["/32", "host", "LOCAL"] if not leaf.startswith(("127.", "169.254.")):
                local.add(leaf)
    return sorted(local)


def _addresses6() -> Iterator[str]:
    for line in _lines("if_inet6"):
        address, _, _, scope, _, device = line.split()
        if int(scope, 16) == _GLOBAL and device != "lo":
            yield socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address))


def _gateways4() -> Iterator[tuple[str, str]]:
    for line in _lines("route")[1:]:
        _, destination, gateway, _, _, _, _, mask, *_ = line.split()
        if destination == mask == "00000000":
            yield "ipv4", socket.inet_ntop(socket.AF_INET, bytes.fromhex(gateway)[::-1])


def _gateways6() -> Iterator[tuple[str, str]]:
    for line in _lines("ipv6_route"):
        destination, length, _, _, gateway, _, _, _, _, device = line.split()
        if int(destination, 16) == int(length, 16) == 0 and device != "lo":
            yield "ipv6", socket.inet_ntop(socket.AF_INET6, bytes.fromhex(gateway))

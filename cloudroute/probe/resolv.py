"""/etc/resolv.conf, as the C library reads it (resolv.conf(5))."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FILE = Path("/etc/resolv.conf")


class Resolv(NamedTuple):
    """Servers and search list, in their order; `ndots` is the number of dots from which a name is first taken as it
    is."""

    nameservers: list[str]
    search: list[str]
    ndots: int

    def candidates(self, name: str) -> list[str]:
        """Absolute names to try for a name, in order, without their final dot.

        >>> Resolv([], ["ns.svc.cluster.local", "svc.cluster.local"], ndots=5).candidates("web.ns")
        ['web.ns.ns.svc.cluster.local', 'web.ns.svc.cluster.local', 'web.ns']
        >>> Resolv([], ["svc.cluster.local"], ndots=1).candidates("example.com")
        ['example.com', 'example.com.svc.cluster.local']
        >>> Resolv([], ["svc.cluster.local"], ndots=5).candidates("example.com.")
        ['example.com']
        """
        if name.endswith("."):
            return [name[:-1]]
        searched = [f"{name}.{domain.rstrip('.')}" for domain in self.search]
        return [name, *searched] if name.count(".") >= self.ndots else [*searched, name]


def read() -> Resolv:
    """Read the file. Raises OSError."""
    servers: list[str] = []
    search: list[str] = []
    ndots = 1
    for line in FILE.read_text(encoding="utf-8", errors="replace").splitlines():
        match line.split():
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *domains]:
                search = domains
            case ["options", *options]:
                for option in options:
                    key, _, value = option.partition(":")
                    ndots = int(value) if key == "ndots" and value.isdigit() else ndots
    return Resolv(servers, search, ndots)

"""A host whose peers are reached in all three ways, and what its agent keeps in the kernel for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.packets.solo import Solo, node_route, solo

SECONDS = 5.0
"""Within which all that was taken away must be back, on a busy machine too: elsewhere it takes less than one. The
agent's next full look would mend it after 300."""
_MINE, _OTHER = "rtb-00000001", "rtb-00000002"
_SHOWN = (
    ("route", "show", "proto", "88"),
    ("neigh", "show", "dev", "cr0", "nud", "permanent"),
    ("-o", "address", "show", "dev", "cr0", "scope", "global"),
)


@contextmanager
def with_peers(folder: Path, families: int = 2) -> Iterator[Solo]:
    """The host of n1: n2 is reached natively, n3 directly, n4 by the overlay. `families`: 1 is IPv4 alone."""
    cidrs = [node_route(number)["spec"]["podCIDRs"][:families] for number in range(5)]
    with solo(folder, subnetID="subnet-1", nativeIn=[_OTHER], podCIDRs=cidrs[1]) as host:
        host.kube.create(node_route(2, podCIDRs=cidrs[2], nativeIn=[_MINE]))
        host.kube.create(node_route(3, podCIDRs=cidrs[3], subnetID="subnet-1"))
        host.kube.create(node_route(4, podCIDRs=cidrs[4]))
        yield host


def kept(host: Solo) -> list[str]:
    """Return the entries that the agent keeps in the kernel's tables, as `ip` and `bridge` print them."""
    run = host.namespace.run
    shown = [run("ip", family, *words) for family in ("-4", "-6") for words in _SHOWN]
    shown += [run("ip", "nexthop", "show", "protocol", "88"), run("bridge", "fdb", "show", "dev", "cr0")]
    return sorted(line.strip() for text in shown for line in text.splitlines())


def ready(host: Solo) -> list[str]:
    """Wait until the agent is ready, and return the entries that it keeps."""
    host.wait(lambda: bool(host.status().get("ready")))
    done = kept(host)
    for way in ("via 10.0.0.254 dev eth0", "via 10.0.0.3 dev eth0", "via 100.64.4.0 dev cr0"):
        assert any("nhid" in line and way in line for line in done), done
    return done


def back(host: Solo, before: list[str]) -> None:
    """Wait until all is as before. Fails when that takes too long."""
    start = time.monotonic()
    while (now := kept(host)) != before:
        passed = time.monotonic() - start
        missing = sorted(set(before) - set(now))
        assert passed < SECONDS, f"not back after {passed:.2f} s: {missing}\n{host.log.read_text()[-3000:]}"

"""The `unreachable` route of a pool never drops packets to a peer, neither while routes are added nor while they go."""

from __future__ import annotations

import errno
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import cast

import pytest

from cloudroute.adapters.netlink.netlink import Netlink
from cloudroute.agent.sync import Sync
from cloudroute.dataplane import GUARD_METRIC, Route, RouteKey
from cloudroute.ports import Kernel
from tests.adapters.netlink.kit import ADDRESSES, Peers, key
from tests.hosts import Namespace

PEERS = Peers(2000)
GUARDS = {key("11.0.0.0/8", GUARD_METRIC): Route(0, b""), key("fd00::/16", GUARD_METRIC): Route(0, b"")}
ROUTES = {**GUARDS, **PEERS.routes}
"""The guards first: the worst order to be put in."""
PODS = ["11.0.0.9", "fd00::9", "11.7.207.9", "fd00:7cf::9"]
"""Of the first peer and of the last."""


@pytest.fixture
def known(host: Namespace, node: Netlink) -> Netlink:
    """A kernel with all that routes to peers need; without such a route, packets to a pod take the default route."""
    host.shell(
        "ip neigh add 10.0.1.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent;"
        "ip neigh add fe80::1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent"
    )
    assert node.addresses.write(ADDRESSES, ()) == {}
    assert node.neighbours.write(PEERS.neighbours, ()) == {}
    assert node.nexthops.write(PEERS.nexthops, ()) == {}
    return node


def run(netlink: Netlink, routes: dict[RouteKey, Route]) -> None:
    """Bring the kernel to these tables as an agent does."""
    sync = Sync(cast(Kernel, SimpleNamespace(tables={"routes": netlink.routes})))
    sync.want({"routes": routes})
    sync.run(["routes"])
    assert sync.failures(["routes"]) == []


@contextmanager
def sending(host: Namespace, address: str) -> Iterator[Counter[str]]:
    """Send datagrams as fast as one thread can; count them by result: "sent", or the kernel's error."""
    came: Counter[str] = Counter()
    ended, begun = threading.Event(), threading.Event()
    with host.inside(), socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as out:

        def send() -> None:
            while not ended.is_set():
                try:
                    out.sendto(b"", (address, 9))
                    came["sent"] += 1
                except OSError as error:
                    came[errno.errorcode[error.errno or 0]] += 1
                begun.set()

        thread = threading.Thread(target=send)
        thread.start()
        assert begun.wait(10)
        try:
            yield came
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize("address", PODS)
def test_pods_that_run_already_lose_nothing_while_all_routes_are_made(
    host: Namespace, known: Netlink, address: str
) -> None:
    """An agent starts on a node whose pods another network has connected."""
    with sending(host, address) as came:
        run(known, ROUTES)
    assert came.keys() == {"sent"}
    assert known.routes.read(()) == ROUTES


@pytest.mark.parametrize("address", PODS)
def test_pods_that_run_on_lose_nothing_while_all_routes_are_removed(
    host: Namespace, known: Netlink, address: str
) -> None:
    """`--cleanup` removes all entries, and another network takes over."""
    assert known.routes.write(ROUTES, ()) == {}
    with sending(host, address) as came:
        run(known, {})
    assert came.keys() == {"sent"}
    assert known.routes.read(()) == {}


@pytest.mark.parametrize("address", PODS)
def test_packets_to_nobody_are_refused(host: Namespace, known: Netlink, address: str) -> None:
    """The kernel's error is the one that the tests above look for."""
    assert known.routes.write(GUARDS, ()) == {}
    with sending(host, address) as came:
        pass
    assert came.keys() == {"EHOSTUNREACH"}

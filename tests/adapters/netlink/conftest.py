"""A host in a network namespace of its own, with a NIC, and the adapter on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudroute.adapters.netlink.netlink import Netlink
from tests.adapters.netlink.kit import LINKS
from tests.hosts import Namespace, require_netns


@pytest.fixture
def host() -> Iterator[Namespace]:
    require_netns()
    with Namespace("crnl-") as namespace:
        namespace.shell(
            "ip link add eth0 mtu 9001 type veth peer name far; ip link set far up; ip link set eth0 up;"
            "ip address add 10.0.1.10/24 dev eth0; ip address add fd01::10/64 dev eth0 nodad;"
            "ip route add default via 10.0.1.1; ip -6 route add default via fe80::1 dev eth0",
        )
        yield namespace


@pytest.fixture
def netlink(host: Namespace) -> Iterator[Netlink]:
    with host.inside():
        adapter = Netlink()
    try:
        yield adapter
    finally:
        adapter.close()


@pytest.fixture
def node(netlink: Netlink) -> Netlink:
    """The adapter on a host that has our two devices."""
    assert netlink.links.write(LINKS, ()) == {}
    return netlink

"""Changes by other programs are reported by kind; our own writes are not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cloudroute.adapters.netlink import listen
from cloudroute.adapters.netlink.channel import Channel, Failure
from cloudroute.adapters.netlink.netlink import Netlink
from cloudroute.dataplane import KINDS, AddressKey, Kind, packed
from cloudroute.ports import KindDriver
from tests.adapters.netlink.kit import (
    ADDRESSES,
    FDB,
    FDB6,
    LINKS,
    NATIVE,
    NEIGHBOURS,
    NEIGHBOURS6,
    NEXTHOPS,
    ON_NIC,
    ROUTES,
    ROUTES_BY_NIC,
    RULES,
    SECOND,
    TRANSIT_HOPS,
    TRANSIT_ROUTES,
    Peers,
)
from tests.hosts import Namespace
from tests.waiting import eventually


class Ear:
    """Records the kinds that the listener reports."""

    def __init__(self, host: Namespace, netlink: Netlink) -> None:
        self._host = host
        self._netlink = netlink
        self._lock = threading.Lock()
        self._heard: set[Kind] = set()
        netlink.listen(self.hear)

    def hear(self, kinds: Collection[Kind]) -> None:
        with self._lock:
            self._heard.update(kinds)

    @contextmanager
    def hears(self, *kinds: Kind) -> Iterator[None]:
        """Assert that exactly these kinds are reported inside; a route of another process marks the end."""
        self._mark()
        yield
        assert self._mark() - {"routes"} == set(kinds) - {"routes"}

    @contextmanager
    def hears_at_least(self, *kinds: Kind) -> Iterator[None]:
        """Assert that all these kinds are reported inside or soon after."""
        self._mark()
        yield
        assert self.heard(kinds), self._heard

    def heard(self, kinds: Collection[Kind]) -> bool:
        """Whether all these kinds were reported since the last mark, or are within a moment."""
        return eventually(lambda: set(kinds) <= self._heard, "the events come")

    def _mark(self) -> set[Kind]:
        """Return the kinds reported until now. Events come in order: once one more is reported, all before it were."""
        for verb in ("add", "delete"):
            with self._lock:
                heard = set(self._heard)
                self._heard.discard("routes")
            self._host.run("ip", "route", verb, "unreachable", "198.51.100.0/24", "proto", "88")
            eventually(lambda: "routes" in self._heard, "the marker's event comes")
            heard |= self._heard
        with self._lock:
            self._heard.clear()
        return heard


@pytest.fixture
def full(node: Netlink) -> Netlink:
    """An adapter whose tables have an entry of each kind, all read once, as an agent does."""
    assert node.addresses.write(ADDRESSES, ()) == {}
    assert node.fdb.write(FDB, ()) == {}
    assert node.neighbours.write(NEIGHBOURS, ()) == {}
    assert node.links.write(SECOND, ()) == {}
    assert node.fdb6.write(FDB6, ()) == {}
    assert node.neighbours6.write(NEIGHBOURS6, ()) == {}
    assert node.nexthops.write(NEXTHOPS | ON_NIC | TRANSIT_HOPS, ()) == {}
    assert node.routes.write(ROUTES | ROUTES_BY_NIC | TRANSIT_ROUTES, ()) == {}
    assert node.rules.write(RULES, ()) == {}
    contents(node)
    node.host("")
    return node


def contents(netlink: Netlink) -> dict[Kind, dict[Any, Any]]:
    """Return all tables as read."""
    tables: dict[Kind, KindDriver[Any, Any]] = {
        "links": netlink.links,
        "addresses": netlink.addresses,
        "fdb": netlink.fdb,
        "neighbours": netlink.neighbours,
        "fdb6": netlink.fdb6,
        "neighbours6": netlink.neighbours6,
        "nexthops": netlink.nexthops,
        "routes": netlink.routes,
        "rules": netlink.rules,
    }
    return {kind: table.read(()) for kind, table in tables.items()}


@pytest.fixture
def ear(host: Namespace, full: Netlink) -> Ear:
    return Ear(host, full)


NO_CARRIER = "lacks() { until ip link show $1 | grep -q NO-CARRIER; do :; done; }; lacks"
"""Wait: the kernel takes a change of carrier up in a work queue, and one that is over by then changes nothing
(net/core/link_watch.c)."""
DAMAGE: list[tuple[str, Kind]] = [
    ("ip route delete 10.244.7.0/24", "routes"),
    ("ip -6 route delete fd00:7::/80", "routes"),
    ("ip route replace 10.244.7.0/24 via 10.0.1.1", "routes"),
    ("ip -6 route replace unreachable fd00:7::/80", "routes"),
    ("ip route delete 10.244.7.0/24 table 88", "routes"),
    ("ip -6 route replace unreachable fd00:7::/80 table 88", "routes"),
    ("ip route delete unreachable 10.244.0.0/16 table 88", "routes"),
    ("ip rule delete priority 1087", "rules"),
    ("ip -6 rule delete priority 1088", "rules"),
    ("ip rule flush", "rules"),
    ("ip rule add iif eth0 to 10.244.0.0/16 lookup 88 priority 7 protocol 88", "rules"),
    ("ip nexthop delete id 41", "routes"),
    ("ip nexthop delete id 42", "nexthops"),
    ("ip nexthop replace id 41 via 10.0.1.1 dev eth0 onlink proto 88", "nexthops"),
    ("ip nexthop replace id 41 via 10.0.1.1 dev eth0 onlink", "nexthops"),
    ("ip nexthop add id 99 via 10.0.1.1 dev eth0 proto 88", "nexthops"),
    ("ip neigh delete 10.244.7.0 dev cr0", "neighbours"),
    ("ip neigh delete fe80::858:aff:fef4:700 dev cr0", "neighbours"),
    ("ip neigh replace 10.244.7.0 lladdr 02:00:00:00:00:01 dev cr0 nud permanent", "neighbours"),
    ("ip neigh replace 10.244.7.0 lladdr 02:00:00:00:00:01 dev cr0 nud stale", "neighbours"),
    ("ip neigh flush dev cr0 nud permanent", "neighbours"),
    ("bridge fdb delete 0a:58:0a:f4:07:00 dev cr0", "fdb"),
    ("bridge fdb replace 0a:58:0a:f4:07:00 dev cr0 dst 10.0.3.99 self permanent", "fdb"),
    ("bridge fdb add 0a:58:0a:f4:08:00 dev cr0 dst 10.0.3.99 self permanent", "fdb"),
    ("bridge fdb delete 0a:58:0a:f4:08:00 dev cr6", "fdb6"),
    ("ip neigh delete fe80::858:aff:fef4:800 dev cr6", "neighbours6"),
    ("ip link set cr6 down", "neighbours6"),
    ("ip link delete cr6", "fdb6"),
    ("ip address delete 10.244.1.0/32 dev cr0", "addresses"),
    ("ip address add 192.0.2.1/32 dev cr0", "addresses"),
    ("ip address delete fd00:1::/128 dev cr0", "addresses"),
    ("ip address add fd99::1/80 dev cr0", "addresses"),
    ("ip link set cr0 mtu 1400", "links"),
    ("ip link set cr0 address 02:00:00:00:00:01", "neighbours"),
    ("ip link set cr0 down", "nexthops"),
    ("ip link set cr0 down; ip link set cr0 up", "routes"),
    ("ip link set cr0 down; ip link set cr0 name other", "links"),
    ("ip link delete cr0; ip link add cr0 mtu 8951 address 0a:58:0a:f4:01:00 up "
     "type vxlan id 1 local 10.0.1.10 dev eth0 dstport 8472 nolearning", "fdb"),
    ("ip link set eth0 mtu 1500", "links"),
    ("ip link set eth0 down; ip link set eth0 up", "routes"),
    ("ip link delete eth0", "nexthops"),
    ("ip link set far down", "nexthops"),
    (f"ip link set far down; {NO_CARRIER} eth0; ip link set far up", "nexthops"),
    ("ip link set cr0 protodown on", "nexthops"),
    (f"ip link set cr0 protodown on; {NO_CARRIER} cr0; ip link set cr0 protodown off", "nexthops"),
    ("ip netns add away; ip link set eth0 netns away; ip netns delete away", "nexthops"),
    ("ip netns add away; ip link set cr0 netns away; ip -n away link set cr0 netns $$; ip link set cr0 up;"
     "ip netns delete away", "nexthops"),
    ("ip link set eth0 address 02:00:00:00:00:01", "links"),
    ("ip link set eth0 mtu 1000; ip link set eth0 mtu 9001", "links"),
    ("ip link set cr0 mtu 1000; ip link set cr0 mtu 8951", "addresses"),
    ("sysctl -qw net.ipv6.conf.cr0.disable_ipv6=1", "addresses"),
    ("sysctl -qw net.ipv6.conf.all.disable_ipv6=1", "addresses"),
    ("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1; sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0", "links"),
    ("ip link set lo down", "routes"),
    ("ip link set cr0 arp off", "neighbours"),
    ("ip nexthop flush", "nexthops"),
    ("sysctl -qw net.ipv4.nexthop_compat_mode=0; ip nexthop flush", "nexthops"),
    ("sysctl -qw net.ipv4.nexthop_compat_mode=0; ip link set far down", "nexthops"),
    ("ip nexthop replace id 43 blackhole", "nexthops"),
    ("bridge fdb flush dev cr0", "fdb"),
    ("ip address flush dev cr0", "addresses"),
    ("ip address delete 10.244.1.0/32 dev cr0; ip address add 10.244.1.0/32 dev cr0", "routes"),
    ("ip address delete 10.0.1.10/24 dev eth0", "links"),
    ("ip address add 10.0.1.11/24 dev eth0; sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1;"
     "ip address delete 10.0.1.10/24 dev eth0", "links"),
    ("ip address add 10.0.1.50/24 dev eth0", "links"),
    ("ip address delete fd01::10/64 dev eth0", "links"),
    ("ip route delete default", "links"),
    ("ip -6 route replace default via fe80::2 dev eth0", "links"),
    ("sysctl -qw net.ipv4.conf.cr0.rp_filter=1", "sysctls"),
    ("sysctl -qw net.ipv4.conf.eth0.rp_filter=1", "sysctls"),
    ("sysctl -qw net.ipv4.conf.all.forwarding=1", "sysctls"),
    ("sysctl -qw net.ipv6.conf.all.forwarding=1", "sysctls"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "kind"), DAMAGE)
def test_changes_by_others_are_told_by_kind(host: Namespace, full: Netlink, ear: Ear, script: str, kind: Kind) -> None:
    """Kinds that change along with it are reported, too, although the kernel sends no message about them."""
    before = contents(full)
    with ear.hears_at_least(kind):
        host.shell(script)
    now = contents(full)
    changed = [one for one in now if now[one] != before[one]]
    assert ear.heard(changed), changed


def test_an_address_that_others_remove_while_it_is_being_written_is_told(
    host: Namespace, full: Netlink, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = ("ip", "address", "delete", "fd00:1::/128", "dev", "cr0")
    host.run(*remove)
    full.addresses.read(())
    submit = Channel.submit

    def submit_in_vain(channel: Channel, keys: list[Any], pack: Callable[[int], list[bytes]]) -> dict[Any, Failure]:
        failures = submit(channel, keys, pack)
        if keys:
            host.run(*remove)
        return failures

    monkeypatch.setattr(Channel, "submit", submit_in_vain)
    with ear.hears_at_least("addresses"):
        full.addresses.write({AddressKey("cr0", packed("fd00:1::"), 128): None}, ())


def test_own_writes_are_not_told(full: Netlink, ear: Ear) -> None:
    with ear.hears():
        pairs: list[tuple[KindDriver[Any, Any], dict[Any, Any]]] = [
            (full.addresses, ADDRESSES),
            (full.fdb, FDB),
            (full.neighbours, NEIGHBOURS),
            (full.fdb6, FDB6),
            (full.neighbours6, NEIGHBOURS6),
            (full.nexthops, NEXTHOPS),
            (full.routes, ROUTES),
            (full.rules, RULES),
        ]
        assert full.nexthops.write(NATIVE, ()) == {}
        assert full.nexthops.write(NEXTHOPS, ()) == {}
        for table, entries in reversed(pairs):
            assert table.write({}, list(entries)) == {}
        for table, entries in pairs:
            assert table.write(entries, ()) == {}
        assert full.fdb.write(dict.fromkeys(FDB, packed("10.0.9.9")), ()) == {}
        assert full.links.write({"cr0": LINKS["cr0"]._replace(mtu=1400)}, ()) == {}


def test_own_writes_of_thousands_neither_count_nor_overflow(full: Netlink, ear: Ear) -> None:
    peers = Peers(5000)
    with ear.hears():
        assert full.fdb.write(peers.fdb, ()) == {}
        assert full.neighbours.write(peers.neighbours, ()) == {}
        assert full.nexthops.write(peers.nexthops, ()) == {}
        assert full.routes.write(peers.routes, ()) == {}


def test_changes_of_foreign_objects_are_not_told(host: Namespace, full: Netlink, ear: Ear) -> None:
    with ear.hears():
        host.shell(
            "ip link add br7 type bridge; ip link set br7 up;"
            "ip link add pod type veth peer name inner; ip link set pod master br7; ip link set pod up;"
            "ip link set inner up; ip address add 192.0.2.7/24 dev inner; ip route add 192.0.3.0/24 via 192.0.2.1;"
            "ip neigh add 10.0.1.7 lladdr 02:00:00:00:00:07 dev eth0 nud permanent; ip neigh flush dev eth0;"
            "ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev inner; ip nexthop add id 7 via 10.0.1.1 dev eth0;"
            "ip nexthop delete id 7; ip route add 10.244.9.0/24 via 10.0.1.1;"
            "ip rule add iif eth0 to 10.244.0.0/16 lookup 88 priority 9; ip rule delete priority 9;"
            "bridge fdb add 02:00:00:00:00:07 dev pod master static; ip link delete pod"
        )
    assert full.routes.read(()) == ROUTES | ROUTES_BY_NIC | TRANSIT_ROUTES
    assert full.rules.read(()) == RULES


def test_a_device_made_anew_by_us_is_looked_out_for(host: Namespace, full: Netlink, ear: Ear) -> None:
    assert full.links.write({}, ["cr0"]) == {}
    assert full.links.write(LINKS, ()) == {}
    assert full.fdb.write(FDB, ()) == {}
    with ear.hears_at_least("fdb", "neighbours"):
        host.shell(
            "bridge fdb delete 0a:58:0a:f4:07:00 dev cr0;"
            "ip neigh add 10.244.7.0 lladdr 02:00:00:00:00:01 dev cr0 nud permanent"
        )


def test_lost_events_name_all_kinds(host: Namespace, netlink: Netlink, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: set[Kind] = set()
    listening, go_on = threading.Event(), threading.Event()

    def hear(kinds: Collection[Kind]) -> None:
        heard.update(kinds)
        listening.set()
        assert go_on.wait(30)

    netlink.listen(hear)
    host.run("ip", "route", "add", "unreachable", "198.51.100.0/24", "proto", "88")
    assert listening.wait(10)
    with host.inside():
        other = Netlink()
    host.shell("ip link add x0 type veth peer name x1; ip link set x0 up; ip link set x1 up")
    churn = Churn(other)
    for _ in range(2):
        churn()
    go_on.set()
    eventually(lambda: heard == set(KINDS), "an event of each kind comes")
    other.close()


class Churn:
    """Writes more nexthops of another process than a socket's buffer has room for events."""

    def __init__(self, other: Netlink) -> None:
        self._other = other
        self._nexthops = dict.fromkeys(range(1, 15_000), NATIVE[41])

    def __call__(self) -> None:
        assert self._other.nexthops.write(self._nexthops, ()) == {}


def test_the_thread_ends_when_told_and_is_missed_when_it_ends_otherwise(
    host: Namespace, netlink: Netlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert netlink.dead() == ""
    hooked: list[object] = []
    monkeypatch.setattr(threading, "excepthook", hooked.append)

    def fail(_: Collection[Kind]) -> None:
        raise RuntimeError("on purpose")

    broken: Callable[[Collection[Kind]], None] = fail
    netlink.listen(broken)
    assert netlink.dead() == ""
    host.run("ip", "route", "add", "unreachable", "198.51.100.0/24", "proto", "88")
    eventually(lambda: netlink.dead() == "netlink-events", "the listener's end is known")
    assert len(hooked) == 1
    netlink.close()
    assert not [thread for thread in threading.enumerate() if thread.name == listen.NAME]

"""Each kind: an entry that was put is read back, and one that was dropped is gone, in both families."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloudroute.adapters.netlink.netlink import Netlink
from cloudroute.dataplane import AddressKey, Nexthop, Route, RouteKey, packed
from cloudroute.errors import KernelError
from cloudroute.ports import KindDriver
from tests.adapters.netlink.kit import (
    ADDRESSES,
    FDB,
    FDB6,
    LINKS,
    MAC,
    MAC6,
    NATIVE,
    NEIGHBOURS,
    NEIGHBOURS6,
    NEXTHOPS,
    ROUTES,
    SECOND,
    V4,
    V6,
    Peers,
)
from tests.hosts import Namespace


def tables(netlink: Netlink) -> list[tuple[KindDriver[Any, Any], dict[Any, Any]]]:
    """Return the tables in the order of writing, each with the entries to put."""
    return [
        (netlink.links, {**LINKS, **SECOND}),
        (netlink.addresses, ADDRESSES),
        (netlink.fdb, FDB),
        (netlink.neighbours, NEIGHBOURS),
        (netlink.fdb6, FDB6),
        (netlink.neighbours6, NEIGHBOURS6),
        (netlink.nexthops, NEXTHOPS),
        (netlink.routes, ROUTES),
    ]


def fill(netlink: Netlink) -> None:
    for table, entries in tables(netlink):
        assert table.write(entries, ()) == {}


def test_entries_are_read_by_another_process_too(host: Namespace, netlink: Netlink) -> None:
    fill(netlink)
    with host.inside():
        other = Netlink()
    assert [table.read(()) for table, _ in tables(other)] == [entries for _, entries in tables(other)]
    other.close()


def test_a_second_write_of_the_same_changes_nothing(netlink: Netlink) -> None:
    fill(netlink)
    fill(netlink)
    assert [table.read(()) for table, _ in tables(netlink)] == [entries for _, entries in tables(netlink)]


def test_a_dropped_entry_is_gone_and_dropping_it_again_is_no_failure(host: Namespace, netlink: Netlink) -> None:
    fill(netlink)
    with host.inside():
        late = Netlink()
    for adapter in (netlink, late):
        for table, entries in reversed(tables(adapter)):
            assert table.write({}, list(entries)) == {}
            assert table.read(()) == {}
    late.close()
    assert {link["ifname"] for link in json.loads(host.run("ip", "-j", "link"))} == {"lo", "eth0", "far"}


def test_the_kernel_holds_what_people_would_type(host: Namespace, netlink: Netlink) -> None:
    fill(netlink)
    routes = host.run("ip", "route") + host.run("ip", "-6", "route")
    assert "10.244.7.0/24 nhid 41 via 10.244.7.0 dev cr0 proto 88 src 10.244.1.0 onlink" in routes
    assert "fd00:7::/80 nhid 42 via fe80::858:aff:fef4:700 dev cr0 proto 88 src fd00:1:: metric 1024 onlink" in routes
    assert "unreachable 10.244.0.0/16 proto 88 metric 4294967280" in routes
    assert "0a:58:0a:f4:07:00 dst 10.0.3.4 self permanent" in host.run("bridge", "fdb", "show", "dev", "cr0")
    addresses = host.run("ip", "address", "show", "dev", "cr0")
    assert "fd00:1::/128 scope global nodad" in addresses
    assert "tentative" not in addresses
    assert "noprefixroute" not in addresses


def test_entries_made_by_hand_with_the_right_values_are_adopted(host: Namespace, netlink: Netlink) -> None:
    host.shell(
        "ip link add cr0 mtu 8951 address 0a:58:0a:f4:01:00"
        " type vxlan id 1 local 10.0.1.10 dev eth0 dstport 8472 nolearning;"
        "ip link set cr0 addrgenmode none; ip link set cr0 up;"
        "ip link add cr6 mtu 8931 address 0a:58:0a:f4:01:00"
        " type vxlan id 1 local fd01::10 dev eth0 dstport 8472 nolearning;"
        "ip link set cr6 addrgenmode none; ip link set cr6 up;"
        "bridge fdb add 0a:58:0a:f4:08:00 dev cr6 dst fd01:3::4 self permanent;"
        "ip neigh add 10.244.8.0 lladdr 0a:58:0a:f4:08:00 dev cr6 nud permanent;"
        "ip neigh add fe80::858:aff:fef4:800 lladdr 0a:58:0a:f4:08:00 dev cr6 nud permanent;"
        "ip address add 10.244.1.0/32 dev cr0; ip address add fd00:1::/128 dev cr0 nodad;"
        "bridge fdb add 0a:58:0a:f4:07:00 dev cr0 dst 10.0.3.4 self permanent;"
        "ip neigh add 10.244.7.0 lladdr 0a:58:0a:f4:07:00 dev cr0 nud permanent;"
        "ip neigh add fe80::858:aff:fef4:700 lladdr 0a:58:0a:f4:07:00 dev cr0 nud permanent;"
        "ip nexthop add id 41 via 10.244.7.0 dev cr0 onlink proto 88;"
        "ip nexthop add id 42 via fe80::858:aff:fef4:700 dev cr0 onlink proto 88;"
        "ip route add 10.244.7.0/24 nhid 41 src 10.244.1.0 proto 88;"
        "ip route add fd00:7::/80 nhid 42 src fd00:1:: proto 88;"
        "ip route add unreachable 10.244.0.0/16 metric 4294967280 proto 88;"
        "ip route add unreachable fd00::/16 metric 4294967280 proto 88",
    )
    assert [table.read(()) for table, _ in tables(netlink)] == [entries for _, entries in tables(netlink)]


def test_a_change_of_path_replaces_the_nexthop_and_moves_no_route(host: Namespace, netlink: Netlink) -> None:
    fill(netlink)
    for nexthops, device in ((NATIVE, "eth0"), (NEXTHOPS, "cr0"), (NATIVE, "eth0")):
        assert netlink.nexthops.write(nexthops, ()) == {}
        assert netlink.nexthops.read(()) == nexthops
        assert netlink.routes.read(()) == ROUTES
        assert f"dev {device}" in host.run("ip", "route", "get", "10.244.7.9")
        assert f"dev {device}" in host.run("ip", "-6", "route", "get", "fd00:7::9")


def test_an_ipv6_gateway_inside_the_routed_cidr_is_refused_on_the_way_back(netlink: Netlink) -> None:
    # Why IPv6 VTEPs are link-local: the kernel looks such a gateway up, finds the route by the NIC, and says mismatch.
    fill(netlink)
    inside = {42: Nexthop(packed("fd00:7::"), "cr0")}
    assert netlink.nexthops.write(NATIVE, ()) == {}
    assert "device mismatch" in netlink.nexthops.write(inside, ())[42]
    assert netlink.nexthops.read(()) == NATIVE


def test_a_tunnel_takes_nodes_of_its_own_family_alone(netlink: Netlink) -> None:
    """A VXLAN device takes FDB entries of one family, so there are two devices."""
    fill(netlink)
    assert "Address family not supported" in netlink.fdb.write(FDB6, ())[MAC6]
    assert "Address family not supported" in netlink.fdb6.write(FDB, ())[MAC]


def test_a_vtep_has_no_address_that_may_once_be_a_gateway(host: Namespace, netlink: Netlink) -> None:
    """By default the kernel assigns the MAC's link-local address, and keeps it when the pod CIDR changes the MAC."""
    for mac in (MAC, LINKS["cr0"].mac):
        assert netlink.links.write({**LINKS, "cr0": LINKS["cr0"]._replace(mac=mac)}, ()) == {}
        assert "fe80" not in host.run("ip", "address", "show", "dev", "cr0")
    assert netlink.nexthops.write(NEXTHOPS, ()) == {}


def test_a_link_local_address_that_a_vtep_has_got_is_one_to_remove(host: Namespace, node: Netlink) -> None:
    """Devices that an older version made have one."""
    host.run("ip", "address", "add", "fe80::858:aff:fef4:700/64", "dev", "cr0", "nodad")
    assert "local address" in node.nexthops.write(NEXTHOPS, ())[42]
    (former,) = node.addresses.read(())
    assert former == AddressKey("cr0", packed("fe80::858:aff:fef4:700"), 64)
    assert node.addresses.write({}, [former]) == {}
    assert node.nexthops.write(NEXTHOPS, ()) == {}


def test_fdb_entries_and_neighbours_are_replaced(netlink: Netlink) -> None:
    fill(netlink)
    moved = {MAC: packed("10.0.3.99")}
    turned = dict.fromkeys(NEIGHBOURS, bytes.fromhex("0a580af40909"))
    assert netlink.fdb.write(moved, ()) == {}
    assert netlink.neighbours.write(turned, ()) == {}
    assert netlink.fdb.read(()) == moved
    assert netlink.neighbours.read(()) == turned


@pytest.mark.parametrize(("where", "family"), [(V4, "ipv4"), (V6, "ipv6")])
def test_a_route_of_ours_gets_another_nexthop_and_source(netlink: Netlink, where: Any, family: str) -> None:
    fill(netlink)
    assert netlink.nexthops.write({51: NATIVE[41], 52: NATIVE[42]}, ()) == {}
    wanted = Route({"ipv4": 51, "ipv6": 52}[family], packed({"ipv4": "10.0.1.10", "ipv6": "fd01::10"}[family]))
    assert netlink.routes.write({where: wanted}, ()) == {}
    assert netlink.routes.read(()) == {**ROUTES, where: wanted}


def test_routes_of_ours_in_any_other_form_are_seen_and_replaced(host: Namespace, netlink: Netlink) -> None:
    fill(netlink)
    host.shell(
        "ip route replace 10.244.7.0/24 via 10.0.1.1 proto 88; ip route append 10.244.7.0/24 via 10.0.1.2 proto 88;"
        "ip -6 route del fd00:7::/80; ip -6 route add fd00:7::/80 via fd01::1 proto 88;"
        "ip -6 route append fd00:7::/80 via fd01::2 proto 88;"
        "ip route replace blackhole 10.244.0.0/16 metric 4294967280 proto 88;"
        "ip route add 0.0.0.0/0 dev lo metric 9 proto 88",
    )
    there = netlink.routes.read(())
    assert there.keys() - ROUTES.keys() == {RouteKey(bytes(4), 0, 9)}
    wrong = {key: route for key, route in ROUTES.items() if there[key] != route}
    assert len(wrong) == 3
    assert netlink.routes.write(wrong, [RouteKey(bytes(4), 0, 9)]) == {}
    assert netlink.routes.read(()) == ROUTES
    assert len(host.run("ip", "route", "show", "10.244.7.0/24").splitlines()) == 1
    assert len(host.run("ip", "-6", "route", "show", "fd00:7::/80").splitlines()) == 1


def test_a_route_for_one_type_of_service_is_another_route(host: Namespace, netlink: Netlink) -> None:
    """It has our protocol number and the destination of ours, and is neither taken for it nor in its way."""
    fill(netlink)
    host.shell("ip route add 10.244.7.0/24 tos 0x10 via 10.0.1.1 proto 88; ip route del 10.244.7.0/24 tos 0 proto 88")
    assert netlink.routes.read(()) == {key: route for key, route in ROUTES.items() if key != V4}
    assert netlink.routes.write({V4: ROUTES[V4]}, ()) == {}
    assert netlink.routes.read(()) == ROUTES


def test_nexthops_of_ours_in_any_other_form_are_seen_and_replaced(host: Namespace, netlink: Netlink) -> None:
    fill(netlink)
    host.shell("ip nexthop replace id 41 via 10.0.1.1 dev eth0 proto 88; ip nexthop add id 9 blackhole proto 88")
    there = netlink.nexthops.read(())
    assert there == {9: Nexthop(b"", ""), 41: Nexthop(b"", ""), 42: NEXTHOPS[42]}
    assert netlink.nexthops.write({41: NEXTHOPS[41]}, [9]) == {}
    assert netlink.nexthops.read(()) == NEXTHOPS


def test_fdb_entries_of_any_other_form_are_seen_and_replaced(host: Namespace, netlink: Netlink) -> None:
    fill(netlink)
    host.shell(
        "bridge fdb replace 0a:58:0a:f4:07:00 dev cr0 dst 10.0.3.4 vni 77 self permanent;"
        "bridge fdb append 00:00:00:00:00:00 dev cr0 dst 10.0.3.5 self permanent;"
        "bridge fdb append 00:00:00:00:00:00 dev cr0 dst 10.0.3.6 self permanent",
    )
    assert netlink.fdb.read(()) == {MAC: b"", bytes(6): b""}
    assert netlink.fdb.write(FDB, [bytes(6)]) == {}
    assert netlink.fdb.read(()) == FDB


def test_only_permanent_neighbours_count_and_any_other_gives_way(host: Namespace, netlink: Netlink) -> None:
    fill(netlink)
    host.run("ip", "neigh", "replace", "10.244.7.0", "lladdr", "02:00:00:00:00:01", "dev", "cr0", "nud", "stale")
    host.run("ip", "neigh", "add", "10.0.1.77", "lladdr", "02:00:00:00:00:01", "dev", "eth0", "nud", "permanent")
    assert netlink.neighbours.read(()).keys() == NEIGHBOURS.keys() - {packed("10.244.7.0")}
    assert netlink.neighbours.write(NEIGHBOURS, ()) == {}
    assert netlink.neighbours.read(()) == NEIGHBOURS


def test_without_the_vxlan_device_its_entries_are_refused_as_a_whole_and_nothing_is_there(netlink: Netlink) -> None:
    for table, entries in ((netlink.fdb, FDB), (netlink.neighbours, NEIGHBOURS)):
        assert table.read(()) == {}
        assert table.write({}, list(entries)) == {}
        with pytest.raises(KernelError, match="no VXLAN device cr0"):
            table.write(entries, ())
    failed = netlink.addresses.write(ADDRESSES, ())
    assert failed.keys() == ADDRESSES.keys()
    assert "no device cr0 of ours" in next(iter(failed.values()))
    failed_nexthops = netlink.nexthops.write({**NEXTHOPS, 43: NATIVE[41]}, ())
    assert failed_nexthops.keys() == NEXTHOPS.keys()
    assert "no network interface cr0" in failed_nexthops[41]


def test_an_ipv6_address_where_ipv6_is_off_names_the_sysctl(host: Namespace, node: Netlink) -> None:
    host.run("sysctl", "-qw", "net.ipv6.conf.cr0.disable_ipv6=1")
    failed = node.addresses.write(ADDRESSES, ())
    (words,) = failed.values()
    assert "net.ipv6.conf.cr0.disable_ipv6" in words
    assert len(node.addresses.read(())) == 1


def test_five_thousand_dual_stack_peers_make_the_round_trip(node: Netlink) -> None:
    peers = Peers(5000)
    assert node.addresses.write(ADDRESSES, ()) == {}
    pairs: list[tuple[KindDriver[Any, Any], dict[Any, Any]]] = [
        (node.fdb, peers.fdb),
        (node.neighbours, peers.neighbours),
        (node.nexthops, peers.nexthops),
        (node.routes, peers.routes),
    ]
    for table, entries in pairs:
        assert table.write(entries, ()) == {}
    for table, entries in pairs:
        assert table.read(()) == entries
    for table, entries in reversed(pairs):
        assert table.write({}, entries) == {}
        assert table.read(()) == {}


def test_each_failure_belongs_to_its_entry_and_the_others_are_done(node: Netlink) -> None:
    peers = Peers(1000)
    assert node.addresses.write(ADDRESSES, ()) == {}
    nexthops = {**peers.nexthops, 1500: Nexthop(packed("224.0.0.1"), "cr0"), 1777: Nexthop(packed("ff02::1"), "cr0")}
    failed = node.nexthops.write(nexthops, ())
    assert failed.keys() == {1500, 1777}
    assert "invalid gateway" in failed[1500]
    failed_routes = node.routes.write(peers.routes, ())
    lost = {key for key, route in peers.routes.items() if route.nexthop in failed}
    assert failed_routes.keys() == lost
    assert all("Nexthop id does not exist" in words for words in failed_routes.values())
    assert node.routes.read(()).keys() == peers.routes.keys() - lost


def test_thousands_that_all_fail_are_all_named(node: Netlink) -> None:
    peers = Peers(2500)
    assert node.routes.write(peers.routes, ()).keys() == peers.routes.keys()

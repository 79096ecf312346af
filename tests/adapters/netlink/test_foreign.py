"""Objects of other programs stay as they are; where one is in the way, the failure names its owner."""

from __future__ import annotations

import pytest

from cloudroute.adapters.netlink.netlink import Netlink
from cloudroute.dataplane import AddressKey, Route, RouteKey, packed, written
from tests.adapters.netlink.kit import ADDRESSES, FDB, LINKS, NEIGHBOURS, NEXTHOPS, ROUTES, V4, V6, key
from tests.hosts import Namespace


def test_foreign_routes_nexthops_and_addresses_are_not_ours_and_stay(host: Namespace, node: Netlink) -> None:
    host.shell(
        "ip address add 10.0.1.99/32 dev eth0; ip address add 169.254.7.7/32 dev cr0 scope link;"
        "ip nexthop add id 41 via 10.0.1.1 dev eth0; ip route add 10.9.0.0/16 nhid 41;"
        "ip route add 10.8.0.0/16 via 10.0.1.1 proto bgp; ip route add unreachable 10.7.0.0/16;"
        "ip -6 route add fd77::/64 via fd01::1; ip route add 10.244.8.0/24 via 10.0.1.1 table 77 proto 88",
    )
    before = host.run("ip", "route", "show", "table", "all"), host.run("ip", "-6", "route"), host.run("ip", "nexthop")
    assert node.routes.read(()) == {}
    assert node.nexthops.read(()) == {}
    assert node.addresses.read(()) == {}
    assert node.routes.write({}, [key("10.9.0.0/16"), key("10.8.0.0/16"), key("10.7.0.0/16"), key("fd77::/64")]) == {}
    assert node.nexthops.write({}, [41]) == {}
    assert before == (
        host.run("ip", "route", "show", "table", "all"),
        host.run("ip", "-6", "route"),
        host.run("ip", "nexthop"),
    )


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            "ip route add 10.244.7.0/24 via 10.0.1.1 proto bgp",
            "via 10.0.1.1 dev eth0 by another program (protocol bgp)",
        ),
        ("ip route add unreachable 10.244.7.0/24", "by another program (protocol boot)"),
        ("ip route add 10.244.7.0/24 dev eth0 proto 99", "dev eth0 by another program (protocol 99)"),
        ("ip nexthop add id 9 via 10.0.1.1 dev eth0; ip route add 10.244.7.0/24 nhid 9", "via 10.0.1.1 dev eth0"),
        ("ip -6 route add fd00:7::/80 via fd01::1", "via fd01::1 dev eth0 by another program (protocol boot)"),
        ("ip -6 route add fd00:7::/80 dev eth0 metric 1024", "dev eth0 by another program (protocol boot)"),
        ("ip -6 route add unreachable fd00:7::/80", "by another program (protocol boot)"),
        ("ip -6 route add fd00:7::/80 nexthop via fd01::1 nexthop via fd01::2", "by another program (protocol boot)"),
    ],
)
def test_a_foreign_route_to_a_peers_pods_stays_and_is_named(
    host: Namespace, node: Netlink, made: str, said: str
) -> None:
    host.shell(made)
    where = V6 if "-6" in made else V4
    ip = ("ip", "-6") if "-6" in made else ("ip",)
    before = host.run(*ip, "route")
    assert node.addresses.write(ADDRESSES, ()) == {}
    assert node.nexthops.write(NEXTHOPS, ()) == {}
    for _ in range(2):
        failed = node.routes.write({where: ROUTES[where], key("10.244.0.0/16", 7): Route(0, b"")}, ())
        assert failed.keys() == {where}
        assert said in failed[where]
    assert set(before.splitlines()) <= set(host.run(*ip, "route").splitlines())


@pytest.mark.parametrize(
    ("where", "how"),
    [(V4, "prepend via 10.0.1.1"), (V4, "append via 10.0.1.1"), (V6, "append via fd01::1"), (V6, "prepend dev eth0")],
)
def test_a_foreign_route_beside_ours_is_not_replaced_in_its_stead(
    host: Namespace, node: Netlink, where: RouteKey, how: str
) -> None:
    assert node.addresses.write(ADDRESSES, ()) == {}
    assert node.nexthops.write(NEXTHOPS, ()) == {}
    assert node.routes.write(ROUTES, ()) == {}
    ip = ("ip", "-4" if where == V4 else "-6", "route")
    cidr = f"{written(where.destination)}/{where.length}"
    verb, *way = how.split()
    host.run(*ip, verb, cidr, *way)
    before = host.run(*ip)
    elsewhere = Route(ROUTES[where].nexthop, packed("10.0.1.10" if where == V4 else "fd01::10"))
    assert "is already routed" in node.routes.write({where: elsewhere}, ())[where]
    assert host.run(*ip) == before
    assert node.routes.write({}, [where]) == {}
    (left,) = host.run(*ip, "show", cidr).splitlines()
    assert left.startswith(f"{cidr} {' '.join(way)}")


def test_a_route_that_somebody_replaced_by_his_own_is_not_taken_back(host: Namespace, node: Netlink) -> None:
    assert node.addresses.write(ADDRESSES, ()) == {}
    assert node.nexthops.write(NEXTHOPS, ()) == {}
    assert node.routes.write(ROUTES, ()) == {}
    host.run("ip", "route", "replace", "10.244.7.0/24", "via", "10.0.1.1", "proto", "static")
    assert node.routes.read(()).keys() == ROUTES.keys() - {V4}
    assert "protocol static" in node.routes.write({V4: ROUTES[V4]}, ())[V4]
    assert "via 10.0.1.1 dev eth0 proto static" in host.run("ip", "route", "show", "10.244.7.0/24")


def test_a_nexthop_id_of_somebody_else_is_left_to_him_and_the_others_are_done(host: Namespace, node: Netlink) -> None:
    host.run("ip", "nexthop", "add", "id", "41", "via", "10.0.1.1", "dev", "eth0", "proto", "zebra")
    failed = node.nexthops.write(NEXTHOPS, ())
    assert failed.keys() == {41}
    assert "protocol zebra" in failed[41]
    assert node.nexthops.read(()) == {42: NEXTHOPS[42]}
    assert "via 10.0.1.1 dev eth0" in host.run("ip", "nexthop", "show", "id", "41")


def test_a_nexthop_that_an_earlier_process_made_is_taken_over_unread(host: Namespace, node: Netlink) -> None:
    assert node.nexthops.write({41: NEXTHOPS[41]}, ()) == {}
    with host.inside():
        other = Netlink()
    assert other.nexthops.write(NEXTHOPS, ()) == {}
    assert other.nexthops.read(()) == NEXTHOPS
    other.close()


def test_a_device_of_our_name_but_another_kind_is_never_touched(host: Namespace, netlink: Netlink) -> None:
    name = "cr0"
    host.shell(
        f"ip link add {name} type veth peer name other; ip link set {name} up; ip link set other up;"
        f"ip address add 192.0.2.1/24 dev {name};"
        f"ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 dev {name} nud permanent",
    )
    before = host.run("ip", "address", "show", "dev", name), host.run("ip", "neigh", "show", "dev", name)
    failed = netlink.links.write(LINKS, ())
    assert failed.keys() == {name}
    assert "is a veth device that cloudroute did not make" in failed[name]
    assert f"ip link delete {name}" in failed[name]
    assert name not in netlink.links.read(LINKS)
    assert netlink.links.write({}, [name]) == {}
    assert netlink.addresses.read(()) == {}
    assert netlink.neighbours.read(()) == {}
    assert netlink.addresses.write({}, [AddressKey(name, packed("192.0.2.1"), 24)]) == {}
    assert netlink.neighbours.write({}, [packed("192.0.2.2")]) == {}
    assert netlink.fdb.write({}, list(FDB)) == {}
    assert netlink.nexthops.write(NEXTHOPS, ()).keys() == NEXTHOPS.keys()
    assert NEIGHBOURS.keys().isdisjoint(netlink.neighbours.read(()))
    assert before == (host.run("ip", "address", "show", "dev", name), host.run("ip", "neigh", "show", "dev", name))


def test_a_vni_that_another_device_has_is_named_with_the_flags(host: Namespace, netlink: Netlink) -> None:
    host.shell("ip link add flannel.1 type vxlan id 1 local 10.0.1.10 dev eth0 dstport 8472")
    failed = netlink.links.write(LINKS, ())
    assert failed.keys() == {"cr0"}
    for part in ("VNI 1", "UDP port 8472", "flannel.1", "--vni", "--vxlan-port"):
        assert part in failed["cr0"]
    host.run("ip", "link", "delete", "flannel.1")
    assert netlink.links.write(LINKS, ()) == {}
    assert netlink.links.read(()) == LINKS

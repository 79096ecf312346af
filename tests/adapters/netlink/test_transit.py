"""A gateway's table for packets in transit, and the rules that lead to it: beside the main table and others' rules."""

from __future__ import annotations

import pytest

from cloudroute.adapters.netlink.netlink import Netlink
from cloudroute.dataplane import MAIN, TRANSIT_TABLE, Nexthop, Rule, packed
from tests.adapters.netlink.kit import (
    ADDRESSES,
    NATIVE,
    NEXTHOPS,
    ROUTES,
    RULES,
    TRANSIT_HOPS,
    TRANSIT_ROUTES,
    V4,
    V6,
)
from tests.hosts import Namespace

OTHERS = (
    "ip rule add iif eth0 to 10.244.0.0/16 lookup 88 priority 1088; ip rule add to 10.9.0.0/16 lookup 7 priority 1088"
)
"""Rules of another program with the priority of ours; the first differs by its protocol alone."""


def rules(host: Namespace) -> list[str]:
    return [*host.run("ip", "rule").splitlines(), *host.run("ip", "-6", "rule").splitlines()]


def test_a_rule_written_twice_is_there_once(host: Namespace, netlink: Netlink) -> None:
    """By this process or another one: the kernel takes any number of equal rules."""
    before = len(rules(host))
    with host.inside():
        other = Netlink()
    for adapter in (netlink, netlink, other):
        assert adapter.rules.write(RULES, ()) == {}
    other.close()
    assert len(rules(host)) == before + len(RULES)
    assert netlink.rules.read(()) == RULES


def test_rules_of_others_are_not_ours_and_stay(host: Namespace, netlink: Netlink) -> None:
    host.shell(OTHERS)
    before = rules(host)
    assert netlink.rules.read(()) == {}
    assert netlink.rules.write({}, list(RULES)) == {}
    assert rules(host) == before
    assert netlink.rules.write(RULES, ()) == {}
    assert netlink.rules.read(()) == RULES
    assert set(before) < set(rules(host))
    assert netlink.rules.write({}, list(RULES)) == {}
    assert rules(host) == before


FURTHER = "ip rule add {} iif eth0 to 10.244.0.0/16 lookup 88 priority 1088 protocol 88"


@pytest.mark.parametrize("more", ["fwmark 7", "oif eth0", "ipproto udp"])
def test_a_rule_with_further_conditions_is_not_ours(host: Namespace, netlink: Netlink, more: str) -> None:
    host.shell(FURTHER.format(more))
    assert netlink.rules.read(()) == {}
    assert netlink.rules.write(RULES, ()) == {}
    assert netlink.rules.read(()) == RULES


@pytest.mark.parametrize("more", ["from 10.0.0.0/8", "tos 0x10", "not"])
def test_a_rule_with_further_conditions_that_is_in_the_way_is_told(
    host: Namespace, netlink: Netlink, more: str
) -> None:
    """The kernel says that the rule exists."""
    host.shell(FURTHER.format(more))
    assert netlink.rules.read(()) == {}
    failed = netlink.rules.write(RULES, ())
    assert failed == {Rule(1088, "eth0", packed("10.244.0.0"), 16, TRANSIT_TABLE): "can't be set: File exists"}
    host.run("ip", "rule", "delete", "priority", "1088")
    assert netlink.rules.write(RULES, ()) == {}
    assert netlink.rules.read(()) == RULES


def test_a_rule_of_a_former_process_is_found_and_can_be_removed(host: Namespace, netlink: Netlink) -> None:
    """Of another NIC too, even of one that is gone."""
    stale = Rule(1087, "eth9", packed("10.99.0.0"), 24, MAIN)
    with host.inside():
        former = Netlink()
    assert former.rules.write({stale: None}, ()) == {}
    former.close()
    assert netlink.rules.read(()) == {stale: None}
    assert netlink.rules.write({}, [stale]) == {}
    assert netlink.rules.read(()) == {}


def test_rules_outlive_the_device(host: Namespace, netlink: Netlink) -> None:
    """A device of that name that is made later is meant as well."""
    assert netlink.rules.write(RULES, ()) == {}
    host.run("ip", "link", "delete", "eth0")
    assert netlink.rules.read(()) == RULES


# --- the table -----------------------------------------------------------------------------------


@pytest.fixture
def gateway(node: Netlink) -> Netlink:
    """A kernel with all that a gateway has for one peer."""
    assert node.addresses.write(ADDRESSES, ()) == {}
    assert node.nexthops.write(NEXTHOPS | TRANSIT_HOPS, ()) == {}
    assert node.routes.write(ROUTES | TRANSIT_ROUTES, ()) == {}
    assert node.rules.write(RULES, ()) == {}
    return node


def test_all_of_it_is_read_by_another_process(host: Namespace, gateway: Netlink) -> None:
    with host.inside():
        other = Netlink()
    assert other.nexthops.read(()) == NEXTHOPS | TRANSIT_HOPS
    assert other.routes.read(()) == ROUTES | TRANSIT_ROUTES
    assert other.rules.read(()) == RULES
    other.close()


def test_the_kernel_holds_what_people_would_type(host: Namespace, gateway: Netlink) -> None:
    routes = host.run("ip", "route", "show", "table", "88") + host.run("ip", "-6", "route", "show", "table", "88")
    assert "10.244.7.0/24 nhid 2147483689 via 10.244.7.0 dev cr0 proto 88 src 10.244.1.0 onlink" in routes
    assert "unreachable 10.244.0.0/16 proto 88 metric 4294967280" in routes
    shown = "\n".join(rules(host))
    for to_own, to_all in (("10.244.1.0/24", "10.244.0.0/16"), ("fd00:1::/80", "fd00::/16")):
        assert f"1087:\tfrom all to {to_own} iif eth0 lookup main proto 88" in shown
        assert f"1088:\tfrom all to {to_all} iif eth0 lookup 88 proto 88" in shown


def test_packets_in_transit_take_the_overlay_though_the_node_itself_sends_natively(
    host: Namespace, gateway: Netlink
) -> None:
    """Pods of no node are unreachable, and the node's own are found as ever. The change is one nexthop."""
    host.shell("ip route add 10.244.1.9 dev cr0; ip -6 route add fd00:1::9 dev cr0")
    host.shell("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.eth0.rp_filter=2")
    assert gateway.nexthops.write(NATIVE, ()) == {}
    for option, peer, own, nobody, source in (
        ("-4", "10.244.7.9", "10.244.1.9", "10.244.8.9", "10.0.1.77"),
        ("-6", "fd00:7::9", "fd00:1::9", "fd00:8::9", "fd01::77"),
    ):

        def way(*to: str, ip: str = option) -> str:
            return host.run("sh", "-c", f"ip {ip} route get {' '.join(to)} 2>&1 || true")

        assert "dev eth0" in way(peer)
        assert "dev cr0" in way(peer, "from", source, "iif", "eth0")
        assert "dev cr0" in way(own, "from", source, "iif", "eth0")
        refused = way(nobody, "from", source, "iif", "eth0")
        assert "No route to host" in refused or refused.startswith("unreachable"), refused
    assert gateway.routes.read(()) == ROUTES | TRANSIT_ROUTES


def test_routes_of_one_table_are_changed_and_removed_without_the_other(gateway: Netlink) -> None:
    moved = {id_: Nexthop(packed("10.0.1.9") if id_ & 1 else packed("fd01::9"), "eth0") for id_ in TRANSIT_HOPS}
    assert gateway.nexthops.write(moved, ()) == {}
    assert gateway.nexthops.read(()) == NEXTHOPS | moved
    assert gateway.routes.write({}, list(TRANSIT_ROUTES)) == {}
    assert gateway.routes.read(()) == ROUTES
    assert gateway.routes.write(TRANSIT_ROUTES, list(ROUTES)) == {}
    assert gateway.routes.read(()) == TRANSIT_ROUTES


@pytest.mark.parametrize(
    "made", ["ip route replace 10.244.7.0/24 via 10.0.1.1 table 88", "ip route add 10.244.7.0/24 via 10.0.1.1 table 88"]
)
def test_a_route_of_another_program_in_the_table_stays_and_is_named(
    host: Namespace, gateway: Netlink, made: str
) -> None:
    assert gateway.routes.write({}, [V4._replace(table=TRANSIT_TABLE)]) == {}
    host.shell(made)
    failed = gateway.routes.write(TRANSIT_ROUTES, ())
    assert failed.keys() == {V4._replace(table=TRANSIT_TABLE)}
    assert "via 10.0.1.1 dev eth0 by another program" in failed[V4._replace(table=TRANSIT_TABLE)]
    assert V6._replace(table=TRANSIT_TABLE) in gateway.routes.read(())

"""The facts of the NIC, by its name or by the default route."""

from __future__ import annotations

import pytest

from cloudroute.adapters.netlink.netlink import Netlink
from cloudroute.dataplane import Host, packed
from cloudroute.errors import KernelError
from tests.adapters.netlink.kit import LINKS
from tests.hosts import Namespace

ETH0 = Host(
    "eth0", 9001, ((packed("10.0.1.10"), 24), (packed("fd01::10"), 64)), (packed("10.0.1.1"), packed("fe80::1"))
)


def test_the_nic_is_that_of_the_default_route(netlink: Netlink) -> None:
    assert netlink.host("") == ETH0


def test_the_default_route_with_the_lowest_metric_decides(host: Namespace, netlink: Netlink) -> None:
    host.shell("ip link set far up; ip address add 10.0.2.10/24 dev far")
    host.shell("ip route replace default via 10.0.1.1 metric 100")
    host.shell("ip route del default via 10.0.1.1 metric 0")
    host.shell("ip route add default via 10.0.2.1 metric 200")
    assert netlink.host("").interface == "eth0"
    host.shell("ip route add default via 10.0.2.1 metric 50")
    assert netlink.host("") == Host("far", 1500, ((packed("10.0.2.10"), 24),), (packed("10.0.2.1"),))
    assert netlink.host("eth0") == ETH0


def test_without_an_ipv4_default_route_that_of_ipv6_decides(host: Namespace, netlink: Netlink) -> None:
    host.run("ip", "route", "delete", "default")
    assert netlink.host("") == ETH0._replace(gateways=(packed("fe80::1"),))


def test_a_multipath_default_route_counts_by_each_way(host: Namespace, netlink: Netlink) -> None:
    host.shell("ip route replace default nexthop via 10.0.1.1 nexthop via 10.0.1.2")
    host.shell("ip -6 route add default via fe80::2 dev eth0 metric 900")
    assert netlink.host("") == ETH0._replace(gateways=(packed("10.0.1.1"), packed("fe80::2")))


def test_addresses_that_are_not_to_be_used_are_left_out(host: Namespace, netlink: Netlink) -> None:
    host.shell(
        "ip address add 10.0.1.77/24 dev eth0; ip address add 169.254.3.3/16 dev eth0;"
        "ip address add 10.9.9.9 peer 10.9.9.8/32 dev eth0;"
        "ip address add fd01::dead/64 dev eth0 preferred_lft 0 nodad",
    )
    assert netlink.host("eth0").addresses == (
        (packed("10.0.1.10"), 24),
        (packed("10.0.1.77"), 24),
        (packed("fd01::10"), 64),
    )


def test_a_nic_that_is_down_says_so(host: Namespace, netlink: Netlink) -> None:
    host.run("ip", "link", "set", "eth0", "down")
    found = netlink.host("eth0")
    assert (found.up, found.gateways) == (False, ())


@pytest.mark.parametrize("name", ["eth7", "a-name-longer-than-any", "../eth0"])
def test_a_name_that_is_not_there_is_answered_with_those_that_are(netlink: Netlink, name: str) -> None:
    netlink.links.write(LINKS, ())
    with pytest.raises(KernelError) as error:
        netlink.host(name)
    assert str(error.value) == f"--interface {name}: there is no such network interface; this machine has lo, far, eth0"


def test_without_any_default_route_the_flag_is_named(host: Namespace, netlink: Netlink) -> None:
    host.shell("ip route delete default; ip -6 route delete default")
    with pytest.raises(KernelError, match=r"no default route.*--interface.*this machine has lo, far, eth0"):
        netlink.host("")

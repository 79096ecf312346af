"""Pods on a bridge that was there before, and pods on cables of their own: they reach each other, on a real kernel."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from cloudroute.adapters.netlink.netlink import Netlink
from cloudroute.types import Cidr
from tests.hosts import Namespace
from tests.waiting import eventually

CIDRS = (Cidr.parse("10.244.1.0/24"), Cidr.parse("fd00:1::/80"))
OLD, NEW = ("10.244.1.5", "fd00:1::5"), ("10.244.1.9", "fd00:1::9")
BOTH = pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])


@pytest.fixture
def pods(host: Namespace) -> Iterator[tuple[Namespace, Namespace]]:
    """One as the plugin `bridge` joins it, one as `ptp` does, on a node with the agent's settings."""
    with Namespace("crbr-") as old, Namespace("crbr-") as new:
        host.shell(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0;"
            "ip link add cni0 type bridge; ip link set cni0 up;"
            "ip address add 10.244.1.1/24 dev cni0; ip address add fd00:1::1/80 dev cni0 nodad;"
            f"ip link add old0 type veth peer name eth0 netns {old.name}; ip link set old0 master cni0 up;"
            f"ip link add new0 type veth peer name eth0 netns {new.name}; ip link set new0 up;"
            "ip address add 10.244.1.1/32 dev new0; ip address add fd00:1::1/128 dev new0 nodad"
        )
        for pod, addresses in ((old, OLD), (new, NEW)):
            pod.shell(
                f"ip address add {addresses[0]}/24 dev eth0; ip address add {addresses[1]}/80 dev eth0 nodad;"
                "ip link set eth0 up; ip route add default via 10.244.1.1; ip -6 route add default via fd00:1::1"
            )
        new.shell(
            "ip route delete 10.244.1.0/24; ip route add 10.244.1.1 dev eth0; ip route replace default via 10.244.1.1;"
            "ip -6 route delete fd00:1::/80; ip -6 route add fd00:1::1 dev eth0;"
            "ip -6 route replace default via fd00:1::1"
        )
        route(host)
        yield old, new


@pytest.fixture(autouse=True)
def inside(host: Namespace) -> Iterator[None]:
    """/proc/sys is that of the thread's namespace."""
    with host.inside():
        yield


def route(host: Namespace) -> None:
    """To the new pod, as the plugin makes it."""
    host.shell(f"ip route add {NEW[0]} dev new0; ip -6 route add {NEW[1]} dev new0")


def pings(pod: Namespace, address: str) -> bool:
    """Whether one comes back within the first half second: an answer that the bridge delays does not count."""
    command = ["ip", "netns", "exec", pod.name, "ping", "-c1", "-W0.5", address]
    return subprocess.run(command, capture_output=True).returncode == 0


@BOTH
def test_a_pod_on_the_bridge_reaches_a_new_one_once_the_bridge_answers_for_it(
    netlink: Netlink, pods: tuple[Namespace, Namespace], family: int
) -> None:
    cidr = CIDRS[family]
    assert netlink.bridges.read([cidr]) == {}
    assert not pings(pods[0], NEW[family])
    assert netlink.bridges.write({cidr: None}, ()) == {}
    assert netlink.bridges.read([cidr]) == {cidr: None}
    pods[0].run("ip", "neigh", "flush", "dev", "eth0")
    assert pings(pods[0], NEW[family])
    assert pings(pods[1], OLD[family])


def test_a_new_pods_ipv6_address_is_told_and_answered_for_and_one_that_goes_is_not(
    host: Namespace, netlink: Netlink, pods: tuple[Namespace, Namespace]
) -> None:
    """Entries that others have made stay."""
    host.run("ip", "-6", "route", "delete", NEW[1])
    host.run("ip", "-6", "neigh", "add", "proxy", "fd00:1::77", "dev", "cni0")
    assert netlink.bridges.write({CIDRS[1]: None}, ()) == {}
    assert netlink.bridges.read(CIDRS[1:]) == {CIDRS[1]: None}
    heard: set[str] = set()
    netlink.listen(heard.update)
    for change, answered in (("add", True), ("delete", False)):
        heard.clear()
        host.run("ip", "-6", "route", change, NEW[1], "dev", "new0")
        eventually(lambda: heard == {"bridges"}, "the bridge's event comes")
        assert netlink.bridges.read(CIDRS[1:]) == {}
        assert netlink.bridges.write({CIDRS[1]: None}, ()) == {}
        assert netlink.bridges.read(CIDRS[1:]) == {CIDRS[1]: None}
        assert (NEW[1] in host.run("ip", "-6", "neigh", "show", "proxy")) == answered
    assert "fd00:1::77" in host.run("ip", "-6", "neigh", "show", "proxy")


def test_without_such_a_bridge_nothing_is_to_be_done_and_no_pod_is_told(host: Namespace, netlink: Netlink) -> None:
    """A bridge with other addresses is not asked."""
    host.shell("ip link add docker0 type bridge; ip link set docker0 up; ip address add 172.17.0.1/16 dev docker0")
    host.shell("ip link add new0 type veth peer name new1; ip link set new0 up; ip link set new1 up")
    assert netlink.bridges.read(CIDRS) == dict.fromkeys(CIDRS)
    heard: set[str] = set()
    netlink.listen(heard.update)
    host.run("ip", "-6", "route", "add", NEW[1], "dev", "new0")
    host.run("ip", "route", "add", "unreachable", "198.51.100.0/24", "proto", "88")
    eventually(lambda: heard == {"routes"}, "the route's event comes")
    assert host.run("sysctl", "-n", "net.ipv4.conf.docker0.proxy_arp") == "0\n"

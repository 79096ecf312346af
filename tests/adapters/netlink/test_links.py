"""Our VXLAN device: made, changed in place where Linux can do that, and made anew otherwise."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from cloudroute.adapters.netlink.netlink import Netlink
from cloudroute.dataplane import packed
from tests.adapters.netlink.kit import LINKS, NEIGHBOURS, VXLAN
from tests.hosts import Namespace

CR0 = LINKS["cr0"]


def ifindex(host: Namespace, name: str) -> int:
    return int(json.loads(host.run("ip", "-j", "link", "show", "dev", name))[0]["ifindex"])


@pytest.mark.parametrize("change", [{"mtu": 1400}, {"mac": bytes.fromhex("0a580af40109")}, {"up": False}])
def test_mtu_mac_and_up_are_changed_in_place(host: Namespace, node: Netlink, change: dict[str, Any]) -> None:
    before = ifindex(host, "cr0")
    wanted = {"cr0": CR0._replace(**change)}
    for links in (wanted, LINKS):
        assert node.links.write(links, ()) == {}
        assert node.links.read(()) == links
    assert ifindex(host, "cr0") == before


@pytest.mark.parametrize("change", [{"vni": 7}, {"port": 4789}, {"local": packed("10.0.1.11")}, {"parent": "far"}])
def test_a_tunnel_that_differs_in_anything_else_is_made_anew(
    host: Namespace, node: Netlink, change: dict[str, Any]
) -> None:
    before = ifindex(host, "cr0")
    mtu = 1400  # what the other parent has room for
    wanted = {"cr0": CR0._replace(vxlan=VXLAN._replace(**change), mtu=mtu)}
    assert node.links.write(wanted, ()) == {}
    assert node.links.read(()) == wanted
    assert ifindex(host, "cr0") != before


@pytest.mark.parametrize("flaw", ["learning", "external", "remote 10.0.3.3", "gbp"])
def test_a_tunnel_that_does_more_than_ours_may_is_seen_and_made_anew(
    host: Namespace, netlink: Netlink, flaw: str
) -> None:
    which = "" if flaw == "external" else "id 1 local 10.0.1.10 dev eth0"
    learning = "" if flaw == "learning" else "nolearning"
    host.run(*f"ip link add cr0 type vxlan {which} dstport 8472 {learning} {flaw}".split())
    there = netlink.links.read(())["cr0"]
    assert there.kind == "vxlan"
    assert there.vxlan is None
    assert netlink.links.write(LINKS, ()) == {}
    assert netlink.links.read(()) == LINKS


def test_a_tunnel_between_ipv6_addresses(netlink: Netlink) -> None:
    wanted = {"cr0": CR0._replace(mtu=8931, vxlan=VXLAN._replace(local=packed("fd01::10")))}
    assert netlink.links.write(wanted, ()) == {}
    assert netlink.links.read(()) == wanted
    assert netlink.fdb.write({b"\x0a\x58\0\0\0\1": packed("fd01::11")}, ()) == {}
    assert netlink.fdb.read(()) == {b"\x0a\x58\0\0\0\1": packed("fd01::11")}


def test_a_write_of_what_is_there_keeps_the_neighbours_and_a_new_mac_wipes_them(node: Netlink) -> None:
    # So the agent reads the other kinds again after it has written links.
    assert node.neighbours.write(NEIGHBOURS, ()) == {}
    assert node.links.write({"cr0": CR0._replace(mtu=1400)}, ()) == {}
    assert node.neighbours.read(()) == NEIGHBOURS
    assert node.links.write({"cr0": CR0._replace(mac=bytes.fromhex("0a580af40109"))}, ()) == {}
    assert node.neighbours.read(()) == {}


def test_a_nic_that_is_not_there_is_named(netlink: Netlink) -> None:
    failed = netlink.links.write({"cr0": CR0._replace(vxlan=VXLAN._replace(parent="eth7"))}, ())
    assert failed == {"cr0": "can't be made: there is no network interface eth7"}
    assert netlink.links.read(()) == {}


def test_an_mtu_that_does_not_fit_the_nic_is_a_failure_with_the_number(netlink: Netlink) -> None:
    failed = netlink.links.write({"cr0": CR0._replace(mtu=9001)}, ())
    assert "MTU 9001" in failed["cr0"]


def test_a_udp_port_that_a_program_has_is_named_with_its_flag(host: Namespace, netlink: Netlink) -> None:
    with host.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 8472))
        failed = netlink.links.write(LINKS, ())
        assert failed.keys() == {"cr0"}
        assert "UDP port 8472" in failed["cr0"]
        assert "--vxlan-port" in failed["cr0"]
    assert netlink.links.write(LINKS, ()) == {}
    assert netlink.links.read(()) == LINKS


def test_a_kernel_without_the_kind_of_device_is_told_how_to_get_it(netlink: Netlink) -> None:
    failed = netlink.links.write({"cr0": CR0._replace(kind="vxlan9", vxlan=None)}, ())
    assert "this kernel has no vxlan9 devices" in failed["cr0"]
    assert "modprobe vxlan9" in failed["cr0"]

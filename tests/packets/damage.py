"""Damage by hand, and what an agent keeps: as the tools of the system make and print it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cloudroute.lab.hosts.host import LabHost
from tests.waiting import eventually


def state(host: LabHost) -> dict[str, object]:
    """All that an agent keeps, as the tools of the system print it."""

    def sorted_lines(*argv: str) -> list[str]:
        return sorted(line.strip() for line in host.run(*argv).splitlines())

    link = _json(host, "-d", "link", "show", "cr0")[0]
    rules = host.run("nft", "-s", "list", "table", "inet", "cloudroute").splitlines()
    return {
        "cr0": (link["address"], link["mtu"], link["operstate"], link["linkinfo"]["info_data"]["id"]),
        "addresses": _addresses(host, "cr0"),
        "fdb": sorted_lines("bridge", "fdb", "show", "dev", "cr0"),
        "neighbours": [sorted_lines("ip", f, "neigh", "show", "dev", "cr0", "nud", "permanent") for f in ("-4", "-6")],
        "nexthops": sorted_lines("ip", "nexthop", "show", "protocol", "88"),
        "routes": [sorted_lines("ip", f, "route", "show", "proto", "88") for f in ("-4", "-6")],
        "rules": [line.strip() for line in rules if "elements" not in line],
        "sysctls": host.run("sysctl", *_SYSCTLS),
        "conflist": [file.read_text() for file in host.conf_dir.glob("10-*.conflist")],
    }


_SYSCTLS = (
    "net.ipv4.ip_forward",
    "net.ipv4.conf.eth0.rp_filter",
    "net.ipv4.conf.cr0.rp_filter",
    "net.ipv6.conf.all.forwarding",
    "net.ipv6.conf.default.accept_dad",
)


def _json(host: LabHost, *words: str) -> Any:
    return json.loads(host.run("ip", "-j", *words))


def _addresses(host: LabHost, device: str) -> list[tuple[str, int]]:
    """The global ones."""
    found = _json(host, "addr", "show", device)[0]["addr_info"]
    return sorted((one["local"], one["prefixlen"]) for one in found if one["scope"] == "global")


def _first(host: LabHost, *argv: str) -> list[str]:
    """The words of the first line that a command prints."""
    return host.run(*argv).splitlines()[0].split()


def _fdb_removed(host: LabHost) -> None:
    (
        mac,
        *_,
    ) = _first(host, "bridge", "fdb", "show", "dev", "cr0")
    words = host.run("bridge", "fdb", "show", "dev", "cr0").splitlines()[0].split()
    host.run("bridge", "fdb", "del", mac, "dev", "cr0", "dst", words[words.index("dst") + 1], "self")


def _fdb_altered(host: LabHost) -> None:
    mac = _first(host, "bridge", "fdb", "show", "dev", "cr0")[0]
    host.run("bridge", "fdb", "replace", mac, "dev", "cr0", "dst", "10.0.99.99", "self", "permanent")


def _neighbour_removed(host: LabHost) -> None:
    address = _first(host, "ip", "neigh", "show", "dev", "cr0", "nud", "permanent")[0]
    host.run("ip", "neigh", "del", address, "dev", "cr0")


def _neighbours_flushed(host: LabHost) -> None:
    host.run("ip", "neigh", "flush", "dev", "cr0", "nud", "permanent")


def _nexthop_removed(host: LabHost) -> None:
    host.run("ip", "nexthop", "del", "id", _first(host, "ip", "nexthop", "show", "protocol", "88")[1])


def _nexthop_altered(host: LabHost) -> None:
    for line in host.run("ip", "nexthop", "show", "protocol", "88").splitlines():
        words = line.split()
        if "." in words[3]:
            elsewhere = ("via", "10.0.0.1", "dev", "eth0", "onlink", "protocol", "88")
            host.run("ip", "nexthop", "replace", "id", words[1], *elsewhere)
            return


def _route_removed(host: LabHost) -> None:
    lines = host.run("ip", "-4", "route", "show", "proto", "88").splitlines()
    host.run("ip", "route", "del", next(line.split()[0] for line in lines if "nhid" in line))


def _guard_removed(host: LabHost) -> None:
    lines = host.run("ip", "-4", "route", "show", "proto", "88").splitlines()
    host.run("ip", "route", "del", *next(line.split()[:2] for line in lines if line.startswith("unreachable")))


def _all_routes_removed(host: LabHost) -> None:
    """One by one: `ip route flush` refuses routes by a nexthop."""
    for family in ("-4", "-6"):
        for line in host.run("ip", family, "route", "show", "proto", "88").splitlines():
            words = line.split()
            host.run("ip", family, "route", "del", *words[: 2 if words[0] == "unreachable" else 1])


def _route_altered(host: LabHost) -> None:
    for line in host.run("ip", "-4", "route", "show", "proto", "88").splitlines():
        if "nhid" in line:
            host.run("ip", "route", "replace", line.split()[0], "dev", "lo", "proto", "88")
            return


def _own_address_removed(host: LabHost) -> None:
    address = _json(host, "addr", "show", "cr0")[0]["addr_info"][0]
    host.run("ip", "addr", "del", f"{address['local']}/{address['prefixlen']}", "dev", "cr0")


def _forwarding_off(host: LabHost) -> None:
    host.run("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")


def _strict_filter(host: LabHost) -> None:
    host.run("sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1", "net.ipv4.conf.cr0.rp_filter=1")


def _conflist_deleted(host: LabHost) -> None:
    for file in host.conf_dir.glob("*.conflist"):
        file.unlink()


def _conflist_altered(host: LabHost) -> None:
    for file in host.conf_dir.glob("*.conflist"):
        file.write_text("{}")


def _carrier_lost(host: LabHost) -> None:
    """Until the kernel has forgotten the nexthops."""
    host.set_carrier(on=False)
    eventually(lambda: not host.run("ip", "nexthop", "show", "dev", "eth0"), "the kernel has removed the nexthops")
    host.set_carrier(on=True)


_NIC_DOWN_AND_UP = """
d=$(ip route show default dev eth0); e=$(ip -6 route show default dev eth0)
a=$(ip -6 addr show dev eth0 scope global | awk '/inet6/ {print $2}')
ip link set eth0 down; ip link set eth0 up
for x in $a; do ip -6 addr add $x dev eth0 nodad 2>/dev/null; done
ip route replace $d dev eth0; ip -6 route replace $e dev eth0
"""
_FORMER_LIFE = """
ip nexthop add id 4711 via 10.0.0.1 dev eth0 onlink protocol 88; ip route add 100.64.250.0/24 nhid 4711 proto 88
ip neigh add 100.64.250.0 lladdr 0a:58:64:40:fa:00 dev cr0 nud permanent
bridge fdb add 0a:58:64:40:fa:00 dev cr0 dst 10.0.0.250 self permanent; ip addr add 100.64.250.0/32 dev cr0
"""


def _unseen(script: str) -> Callable[[LabHost], object]:
    """Several steps of which the agent sees the end alone: it would be at work between them."""

    def do(host: LabHost) -> None:
        host.freeze_agent()
        host.run("sh", "-ec", script)
        host.thaw_agent()

    return do


CARRIER = "the NIC's carrier lost"
DAMAGE: dict[str, Callable[[LabHost], object]] = {
    "the VXLAN device deleted": lambda host: host.run("ip", "link", "del", "cr0"),
    "the VXLAN device down": lambda host: host.run("ip", "link", "set", "cr0", "down"),
    "the VXLAN device made anew with learning": _unseen(
        "ip link del cr0; ip link add cr0 type vxlan id 1 dev eth0 dstport 8472; ip link set cr0 up"
    ),
    "its MAC set": lambda host: host.run("ip", "link", "set", "cr0", "address", "02:00:00:00:00:01"),
    "its MTU set": lambda host: host.run("ip", "link", "set", "cr0", "mtu", "1400"),
    "an FDB entry removed": _fdb_removed,
    "an FDB entry altered": _fdb_altered,
    "a neighbour removed": _neighbour_removed,
    "all neighbours flushed": _neighbours_flushed,
    "a nexthop removed": _nexthop_removed,
    "a nexthop altered": _nexthop_altered,
    "all nexthops flushed": lambda host: host.run("ip", "nexthop", "flush", "protocol", "88"),
    "a route removed": _route_removed,
    "the guard route removed": _guard_removed,
    "a route altered": _route_altered,
    "all routes removed": _all_routes_removed,
    "the nftables table flushed": lambda host: host.run("nft", "flush", "table", "inet", "cloudroute"),
    "the nftables table deleted": lambda host: host.run("nft", "delete", "table", "inet", "cloudroute"),
    "the whole ruleset flushed": lambda host: host.run("nft", "flush", "ruleset"),
    "forwarding switched off": _forwarding_off,
    "the reverse path filter made strict": _strict_filter,
    "the conflist deleted": _conflist_deleted,
    "the conflist altered": _conflist_altered,
    "the VTEP's address removed": _own_address_removed,
    CARRIER: _carrier_lost,
    "the NIC down and up": lambda host: host.run("sh", "-c", _NIC_DOWN_AND_UP),
    "entries of a former life": _unseen(_FORMER_LIFE),
}

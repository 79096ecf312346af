"""Entries of one node and of its peers, which the tests put into the kernel."""

from __future__ import annotations

from cloudroute.dataplane import (
    GUARD_METRIC,
    MAIN,
    METRIC,
    TRANSIT_ID,
    TRANSIT_TABLE,
    AddressKey,
    Link,
    Nexthop,
    Route,
    RouteKey,
    Rule,
    Vxlan,
    family_of_bytes,
    packed,
)

VXLAN = Vxlan(1, 8472, packed("10.0.1.10"), "eth0")
LINKS = {"cr0": Link("vxlan", bytes.fromhex("0a580af40100"), mtu=8951, up=True, vxlan=VXLAN)}
SECOND = {"cr6": LINKS["cr0"]._replace(mtu=8931, vxlan=VXLAN._replace(local=packed("fd01::10")))}
"""The second tunnel, with VNI and port of the first."""
ADDRESSES = {
    AddressKey("cr0", packed("10.244.1.0"), 32): None,
    AddressKey("cr0", packed("fd00:1::"), 128): None,
}
MAC = bytes.fromhex("0a580af40700")
FDB = {MAC: packed("10.0.3.4")}
NEIGHBOURS = {packed("10.244.7.0"): MAC, packed("fe80::858:aff:fef4:700"): MAC}
MAC6 = bytes.fromhex("0a580af40800")
FDB6 = {MAC6: packed("fd01:3::4")}
NEIGHBOURS6 = {packed("10.244.8.0"): MAC6, packed("fe80::858:aff:fef4:800"): MAC6}
NEXTHOPS = {
    41: Nexthop(packed("10.244.7.0"), "cr0"),
    42: Nexthop(packed("fe80::858:aff:fef4:700"), "cr0"),
}
NATIVE = {41: Nexthop(packed("10.0.1.1"), "eth0"), 42: Nexthop(packed("fe80::1"), "eth0")}
ON_NIC = {43: Nexthop(packed("10.0.1.1"), "eth0"), 44: Nexthop(packed("fe80::1"), "eth0")}
"""Of a peer that is reached natively."""
SOURCES = {"ipv4": packed("10.244.1.0"), "ipv6": packed("fd00:1::")}


def key(cidr: str, metric: int | None = None) -> RouteKey:
    """Key of the route to a peer's pod CIDR, or of a route with another metric."""
    address, length = cidr.split("/")
    return RouteKey(
        packed(address), int(length), METRIC[family_of_bytes(packed(address))] if metric is None else metric
    )


V4, V6 = key("10.244.7.0/24"), key("fd00:7::/80")
ROUTES = {
    V4: Route(41, SOURCES["ipv4"]),
    V6: Route(42, SOURCES["ipv6"]),
    key("10.244.0.0/16", GUARD_METRIC): Route(0, b""),
    key("fd00::/16", GUARD_METRIC): Route(0, b""),
}
ROUTES_BY_NIC = {
    key("10.244.8.0/24"): Route(43, SOURCES["ipv4"]),
    key("fd00:8::/80"): Route(44, SOURCES["ipv6"]),
}

TRANSIT_HOPS = {id_ | TRANSIT_ID: hop for id_, hop in NEXTHOPS.items()}
TRANSIT_ROUTES = {
    one._replace(table=TRANSIT_TABLE): Route(to.nexthop and to.nexthop | TRANSIT_ID, to.source)
    for one, to in ROUTES.items()
}
"""A gateway's routes for packets in transit, to the destinations of `ROUTES`."""
RULES = {
    Rule(1087, "eth0", packed("10.244.1.0"), 24, MAIN): None,
    Rule(1087, "eth0", packed("fd00:1::"), 80, MAIN): None,
    Rule(1088, "eth0", packed("10.244.0.0"), 16, TRANSIT_TABLE): None,
    Rule(1088, "eth0", packed("fd00::"), 16, TRANSIT_TABLE): None,
}


class Peers:
    """The entries for `count` dual-stack peers."""

    def __init__(self, count: int) -> None:
        self.fdb: dict[bytes, bytes] = {}
        self.neighbours: dict[bytes, bytes] = {}
        self.nexthops: dict[int, Nexthop] = {}
        self.routes: dict[RouteKey, Route] = {}
        for number in range(count):
            low = number.to_bytes(2, "big")
            mac = b"\x0a\x58\x0b" + low + b"\0"
            vteps = (b"\x0b" + low + b"\0", b"\xfe\x80" + bytes(12) + low)
            cidrs = (vteps[0], b"\xfd\0" + low + bytes(12))
            self.fdb[mac] = b"\x0a\x01" + low
            for offset, vtep, cidr in zip((0, 1), vteps, cidrs, strict=True):
                family = family_of_bytes(vtep)
                self.neighbours[vtep] = mac
                self.nexthops[1000 + 2 * number + offset] = Nexthop(vtep, "cr0")
                self.routes[RouteKey(cidr, 24 if family == "ipv4" else 80, METRIC[family])] = Route(
                    1000 + 2 * number + offset, SOURCES[family]
                )

"""A Ruleset as nftables objects, in exactly the form in which `nft -j list` shows them.

The idea: one function gives the objects of the table, and reading is proved by it. A listed table equals a Ruleset only
if writing that Ruleset would give the same objects.

The objects without the elements of their sets are the `base`: it depends on little (the node's own pod CIDRs, the port,
the prefix lengths that occur), and seldom changes. Nodes that come and go only change elements.

Destinations are found by hashing: there is a set for each family and prefix length, and the address is masked before
it is looked up. That costs the same for 5 and for 5,000 networks, and allows overlaps, which interval sets refuse.

Pods are identified by their addresses, never by their device: a veth each, or a bridge of an earlier version.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from cloudroute.dataplane import TABLE, TUNNELS, Ruleset, TransitSource, family_of_bytes
from cloudroute.types import BITS, FAMILIES, Cidr, Family

Json: TypeAlias = dict[str, Any]
Object: TypeAlias = tuple[str, Json]
"""The kind ("table", "set", "counter", "chain", "rule"), and the body as nft lists it, without the handle and the
counts."""

RAW, FILTER, SRCNAT = -300, 0, 100
"""Priorities of base chains."""
UDP_HEADER_BYTES = 8
_TUNNELS: Json = {"set": list(TUNNELS)}
"""The VXLAN devices, whether they exist or not."""
VXLAN_FLAGS = 0x0800_0000
"""The first 32 bits of the header of VXLAN (RFC 7348): a VNI is given, all else is 0."""


TRANSIT: dict[TransitSource, str] = {"pod": "transit_pod", "vpc": "transit_vpc"}
"""Counters of packets in transit, by their source."""


class _Words(NamedTuple):
    digit: str
    """The family's digit in the names of sets."""
    protocol: str
    type: str
    socket: socket.AddressFamily
    multicast: Cidr


WORDS: dict[Family, _Words] = {
    "ipv4": _Words("4", "ip", "ipv4_addr", socket.AF_INET, Cidr.parse("224.0.0.0/4")),
    "ipv6": _Words("6", "ip6", "ipv6_addr", socket.AF_INET6, Cidr.parse("ff00::/8")),
}


def base(ruleset: Ruleset) -> list[Object]:
    """The table, its sets (empty), its counters, chains and rules, in the order in which they can be made."""
    return [
        ("table", {"family": "inet", "name": TABLE}),
        *_sets(ruleset),
        *_counters(ruleset),
        *_chains(ruleset),
        *_rules(ruleset),
    ]


def elements(ruleset: Ruleset) -> dict[str, set[bytes]]:
    """Elements of each set, by its name: addresses, or the first addresses of networks."""
    result: dict[str, set[bytes]] = {body["name"]: set() for _, body in _sets(ruleset)}
    for host in ruleset.hosts:
        result[set_name("hosts", family_of_bytes(host))].add(host)
    for purpose, cidrs in _destinations(ruleset).items():
        for cidr in cidrs:
            result[set_name(purpose, cidr.family, cidr.length)].add(_first(cidr))
    for cidr in ruleset.peers:
        for purpose in ("overlay", "routed"):
            result[set_name(purpose, cidr.family, cidr.length)].add(_first(cidr))
    return result


def set_name(purpose: str, family: Family, length: int | None = None) -> str:
    """The name of a set: "hosts6", "networks4_20"; `length` where its elements are networks.

    >>> set_name("overlay", "ipv4", 24)
    'overlay4_24'
    """
    return f"{purpose}{WORDS[family].digit}{'' if length is None else f'_{length}'}"


def text(address: bytes) -> str:
    """An address as nft writes it."""
    return socket.inet_ntop(WORDS[family_of_bytes(address)].socket, address)


def _first(cidr: Cidr) -> bytes:
    return cidr.base.to_bytes(BITS[cidr.family] // 8, "big")


def _sets(ruleset: Ruleset) -> Iterator[Object]:
    for family in FAMILIES:
        yield _set(set_name("hosts", family), family)
    for purpose, cidrs in _destinations(ruleset).items():
        for family, length in _lengths(cidrs):
            yield _set(set_name(purpose, family, length), family)
    for family, length in _lengths(ruleset.peers):
        for purpose in ("overlay", "routed"):
            yield _set(set_name(purpose, family, length), family, stmt=[{"counter": None}])


def _destinations(ruleset: Ruleset) -> dict[str, frozenset[Cidr]]:
    """Networks that decide whether a pod's packet keeps its source address, by the purpose of their sets."""
    return {"masqueraded": ruleset.masqueraded, "networks": ruleset.networks}


def _set(name: str, family: Family, **more: Any) -> Object:
    return "set", {"family": "inet", "name": name, "table": TABLE, "type": WORDS[family].type, **more}


def _lengths(cidrs: Iterable[Cidr]) -> list[tuple[Family, int]]:
    return sorted({(cidr.family, cidr.length) for cidr in cidrs})


def _counters(ruleset: Ruleset) -> Iterator[Object]:
    if ruleset.transit:
        for name in TRANSIT.values():
            yield "counter", {"family": "inet", "name": name, "table": TABLE}


def _chains(ruleset: Ruleset) -> Iterator[Object]:
    yield _chain("prerouting", type="filter", hook="prerouting", prio=RAW, policy="accept")
    yield _chain("output", type="filter", hook="output", prio=RAW, policy="accept")
    yield _chain("received")
    if ruleset.transit:
        yield _chain("transit")
    yield _chain("count", type="filter", hook="postrouting", prio=FILTER, policy="accept")
    yield _chain("leaving")
    # The chain exists without masquerade too, and then no rule jumps to it: a new process reads the pod CIDRs from it,
    # so that the wanted table equals the listed one.
    masquerade = {"type": "nat", "hook": "postrouting", "prio": SRCNAT, "policy": "accept"}
    yield _chain("postrouting", **(masquerade if ruleset.masquerade else {}))


def _chain(name: str, **hook: Any) -> Object:
    return "chain", {"family": "inet", "table": TABLE, "name": name, **hook}


def _rules(ruleset: Ruleset) -> Iterator[Object]:
    # Matched by the VXLAN header too: masquerade may give a pod's packets any source port, also this one, and the
    # answers to that port must be tracked to reach the pod.
    tunnel = (
        _is({"payload": {"protocol": "udp", "field": "dport"}}, ruleset.port),
        _is({"payload": {"base": "th", "offset": 8 * UDP_HEADER_BYTES, "len": 32}}, VXLAN_FLAGS),
    )
    yield _rule("prerouting", *tunnel, {"goto": {"target": "received"}})
    yield from _transit(ruleset)
    yield _rule("output", *tunnel, {"notrack": None})
    # No pod is the source of a tunnel: packets of pods to that port are tracked and masqueraded like all others.
    for pods in ruleset.pods:
        yield _rule("received", _inside("saddr", pods), {"return": None})
    yield _rule("received", {"notrack": None})
    yield from _counting(ruleset)
    yield from _leaving(ruleset)
    for pods in ruleset.pods:
        yield _rule("postrouting", _inside("saddr", pods), {"goto": {"target": "leaving"}})


def _transit(ruleset: Ruleset) -> Iterator[Object]:
    """Rules for packets that come in by a gateway's NIC for pods of other nodes.

    Their answers take another way. Connection tracking would see one direction alone, and take later packets of it for
    invalid, which kube-proxy drops.
    """
    pools = sorted(ruleset.transit)
    for pool in pools:
        by_nic = _is(_meta("iifname"), ruleset.interface)
        yield _rule("prerouting", by_nic, _inside("daddr", pool), {"goto": {"target": "transit"}})
    if pools:
        for pods in ruleset.pods:
            yield _rule("transit", _inside("daddr", pods), {"return": None})
        for pool in pools:
            count = {"counter": TRANSIT["pod"]}
            yield _rule("transit", _inside("saddr", pool), count, {"notrack": None}, {"return": None})
        yield _rule("transit", {"counter": TRANSIT["vpc"]}, {"notrack": None})


def _counting(ruleset: Ruleset) -> Iterator[Object]:
    """Rules without a verdict that count bytes: a successful lookup adds to the counter of the element."""
    for pods in ruleset.pods:  # about half of all packets, which need no lookup
        yield _rule("count", _inside("daddr", pods), {"return": None})
    for family, length in _lengths(ruleset.peers):
        for operator, purpose in (("==", "overlay"), ("!=", "routed")):
            yield _rule("count", _is(_meta("oifname"), _TUNNELS, operator), _found_in(purpose, family, length))


def _leaving(ruleset: Ruleset) -> Iterator[Object]:
    """Rules that decide whether a packet of a pod that leaves the node keeps its source address."""
    masquerade = {"masquerade": {"flags": "fully-random"}}
    for family in FAMILIES:
        yield _rule("leaving", _inside("daddr", WORDS[family].multicast), {"return": None})
    if ruleset.masquerade:
        for family, length in _lengths(ruleset.masqueraded):
            yield _rule("leaving", _found_in("masqueraded", family, length), masquerade)
    yield _rule("leaving", _is(_meta("oifname"), _TUNNELS), {"return": None})
    for family in FAMILIES:
        yield _rule("leaving", _is(_address(family, "daddr"), f"@{set_name('hosts', family)}"), {"return": None})
    for family, length in _lengths(ruleset.networks):
        yield _rule("leaving", _found_in("networks", family, length), {"return": None})
    if ruleset.masquerade:
        yield _rule("leaving", masquerade)


def _found_in(purpose: str, family: Family, length: int) -> Json:
    """Match if the destination's network of that length is in the set."""
    return _is(_masked(family, length), f"@{set_name(purpose, family, length)}")


def _rule(chain: str, *expressions: Json) -> Object:
    return "rule", {"family": "inet", "table": TABLE, "chain": chain, "expr": list(expressions)}


def _is(left: Json, right: Any, operator: str = "==") -> Json:
    return {"match": {"op": operator, "left": left, "right": right}}


def _meta(key: str) -> Json:
    return {"meta": {"key": key}}


def _address(family: Family, field: str) -> Json:
    return {"payload": {"protocol": WORDS[family].protocol, "field": field}}


def _inside(field: str, cidr: Cidr) -> Json:
    first = text(_first(cidr))
    whole = cidr.length == BITS[cidr.family]
    return _is(_address(cidr.family, field), first if whole else {"prefix": {"addr": first, "len": cidr.length}})


def _masked(family: Family, length: int) -> Json:
    """The packet's destination masked to that prefix length. nft drops a mask of ones, so none is written."""
    bits, destination = BITS[family], _address(family, "daddr")
    if length == bits:
        return destination
    mask = ((1 << length) - 1) << (bits - length)
    return {"&": [destination, text(mask.to_bytes(bits // 8, "big"))]}

"""The output of `nft -j list table` as a Ruleset and as counters.

The idea: guess the Ruleset from the few objects that depend on it, then prove it: writing it must give exactly the
listed objects. So no alteration is overlooked, and this code needs no list of possible alterations.

The listing of 5,000 peers has 30,000 elements. They are reduced while the JSON is being decoded, one at a time: as
dicts they would take 20 MB.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from cloudroute.adapters.nft.ruleset import TRANSIT, WORDS, Json, Object, base, elements, set_name
from cloudroute.dataplane import PeerBytes, Ruleset, TransitSource, family_of_bytes
from cloudroute.types import Cidr

ALTERED = Ruleset(masquerade=False, pods=(), port=0)
"""A table that others have altered, so that no Ruleset gives it. Equal to no wanted one, since no port is 0."""

_OF_LENGTH = re.compile(r"(masqueraded|networks|overlay|routed)[46]_(\d{1,3})")
_SOCKET = {words.type: words.socket for words in WORDS.values()}


class Listing(NamedTuple):
    """The objects of the table without the elements of its sets and the counts of its counters.

    `elements` are by the set's name, with their bytes; `packets` by the counter's.
    """

    objects: list[Object]
    elements: dict[str, dict[bytes, int]]
    packets: dict[str, int]


def parse(raw: bytes) -> Listing:
    """Parse nft's output. Raises ValueError where it is no listing."""
    result = Listing([], {}, {})
    try:
        for entry in json.loads(raw, object_hook=_reduce)["nftables"]:
            ((kind, body),) = entry.items()
            if kind != "metainfo":
                _take(kind, body, result)
    except (LookupError, TypeError, AttributeError, OSError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return result


def ruleset(raw: bytes) -> Ruleset:
    """The Ruleset that the table was made from; ALTERED if there is none, or if nft's output is no listing."""
    try:
        listing = parse(raw)
        guess = _guess(listing)
        same = _arranged(base(guess)) == _arranged(listing.objects) and elements(guess) == {
            name: found.keys() for name, found in listing.elements.items()
        }
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return ALTERED  # other objects are in the places of the guess
    return guess if same else ALTERED


def peer_bytes(raw: bytes) -> list[PeerBytes]:
    """The counters, even of an altered table. Raises ValueError where `raw` is no listing."""
    listing = parse(raw)
    return [
        PeerBytes(cidr, count, listing.elements.get(set_name("routed", cidr.family, cidr.length), {}).get(first, 0))
        for cidr, first, count in _networks(listing, "overlay")
    ]


def transit_packets(raw: bytes) -> dict[TransitSource, int]:
    """The counters of packets in transit, {} where there are none. Raises ValueError where `raw` is no listing."""
    packets = parse(raw).packets
    return {source: packets[name] for source, name in TRANSIT.items() if name in packets}


def _reduce(raw: Json) -> Any:
    """Reduce an element with a counter to (address, bytes); any other stays as it is, and so differs from ours."""
    if raw.keys() == {"elem"}:
        return raw["elem"]
    if raw.keys() == {"val", "counter"}:
        return raw["val"], raw["counter"]["bytes"]
    return raw


def _take(kind: str, body: Json, into: Listing) -> None:
    """Add an object. Elements that are no addresses stay in their set, which so differs from ours."""
    body.pop("handle", None)
    into.objects.append((kind, body))
    if kind == "counter":
        into.packets[body["name"]] = body.pop("packets")
        del body["bytes"]
    if kind != "set":
        return
    family = _SOCKET.get(body["type"]) if isinstance(body["type"], str) else None
    odd, found = [], into.elements.setdefault(body["name"], {})
    for element in body.pop("elem", ()):
        address, count = element if isinstance(element, tuple) else (element, 0)
        if family is None or not isinstance(address, str):
            odd.append(element)
        else:
            found[socket.inet_pton(family, address)] = count
    if odd:
        body["elem"] = odd


def _guess(listing: Listing) -> Ruleset:
    rules = [body for kind, body in listing.objects if kind == "rule"]
    hosts = [listing.elements[set_name("hosts", family)] for family in WORDS]
    (output,) = (body["expr"] for body in rules if body["chain"] == "output")
    transit = [body["expr"] for body in rules if body["expr"][-1] == {"goto": {"target": "transit"}}]
    return Ruleset(
        masquerade=any(kind == "chain" and body.get("type") == "nat" for kind, body in listing.objects),
        pods=tuple(_cidr(body["expr"][0]["match"]["right"]) for body in rules if body["chain"] == "postrouting"),
        port=int(output[0]["match"]["right"]),
        masqueraded=frozenset(cidr for cidr, _, _ in _networks(listing, "masqueraded")),
        networks=frozenset(cidr for cidr, _, _ in _networks(listing, "networks")),
        hosts=frozenset().union(*hosts),
        peers=frozenset(cidr for cidr, _, _ in _networks(listing, "overlay")),
        transit=frozenset(_cidr(to["match"]["right"]) for _, to, _ in transit),
        interface=str(transit[0][0]["match"]["right"]) if transit else "",
    )


def _networks(listing: Listing, purpose: str) -> Iterator[tuple[Cidr, bytes, int]]:
    """The elements of all sets with that purpose: network, first address, counted bytes."""
    for name, found in listing.elements.items():
        named = _OF_LENGTH.fullmatch(name)
        if named and named[1] == purpose:
            for first, count in found.items():
                yield Cidr(family_of_bytes(first), int.from_bytes(first, "big"), int(named[2])), first, count


def _cidr(right: Any) -> Cidr:
    prefix = right["prefix"] if isinstance(right, dict) else None
    return Cidr.parse(f"{prefix['addr']}/{prefix['len']}" if prefix else right)


def _arranged(objects: list[Object]) -> list[Object]:
    """Sort the objects into one order, independent of their source; rules of one chain keep theirs."""
    return sorted(objects, key=lambda item: (item[0], item[1].get("chain") or item[1].get("name", "")))

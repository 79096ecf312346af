"""What `nft -j list table` shows, as a Ruleset and as counters.

The idea: guess the Ruleset from the few places where it shows, then prove it: the objects that it would be made of must
be the ones listed. So no alteration is overlooked, and nothing here needs to know what can be altered.

The listing of 5,000 peers has 30,000 elements. They are reduced while the JSON is being decoded, one at a time: as
dicts they would take 20 MB.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from cloudroute.adapters.nft.ruleset import WORDS, Json, Object, base, elements, set_name
from cloudroute.dataplane import PeerBytes, Ruleset, family_of_bytes
from cloudroute.types import Cidr

ALTERED = Ruleset(masquerade=False, pods=(), port=0)
"""A table that is no Ruleset of ours: others have altered it. Equal to none that is wanted, since no port is 0."""

_OF_LENGTH = re.compile(r"(masqueraded|networks|overlay|routed)[46]_(\d{1,3})")
_SOCKET = {words.type: words.socket for words in WORDS.values()}


class Listing(NamedTuple):
    """The objects of the table without the elements of its sets; and these, by the set's name, with their bytes."""

    objects: list[Object]
    elements: dict[str, dict[bytes, int]]


def parse(raw: bytes) -> Listing:
    """Read what nft printed. Raises ValueError where that is not a listing."""
    result = Listing([], {})
    try:
        for entry in json.loads(raw, object_hook=_reduce)["nftables"]:
            ((kind, body),) = entry.items()
            if kind != "metainfo":
                _take(kind, body, result)
    except (LookupError, TypeError, AttributeError, OSError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return result


def ruleset(raw: bytes) -> Ruleset:
    """The Ruleset that the table was made from, or ALTERED, also where nft printed what is no listing."""
    try:
        listing = parse(raw)
        guess = _guess(listing)
        same = _arranged(base(guess)) == _arranged(listing.objects) and elements(guess) == {
            name: found.keys() for name, found in listing.elements.items()
        }
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return ALTERED  # something stands where the guess was to be found
    return guess if same else ALTERED


def peer_bytes(raw: bytes) -> list[PeerBytes]:
    """The counters, whatever else has become of the table. Raises ValueError where `raw` is no listing."""
    listing = parse(raw)
    return [
        PeerBytes(cidr, count, listing.elements.get(set_name("routed", cidr.family, cidr.length), {}).get(first, 0))
        for cidr, first, count in _networks(listing, "overlay")
    ]


def _reduce(raw: Json) -> Any:
    """An element with a counter becomes (address, bytes); one with anything else stays as it is, and unequal."""
    if raw.keys() == {"elem"}:
        return raw["elem"]
    if raw.keys() == {"val", "counter"}:
        return raw["val"], raw["counter"]["bytes"]
    return raw


def _take(kind: str, body: Json, into: Listing) -> None:
    """Add an object. Elements that are no addresses, as ours are, stay in their set, which is then unequal."""
    body.pop("handle", None)
    into.objects.append((kind, body))
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
    return Ruleset(
        masquerade=any(kind == "chain" and body.get("type") == "nat" for kind, body in listing.objects),
        pods=tuple(_cidr(body["expr"][0]["match"]["right"]) for body in rules if body["chain"] == "postrouting"),
        port=int(output[0]["match"]["right"]),
        masqueraded=frozenset(cidr for cidr, _, _ in _networks(listing, "masqueraded")),
        networks=frozenset(cidr for cidr, _, _ in _networks(listing, "networks")),
        hosts=frozenset().union(*hosts),
        peers=frozenset(cidr for cidr, _, _ in _networks(listing, "overlay")),
    )


def _networks(listing: Listing, purpose: str) -> Iterator[tuple[Cidr, bytes, int]]:
    """The elements of all sets of that purpose: the network, its first address, its bytes."""
    for name, found in listing.elements.items():
        named = _OF_LENGTH.fullmatch(name)
        if named and named[1] == purpose:
            for first, count in found.items():
                yield Cidr(family_of_bytes(first), int.from_bytes(first, "big"), int(named[2])), first, count


def _cidr(right: Any) -> Cidr:
    prefix = right["prefix"] if isinstance(right, dict) else None
    return Cidr.parse(f"{prefix['addr']}/{prefix['len']}" if prefix else right)


def _arranged(objects: list[Object]) -> list[Object]:
    """In an order that does not depend on who listed them; rules of one chain stay as they are."""
    return sorted(objects, key=lambda item: (item[0], item[1].get("chain") or item[1].get("name", "")))

"""Parsing of messages: attribute by attribute, and by the layout that messages of one length share."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from cloudroute.adapters.netlink import wire

ATTRIBUTES = st.dictionaries(st.integers(1, 9), st.binary(max_size=9), max_size=5)


@given(st.lists(ATTRIBUTES, max_size=8))
def test_a_reader_finds_what_a_walk_finds_whatever_came_before(messages: list[dict[int, bytes]]) -> None:
    reader = wire.Reader("BxH", {3: "s", 1: "s"})
    for found in messages:
        body = struct.pack("=BxH", 7, 300) + b"".join(wire.attribute(kind, value) for kind, value in found.items())
        data = b"before" + wire.message(28, 0, 1, body)
        assert wire.attributes(data, 26) == found
        assert reader(data, 6, len(data) - 6) == (7, 300, found.get(3, b""), found.get(1, b""))


def test_a_number_is_read_as_one_and_its_absence_as_nothing() -> None:
    reader = wire.Reader("", {5: "I", 6: "s"})
    with_it = wire.message(28, 0, 1, wire.number(5, 70_000) + wire.attribute(6, b"abcd"))
    without = wire.message(28, 0, 1, wire.number(4, 70_000) + wire.attribute(6, b"abcd"))
    assert reader(with_it, 0, len(with_it)) == (70_000, b"abcd")
    assert reader(without, 0, len(without)) == (b"", b"abcd")
    assert reader(with_it, 0, len(with_it)) == (70_000, b"abcd")

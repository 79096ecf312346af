"""Packets that a network ACL drops: by EC2's own rule, evaluated for one packet, and by doctor's for ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudroute.core.explain.doctor.acls import Refusal, refused
from cloudroute.core.explain.doctor.facts import AclRule
from cloudroute.types import Cidr, Family

POOL, POOL6 = Cidr.parse("100.64.0.0/16"), Cidr.parse("fd64::/64")


def rule(number: int, action: str, cidr: str, first: int = 0, last: int = 65535) -> AclRule:
    return AclRule(
        number, egress=False, allow=action == "allow", protocol="6", ports=(first, last), cidr=Cidr.parse(cidr)
    )


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ([], ["100.64.0.0/16 0-65535 by 0"]),
        ([rule(100, "allow", "0.0.0.0/0")], []),
        ([rule(100, "allow", "::/0")], ["100.64.0.0/16 0-65535 by 0"]),
        ([rule(90, "allow", "100.64.0.0/10"), rule(100, "deny", "0.0.0.0/0")], []),
        ([rule(90, "deny", "100.64.0.0/10"), rule(100, "allow", "0.0.0.0/0")], ["100.64.0.0/16 0-65535 by 90"]),
        ([rule(90, "deny", "0.0.0.0/0", 22, 22), rule(100, "allow", "0.0.0.0/0")], ["100.64.0.0/16 22-22 by 90"]),
        (
            [rule(90, "allow", "100.64.0.0/17"), rule(32767, "deny", "0.0.0.0/0")],
            ["100.64.128.0/17 0-65535 by 0"],
        ),
        (
            [rule(90, "allow", "100.64.0.0/16", 443, 443), rule(95, "allow", "100.64.0.0/16", 1024, 65535)],
            ["100.64.0.0/16 0-442 by 0", "100.64.0.0/16 444-1023 by 0"],
        ),
    ],
)
def test_the_first_rule_that_matches_decides(rules: list[AclRule], left: list[str]) -> None:
    """By number, for each part of the range; what no rule allows is refused."""
    found = [f"{one.cidr} {one.first}-{one.last} by {one.rule}" for one in refused(rules, POOL, 0, 65535)]
    assert found == left


def dropped(rules: list[AclRule], family: Family, address: int, port: int) -> bool:
    """Network ACL rules, Amazon VPC User Guide: in the order of numbers, and none further once one matches."""
    packet = Cidr(family, address, 32 if family == "ipv4" else 128)
    for one in rules:
        if one.cidr.covers(packet) and one.ports[0] <= port <= one.ports[1]:
            return not one.allow
    return True


@st.composite
def rules_within(draw: st.DrawFn, pool: Cidr) -> list[AclRule]:
    """Rules for parts of the pool, of all of it, and of more."""
    made = []
    for number in range(draw(st.integers(0, 5))):
        length = draw(st.integers(pool.length - 2, pool.length + 6))
        size = Cidr(pool.family, 0, length).size
        base = (pool.base + draw(st.integers(0, pool.size - 1))) // size * size
        first, last = sorted((draw(st.integers(0, 65535)), draw(st.integers(0, 65535))))
        made.append(
            AclRule(
                number + 1,
                egress=False,
                allow=draw(st.booleans()),
                protocol="6",
                ports=(first, last),
                cidr=Cidr(pool.family, base, length),
            )
        )
    return made


@pytest.mark.parametrize("pool", [POOL, POOL6], ids=str)
@given(data=st.data())
def test_ranges_are_judged_as_each_packet_is(pool: Cidr, data: st.DataObject) -> None:
    """A packet is dropped exactly if its address and port are in one of the refused parts, and in no two of them."""
    rules = data.draw(rules_within(pool))
    parts = list(refused(rules, pool, 0, 65535))
    edges = [edge for one in rules for port in one.ports for edge in (port - 1, port, port + 1) if 0 <= edge <= 65535]
    port = data.draw(st.sampled_from([0, 65535, *edges]) | st.integers(0, 65535))
    starts = [one.cidr.base for one in rules] + [one.cidr.end - 1 for one in rules]
    inside = [address for address in starts if pool.base <= address < pool.end]
    address = data.draw(st.sampled_from([pool.base, *inside]) | st.integers(pool.base, pool.end - 1))
    hits = [one for one in parts if _holds(one, address, port)]
    assert len(hits) == dropped(rules, pool.family, address, port)


def _holds(part: Refusal, address: int, port: int) -> bool:
    return part.cidr.base <= address < part.cidr.end and part.first <= port <= part.last

"""The nftables table is written, read back as written, and changed by as few elements as possible."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudroute.adapters.nft.client import Nft
from cloudroute.adapters.nft.command import Command
from cloudroute.dataplane import TABLE, Ruleset, packed
from cloudroute.types import BITS, FAMILIES, Cidr
from tests.adapters.nft.kit import GATEWAY_RULESET, RULESET, cidrs
from tests.hosts import Namespace


@st.composite
def networks(draw: st.DrawFn) -> Cidr:
    family = draw(st.sampled_from(FAMILIES))
    length = draw(st.integers(0, BITS[family]))
    bits = draw(st.integers(0, (1 << length) - 1))
    return Cidr(family, bits << (BITS[family] - length), length)


addresses = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))
transits = st.one_of(
    st.just((frozenset[Cidr](), "")), st.tuples(st.frozensets(networks(), min_size=1, max_size=3), st.just("eth0"))
)
rulesets = st.builds(
    lambda transit, **fields: Ruleset(**fields, transit=transit[0], interface=transit[1]),
    transits,
    masquerade=st.booleans(),
    pods=st.lists(networks(), max_size=3, unique=True).map(tuple),
    masqueraded=st.frozensets(networks(), max_size=5),
    networks=st.frozensets(networks(), max_size=5),
    hosts=st.frozensets(addresses, max_size=5),
    peers=st.frozensets(networks(), max_size=5),
    port=st.integers(1, 65535),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rulesets, min_size=1, max_size=3))
def test_any_ruleset_is_read_back_by_another_process(nft: Nft, wanted: list[Ruleset]) -> None:
    """Also overlapping networks, masks of no and of all bits, and whatever table was there before."""
    for ruleset in wanted:
        assert nft.table.write({TABLE: ruleset}, ()) == {}
        assert Nft().table.read(()) == {TABLE: ruleset}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_elements_come_and_go_in_place(nft: Nft, data: st.DataObject) -> None:
    """Any change of the members of sets ends in the wanted table, and redefines nothing."""
    fixed = cidrs("10.244.0.0/24", "fd00::/80")
    more = [Cidr("ipv4", (10 << 24) + (1 << 16) + (i << 8), 24) for i in range(5)]
    more += [Cidr("ipv6", (0xFD << 120) + ((i + 1) << 48), 80) for i in range(5)]
    subsets = st.frozensets(st.sampled_from(more)).map(fixed.__or__)
    nft.table.write({TABLE: RULESET._replace(peers=fixed, networks=fixed)}, ())
    before = handles()
    for different in (b"\1\1\1\1", b"\2\2\2\2"):
        hosts = data.draw(st.frozensets(addresses, max_size=5)) ^ {different}
        wanted = RULESET._replace(peers=data.draw(subsets), networks=data.draw(subsets), hosts=hosts)
        assert nft.table.write({TABLE: wanted}, ()) == {}
        assert Nft().table.read(()) == {TABLE: wanted}
        assert handles() == before


def test_nothing_is_there_before_the_first_write(nft: Nft) -> None:
    """A namespace without the table reads as empty, counts nothing, and has nothing to drop."""
    assert nft.table.read(()) == {}
    assert nft.peer_bytes() == ()
    assert nft.table.write({}, (TABLE,)) == {}
    assert nft.table.read(()) == {}


def test_a_node_becomes_a_gateway_and_is_none_again(nft: Nft) -> None:
    """The table of a node that is no gateway has nothing of it."""
    assert nft.table.write({TABLE: RULESET}, ()) == {}
    ordinary = shape()
    assert nft.table.write({TABLE: GATEWAY_RULESET}, ()) == {}
    assert nft.table.read(()) == {TABLE: GATEWAY_RULESET}
    assert "transit" in shape()
    assert nft.table.write({TABLE: RULESET}, ()) == {}
    assert shape() == ordinary


def test_the_table_is_dropped(nft: Nft, host: Namespace) -> None:
    """A drop leaves nothing of ours."""
    nft.table.write({TABLE: RULESET}, ())
    assert nft.table.write({}, (TABLE,)) == {}
    assert nft.table.read(()) == {}
    assert host.run("nft", "list ruleset") == ""


def test_foreign_tables_are_never_touched(nft: Nft, host: Namespace) -> None:
    """Definition, change, redefinition and drop leave all other tables as they were, even of our name."""
    for family, table in (("ip", "nat"), ("ip", "kube-proxy"), ("ip", "cloudroute"), ("inet", "cloudroute2")):
        host.run(
            "nft",
            f"add table {family} {table}; add chain {family} {table} CNI-1; add rule {family} {table} CNI-1 counter",
        )
    before = host.run("nft", "list ruleset")
    nft.table.write({TABLE: RULESET}, ())
    nft.table.write({TABLE: RULESET._replace(hosts=frozenset())}, ())
    nft.table.write({TABLE: RULESET._replace(port=9)}, ())
    nft.table.write({}, (TABLE,))
    assert host.run("nft", "list ruleset") == before


def test_a_change_of_elements_keeps_the_counters_of_others(nft: Nft, host: Namespace) -> None:
    """A peer comes and one goes: the counter of the remaining one goes on. A redefinition resets it."""
    nft.table.write({TABLE: RULESET}, ())
    host.run("nft", f"delete element inet {TABLE} routed4_24 {{ 10.244.8.0 }}")
    host.run("nft", f"add element inet {TABLE} routed4_24 {{ 10.244.8.0 counter packets 3 bytes 300 }}")
    wanted = RULESET._replace(peers=RULESET.peers - cidrs("10.244.9.0/24") | cidrs("10.244.10.0/24"))
    nft.table.write({TABLE: wanted}, ())
    counted = {str(peer.cidr): (peer.overlay, peer.routed) for peer in nft.peer_bytes()}
    assert counted["10.244.8.0/24"] == (0, 300)
    assert counted.keys() == {str(cidr) for cidr in wanted.peers}
    nft.table.write({TABLE: wanted._replace(port=4789)}, ())
    assert {(peer.overlay, peer.routed) for peer in nft.peer_bytes()} == {(0, 0)}


@pytest.mark.parametrize(
    "done_by_others",
    [
        f"delete table inet {TABLE}",
        f"delete element inet {TABLE} hosts4 {{ 10.0.3.4 }}",
        f"flush ruleset; add table inet {TABLE}",
    ],
)
def test_objects_that_others_removed_since_the_last_read_are_defined_in_full(
    nft: Nft, host: Namespace, done_by_others: str
) -> None:
    """An element that is to be deleted is gone, or its table: the write ends in the wanted table all the same."""
    nft.table.write({TABLE: RULESET}, ())
    host.run("nft", done_by_others)
    wanted = RULESET._replace(hosts=frozenset({packed("10.0.3.5")}))
    assert nft.table.write({TABLE: wanted}, ()) == {}
    assert nft.table.read(()) == {TABLE: wanted}


def test_the_same_written_again_is_there_again(nft: Nft, host: Namespace) -> None:
    """A request to write the same again means that the table is gone."""
    nft.table.write({TABLE: RULESET}, ())
    host.run("nft", f"delete table inet {TABLE}")
    assert nft.table.write({TABLE: RULESET}, ()) == {}
    assert nft.table.read(()) == {TABLE: RULESET}


def test_five_thousand_peers(nft: Nft) -> None:
    """All are written, read and counted, and one that comes is one element in each of its sets."""
    peers = [Cidr("ipv4", (10 << 24) + (i << 8), 24) for i in range(5000)]
    peers += [Cidr("ipv6", (0xFD << 120) + (i << 48), 80) for i in range(5000)]
    hosts = [i.to_bytes(4, "big") for i in range(5000)] + [i.to_bytes(16, "big") for i in range(5000)]
    wanted = RULESET._replace(hosts=frozenset(hosts[1:]), peers=frozenset(peers[1:]))
    assert nft.table.write({TABLE: wanted}, ()) == {}
    before = handles()
    wanted = RULESET._replace(hosts=frozenset(hosts), peers=frozenset(peers))
    assert nft.table.write({TABLE: wanted}, ()) == {}
    assert nft.table.read(()) == {TABLE: wanted}
    assert handles() == before
    assert {peer.cidr for peer in nft.peer_bytes()} == wanted.peers


def shape() -> str:
    """The table as people see it."""
    return subprocess.run(["nft", "list", "table", "inet", TABLE], check=True, capture_output=True, text=True).stdout


def handles() -> list[tuple[str, int]]:
    """Return kind and handle of each object: an object that is made anew has a new handle."""
    raw = Command().listing()
    assert raw
    objects: list[dict[str, Any]] = json.loads(raw)["nftables"]
    return [(kind, body["handle"]) for entry in objects for kind, body in entry.items() if kind != "metainfo"]

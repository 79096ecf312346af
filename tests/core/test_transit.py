"""A gateway's entries for packets in transit: a route to each peer that is never native, and rules that lead there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudroute.core.node.desired import DesiredState, DesiredStateBuilder
from cloudroute.core.node.peers import base
from cloudroute.dataplane import (
    GUARD_METRIC,
    MAIN,
    TABLE,
    TRANSIT_ID,
    TRANSIT_TABLE,
    VTEP,
    VTEP6,
    Kind,
    Nexthop,
    Route,
    RouteKey,
    Rule,
    packed,
)
from cloudroute.types import Aggregate, Cidr, Family, FamilyUse, NodeRoute, RouteTableObject
from tests.agent.in_memory import HOST, POLICY, POOLS, TABLES, node_route, route_table_object

OWN = node_route(1, TABLES, gateway=True)
NATIVE, OVERLAY, DIRECT = node_route(2, TABLES), node_route(3), node_route(4, TABLES)
"""Peers by their path to n1. The direct one is on its subnet, and native as well."""
Transit = dict[str, Nexthop | None]


def compose(*peers: NodeRoute, own: NodeRoute = OWN) -> DesiredState:
    return DesiredStateBuilder(POLICY).compose(own, {route.name: route for route in (own, *peers)}, {}, HOST)


def by_table(wanted: DesiredState, table: int) -> dict[RouteKey, Route]:
    return {key: to for key, to in wanted.tables["routes"].items() if key.table == table}


def transit(wanted: DesiredState) -> Transit:
    """Nexthop of each route in the transit table, by its destination; None: `unreachable`."""
    hops = wanted.tables["nexthops"]
    return {
        f"{key.destination.hex()}/{key.length}": hops[to.nexthop] if to.nexthop else None
        for key, to in by_table(wanted, TRANSIT_TABLE).items()
    }


def at(cidr: Cidr) -> str:
    return f"{base(cidr).hex()}/{cidr.length}"


def test_a_gateway_sends_to_each_peer_directly_on_its_subnet_and_by_the_overlay_elsewhere() -> None:
    """Also to peers whose path is native, in both families. Pods of no node are unreachable; its own are not there."""
    wanted = compose(NATIVE, OVERLAY, DIRECT)
    mac = {route.name: wanted.tables["neighbours"][packed(f"100.64.{route.name[1:]}.0")] for route in (NATIVE, OVERLAY)}
    link_local = {address: by for address, by in wanted.tables["neighbours"].items() if len(address) == 16}
    by_mac = {by: address for address, by in link_local.items()}
    assert transit(wanted) == {
        at(NATIVE.spec.pod_cidrs[0]): Nexthop(packed("100.64.2.0"), VTEP),
        at(NATIVE.spec.pod_cidrs[1]): Nexthop(by_mac[mac["n2"]], VTEP),
        at(OVERLAY.spec.pod_cidrs[0]): Nexthop(packed("100.64.3.0"), VTEP),
        at(OVERLAY.spec.pod_cidrs[1]): Nexthop(by_mac[mac["n3"]], VTEP),
        at(DIRECT.spec.pod_cidrs[0]): Nexthop(packed("10.0.0.4"), "eth0"),
        at(DIRECT.spec.pod_cidrs[1]): Nexthop(packed("fd01::4"), "eth0"),
        at(POOLS[0]): None,
        at(POOLS[1]): None,
    }


def test_packets_for_own_pods_use_the_main_table_and_others_that_of_transit() -> None:
    wanted = compose(NATIVE)
    assert list(wanted.tables["rules"]) == [
        *(Rule(1087, "eth0", base(cidr), cidr.length, MAIN) for cidr in OWN.spec.pod_cidrs),
        *(Rule(1088, "eth0", base(pool), pool.length, TRANSIT_TABLE) for pool in POOLS),
    ]


def test_transit_is_counted_and_not_tracked_and_sends_no_redirects() -> None:
    wanted = compose(NATIVE)
    ruleset, sysctls = wanted.tables["nftables"][TABLE], wanted.tables["sysctls"]
    assert (ruleset.transit, ruleset.interface) == (frozenset(POOLS), "eth0")
    assert {path: value for path, value in sysctls.items() if "redirects" in path} == {
        "net/ipv4/conf/all/send_redirects": "0",
        "net/ipv4/conf/eth0/send_redirects": "0",
    }


def without_transit(tables: Any) -> dict[Kind, dict[Any, Any]]:
    """The tables without all that a gateway has more."""
    left = {kind: dict(table) for kind, table in tables.items()}
    left["rules"] = {}
    left["routes"] = {key: to for key, to in left["routes"].items() if key.table == MAIN}
    left["nexthops"] = {id_: hop for id_, hop in left["nexthops"].items() if not id_ & TRANSIT_ID}
    left["sysctls"] = {path: value for path, value in left["sysctls"].items() if "redirects" not in path}
    left["nftables"] = {TABLE: left["nftables"][TABLE]._replace(transit=frozenset(), interface="")}
    return left


NATIVES = st.lists(st.sampled_from(TABLES), unique=True)
SUBNETS = st.sampled_from(["", "subnet-1", "subnet-2"])
ADDRESSES = st.sampled_from([("10.0.0.9", "fd01::9"), ("10.0.0.9",), ("fd01::9",)])
PEERS = st.lists(st.tuples(NATIVES, SUBNETS, ADDRESSES), max_size=6).map(
    lambda drawn: [
        replace(one, spec=replace(one.spec, subnet_id=subnet))
        for number, (native, subnet, ips) in enumerate(drawn, 2)
        for one in [node_route(number, native, ips=[ip[:-1] + str(number) for ip in ips])]
    ]
)


@given(PEERS, NATIVES)
def test_a_gateway_has_all_that_a_node_has_and_its_transit_is_never_native(
    peers: Sequence[NodeRoute], native: list[str]
) -> None:
    own = node_route(1, native)
    node = compose(*peers, own=own)
    gateway = compose(*peers, own=replace(own, spec=replace(own.spec, gateway=True)))
    assert without_transit(gateway.tables) == node.tables
    assert not node.tables["rules"]
    for key, to in by_table(gateway, TRANSIT_TABLE).items():
        if to.nexthop:
            assert gateway.tables["nexthops"][to.nexthop].gateway not in HOST.gateways
            assert to.nexthop == gateway.tables["routes"][key._replace(table=MAIN)].nexthop | TRANSIT_ID
    assert len(by_table(gateway, TRANSIT_TABLE)) == len(by_table(gateway, MAIN)) - len(own.spec.pod_cidrs)


@given(PEERS, st.data())
def test_transit_does_not_depend_on_native_routes(peers: Sequence[NodeRoute], data: st.DataObject) -> None:
    """A packet in transit takes the same path, whatever the VPC's tables lack."""
    others = [replace(one, spec=replace(one.spec, native_in=tuple(data.draw(NATIVES)))) for one in peers]
    own = replace(OWN, spec=replace(OWN.spec, native_in=tuple(data.draw(NATIVES))))
    assert transit(compose(*peers)) == transit(compose(*others, own=own))


@pytest.mark.parametrize("own", [replace(OWN, spec=replace(OWN.spec, gateway=False)), OWN])
def test_a_change_of_path_among_thousands_makes_one_new_entry_for_each_family(own: NodeRoute) -> None:
    """On a gateway as on any node: its nexthop in transit stays."""
    peers = [node_route(number, TABLES) for number in range(2, 200)]
    builder = DesiredStateBuilder(POLICY)
    routes = {route.name: route for route in (own, *peers)}
    before = builder.compose(own, routes, {}, HOST).tables
    after = builder.compose(own, routes | {"n3": node_route(3)}, {}, HOST).tables
    assert [kind for kind in before if before[kind] != after[kind]] == ["nexthops"]
    assert len([id_ for id_, hop in after["nexthops"].items() if before["nexthops"][id_] != hop]) == 2
    assert before["routes"] is after["routes"]


CHANGES: dict[str, Callable[[NodeRoute], NodeRoute]] = {
    "subnet": lambda route: replace(route, spec=replace(route.spec, subnet_id="subnet-3")),
    "address": lambda route: replace(route, spec=replace(route.spec, node_ips=("10.0.0.44", "fd01::44"))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_peer_that_moves_is_followed_in_transit(change: str) -> None:
    builder = DesiredStateBuilder(POLICY)
    builder.compose(OWN, {"n4": DIRECT}, {}, HOST)
    moved = CHANGES[change](DIRECT)
    assert builder.compose(OWN, {"n4": moved}, {}, HOST) == compose(moved)
    assert transit(compose(moved)) != transit(compose(DIRECT))


def test_a_peer_without_an_address_of_a_family_is_reached_by_the_overlay_in_that_family() -> None:
    """The tunnel's family is that of the pair's overlay."""
    narrow = node_route(4, ips=["fd01::4"])
    wanted = compose(narrow)
    assert transit(wanted)[at(narrow.spec.pod_cidrs[0])] == Nexthop(packed("100.64.4.0"), VTEP6)
    assert transit(wanted)[at(narrow.spec.pod_cidrs[1])] == Nexthop(packed("fd01::4"), "eth0")


def test_a_gateway_that_does_not_know_the_pools_forwards_nothing() -> None:
    wanted = DesiredStateBuilder(POLICY._replace(pools=())).compose(OWN, {"n2": NATIVE}, {}, HOST)
    assert without_transit(wanted.tables) == wanted.tables


def test_families_without_pods_of_the_gateway_are_left_out() -> None:
    own = node_route(1, cidrs=["100.64.1.0/24"], gateway=True)
    wanted = compose(NATIVE, own=own)
    assert {len(key.destination) for key in by_table(wanted, TRANSIT_TABLE)} == {4}
    assert {len(rule.destination) for rule in wanted.tables["rules"]} == {4}
    assert wanted.tables["nftables"][TABLE].transit == frozenset(POOLS[:1])


def test_a_nexthop_id_of_another_program_is_avoided_in_both_tables() -> None:
    builder = DesiredStateBuilder(POLICY)
    before = builder.compose(OWN, {"n2": NATIVE}, {}, HOST).tables["nexthops"]
    taken = next(id_ for id_ in before if id_ & TRANSIT_ID)
    builder.avoid([taken])
    after = builder.compose(OWN, {"n2": NATIVE}, {}, HOST).tables["nexthops"]
    assert not {taken, taken & ~TRANSIT_ID} & after.keys()
    assert len(after) == len(before)


def test_an_id_of_transit_that_a_route_of_the_main_table_has_is_not_kept() -> None:
    """Both tables would share one nexthop."""
    builder = DesiredStateBuilder(POLICY)
    builder.adopt(dict.fromkeys(NATIVE.spec.pod_cidrs[:1], 77 | TRANSIT_ID))
    assert builder.compose(OWN, {"n2": NATIVE}, {}, HOST) == compose(NATIVE)


def test_one_route_covers_another_in_its_own_table_alone() -> None:
    pool = RouteKey(base(POOLS[0]), POOLS[0].length, GUARD_METRIC)
    peer = RouteKey(base(NATIVE.spec.pod_cidrs[0]), 24, 0)
    assert pool.covers(peer)
    assert not pool.covers(peer._replace(table=TRANSIT_TABLE))


# --- masquerade ----------------------------------------------------------------------------------


def table_with(*aggregates: str) -> RouteTableObject:
    """A table of two subnets, of which none leads natively to n1, with these aggregates."""
    uses: dict[Family, FamilyUse] = {}
    for text in aggregates:
        cidr = Cidr.parse(text)
        uses[cidr.family] = FamilyUse(50, None, 1, 1, 0, (Aggregate(cidr, "n9"),))
    return replace(route_table_object("rtb-9", "10.9.0.0/20", "fd09::/64"), families=uses)


@pytest.mark.parametrize(
    ("aggregates", "kept"),
    [
        (["100.64.0.0/16", "fd00:64::/64"], {"10.9.0.0/20", "fd09::/64"}),
        (["100.64.0.0/17"], {"10.9.0.0/20"}),
        (["100.64.128.0/17", "fd00:64::/64"], {"fd09::/64"}),
        ([], set()),
    ],
)
@pytest.mark.parametrize("keeps", [True, False])
def test_pods_keep_their_address_toward_subnets_that_an_aggregate_leads_back_from(
    aggregates: list[str], kept: set[str], *, keeps: bool
) -> None:
    """With --gateway-keeps-source, and in the families in which an aggregate covers the node's own pods."""
    builder = DesiredStateBuilder(POLICY._replace(gateway_keeps_source=keeps))
    own = node_route(1)
    wanted = builder.compose(own, {}, {"rtb-9": table_with(*aggregates)}, HOST)
    found = wanted.tables["nftables"][TABLE].networks - frozenset(POOLS)
    assert set(map(str, found)) == (kept if keeps else set())

"""Usable peers: no two of them share an address, and the choice does not depend on the order."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudroute.core.node.desired import DesiredStateBuilder
from cloudroute.core.node.peers import NodeUnusable, assign_ids, packed_or_none, vtep_mac
from cloudroute.core.node.roster import roster
from cloudroute.core.paths import Class, pair_path
from cloudroute.dataplane import Host, packed
from cloudroute.types import BITS, Cidr, NodeRoute
from tests.agent.in_memory import HOST, POLICY, POOLS, TABLES, node_route

OWN = node_route(1)


def names(*routes: NodeRoute) -> set[str]:
    """Return the names of the usable peers."""
    return set(roster(OWN, {route.name: route for route in routes}, HOST, {}, ()).pod_cidrs)


def test_the_older_of_two_that_overlap_is_used_and_the_other_is_said() -> None:
    old = node_route(2, cidrs=["100.64.8.0/23"], created="2026-01-01T00:00:00Z")
    young = node_route(3, cidrs=["100.64.9.0/24"], created="2026-02-01T00:00:00Z")
    found = roster(OWN, {"n2": old, "n3": young, "n4": node_route(4)}, HOST, {}, ())
    assert set(found.pod_cidrs) == {"n2", "n4"}
    assert found.problems == {
        "n3": "its pod CIDRs and that of n2, which is older, have 100.64.9.0/24 in common: it gets no route"
    }


def test_the_older_is_used_though_its_name_comes_later() -> None:
    young = node_route(2, cidrs=["100.64.8.0/23"], created="2026-02-01T00:00:00Z")
    old = node_route(3, cidrs=["100.64.9.0/24"], created="2026-01-01T00:00:00Z")
    assert names(young, old) == {"n3"}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (node_route(2, cidrs=[]), "no valid pod CIDR"),
        (node_route(2, ips=["10.0.0.2", "nonsense"]), "'nonsense', which is no address"),
        (node_route(2, ips=["10.0.0.254"]), "'10.0.0.254', which is no address of another node"),
        (node_route(2, cidrs=["100.64.1.128/25"]), "this node's own addresses, have 100.64.1.128/25 in common"),
        (node_route(2, cidrs=["10.0.0.0/24"]), "this node's own addresses"),
        (node_route(2, cidrs=["0.0.0.0/1"]), "this node's own addresses"),
    ],
)
def test_a_node_route_that_would_harm_is_left_out_and_said(bad: NodeRoute, words: str) -> None:
    found = roster(OWN, {"n2": bad, "n4": node_route(4)}, HOST, {}, ())
    assert set(found.pod_cidrs) == {"n4"}
    assert words in found.problems["n2"]


CIDRS = st.builds(
    lambda base, length: str(Cidr("ipv4", (100 << 24) + ((base >> (32 - length)) << (32 - length)), length)),
    st.integers(0, 0xFFFF),
    st.integers(17, 28),
)
ROUTES = st.lists(
    st.builds(
        lambda number, cidr, day: node_route(number, cidrs=[cidr], created=f"2026-01-{day:02}T00:00:00Z"),
        st.integers(2, 60),
        CIDRS,
        st.integers(1, 5),
    ),
    max_size=12,
    unique_by=lambda route: route.name,
)


@given(ROUTES, st.randoms())
def test_used_peers_share_no_address_and_do_not_depend_on_the_order(routes: list[NodeRoute], chance: object) -> None:
    found = roster(OWN, {route.name: route for route in routes}, HOST, {}, ())
    cidrs = [cidr for of_one in found.pod_cidrs.values() for cidr in of_one]
    assert all(not a.overlaps(b) for i, a in enumerate(cidrs) for b in cidrs[:i])
    assert set(found.pod_cidrs) | set(found.problems) == {route.name for route in routes}
    chance.shuffle(routes)  # type: ignore[attr-defined] # a random.Random that Hypothesis controls
    again = roster(OWN, {route.name: route for route in routes}, HOST, {}, ())
    assert again.pod_cidrs == found.pod_cidrs
    # Each NodeRoute that is left out overlaps an older one that is used.
    for name in found.problems:
        loser = next(route for route in routes if route.name == name)
        assert any(cidr.overlaps(mine) for cidr in (*cidrs, *OWN.spec.pod_cidrs) for mine in loser.spec.pod_cidrs)


@given(st.lists(CIDRS, unique=True), st.data())
def test_ids_are_unique_and_kept(texts: list[str], data: st.DataObject) -> None:
    cidrs = list(map(Cidr.parse, texts))
    known = data.draw(st.dictionaries(st.sampled_from(cidrs), st.integers(1, 20))) if cidrs else {}
    taken = data.draw(st.frozensets(st.integers(1, 20)))
    ids = assign_ids(cidrs, known, taken)
    assert set(ids) == set(cidrs)
    assert len(set(ids.values())) == len(ids)
    assert not taken & set(ids.values())
    for cidr in cidrs:
        if cidr in known and known[cidr] not in taken and list(known.values()).count(known[cidr]) == 1:
            assert ids[cidr] == known[cidr]


@given(st.ip_addresses().map(str) | st.text("0123456789abcdef.:", max_size=20))
def test_text_is_an_address_where_python_says_so(text: str) -> None:
    try:
        expected = ipaddress.ip_address(text).packed
    except ValueError:
        expected = None
    assert packed_or_none(text) == expected


def test_an_id_that_was_found_in_the_kernel_is_kept_when_nodes_join() -> None:
    """Though another one would be chosen for that CIDR today."""
    builder, peer = DesiredStateBuilder(POLICY), node_route(2)
    builder.adopt({peer.spec.pod_cidrs[0]: 77})
    for routes in ({"n2": peer}, {"n2": peer, "n3": node_route(3)}):
        assert 77 in builder.compose(OWN, routes, {}, HOST).tables["nexthops"]


NATIVE = st.sets(st.sampled_from(TABLES)).map(sorted)
WORLDS = st.lists(
    st.builds(lambda number, native: node_route(number, native), st.integers(1, 9), NATIVE),
    max_size=9,
    unique_by=lambda route: route.name,
)


@settings(max_examples=settings().max_examples // 2)
@given(st.lists(WORLDS, min_size=1, max_size=5), NATIVE)
def test_the_cache_changes_no_result(worlds: list[list[NodeRoute]], native: list[str]) -> None:
    """A builder that has composed other states before returns the same as a fresh one."""
    used = DesiredStateBuilder(POLICY)
    ids: dict[Cidr, int] = {}
    for world in worlds:
        routes = {route.name: route for route in world} | {"n1": node_route(1, native)}
        wanted = used.compose(routes["n1"], routes, {}, HOST)
        fresh = DesiredStateBuilder(POLICY)
        fresh.adopt(ids)
        assert fresh.compose(routes["n1"], routes, {}, HOST) == wanted
        for name, peer in wanted.peers.items():
            assert peer.path == pair_path(Class.of(routes["n1"].spec), Class.of(routes[name].spec))
        ids = {
            Cidr("ipv4" if len(key.destination) == 4 else "ipv6", int.from_bytes(key.destination, "big"), key.length):
            to.nexthop for key, to in wanted.tables["routes"].items() if to.nexthop
        }  # fmt: skip


def test_every_node_derives_the_same_mac_for_a_node() -> None:
    four, six = map(Cidr.parse, ("100.64.7.0/24", "fd00:64:0:0:7::/80"))
    assert vtep_mac([four, six]) == vtep_mac([six, four]) == bytes.fromhex("0a5864400700")
    macs = {vtep_mac([Cidr("ipv6", six.base + (number << 48), 80)]) for number in range(5000)}
    assert len(macs) == 5000
    assert all(mac[0] & 3 == 2 for mac in macs), "locally administered, unicast"


def test_the_tunnel_starts_from_the_address_that_the_nic_has() -> None:
    builder = DesiredStateBuilder(POLICY)
    elsewhere = node_route(1, ips=["10.9.9.9", "10.0.0.1"])
    wanted = builder.compose(elsewhere, {}, {}, HOST)
    assert wanted.tables["links"]["cr0"].vxlan.local == packed("10.0.0.1")
    with pytest.raises(NodeUnusable, match=r"eth0 has none of the node's addresses \(10.9.9.9\): name the NIC"):
        builder.compose(node_route(1, ips=["10.9.9.9"]), {}, {}, HOST)


def test_the_tunnel_of_a_node_that_names_its_ipv6_address_first_runs_over_ipv4() -> None:
    """As that of every other node, or the two ends would not fit."""
    own, peer = (node_route(n, ips=node_route(n).spec.node_ips[::-1]) for n in (1, 2))
    wanted = DesiredStateBuilder(POLICY).compose(own, {"n2": peer}, {}, HOST)
    assert wanted.tables["links"]["cr0"].vxlan.local == packed("10.0.0.1")
    assert list(wanted.tables["fdb"].values()) == [packed("10.0.0.2")]


def test_a_peer_with_several_addresses_of_a_family_is_reached_by_its_first() -> None:
    """The kubelet puts the primary one first."""
    peer = node_route(2, ips=["10.0.0.2", "10.0.0.3"])
    wanted = DesiredStateBuilder(POLICY).compose(OWN, {"n2": peer}, {}, HOST)
    assert list(wanted.tables["fdb"].values()) == [packed("10.0.0.2")]


def test_a_pod_cidr_has_four_addresses_at_least() -> None:
    """Its base, the gateway, a pod, and one that host-local keeps."""
    builder = DesiredStateBuilder(POLICY)
    assert builder.compose(node_route(1, cidrs=["100.64.1.0/30"]), {}, {}, HOST).mtu
    with pytest.raises(NodeUnusable, match=r"100.64.1.0/31 in its NodeRoute has less than 4 addresses"):
        builder.compose(node_route(1, cidrs=["100.64.1.0/31"]), {}, {}, HOST)


@pytest.mark.parametrize("underlay", ["ipv4", "ipv6"])
def test_the_tunnel_runs_over_either_family(underlay: str) -> None:
    pick = 0 if underlay == "ipv4" else 1
    own, peer = (node_route(n, ips=[node_route(n).spec.node_ips[pick]]) for n in (1, 2))
    wanted = DesiredStateBuilder(POLICY).compose(own, {"n2": peer}, {}, HOST)
    assert wanted.mtu == 9001 - (50 if underlay == "ipv4" else 70)
    assert list(wanted.tables["fdb"].values()) == [packed(peer.spec.node_ips[0])]
    assert {BITS[cidr.family] // 8 for cidr in peer.spec.pod_cidrs} == set(map(len, wanted.tables["neighbours"]))


def test_a_direct_peer_without_an_address_of_a_family_is_reached_by_the_overlay_in_it() -> None:
    """Both ends see that alike."""
    peer = node_route(4, ips=["10.0.0.4"])
    wanted = DesiredStateBuilder(POLICY).compose(OWN, {"n4": peer}, {}, HOST)
    hops = wanted.tables["nexthops"].values()
    assert {hop.device for hop in hops if len(hop.gateway) == 4} == {"eth0"}
    assert {hop.device for hop in hops if len(hop.gateway) == 16} == {"cr0"}


def test_a_nic_without_an_ipv6_gateway_sends_ipv6_by_the_overlay_and_says_so() -> None:
    own, peer = node_route(1, TABLES), node_route(2, TABLES)
    wanted = DesiredStateBuilder(POLICY).compose(own, {"n2": peer}, {}, replace_gateways())
    assert "no ipv6 gateway" in wanted.problems["n2"]
    assert {hop.device for hop in wanted.tables["nexthops"].values()} == {"eth0", "cr0"}


def replace_gateways() -> Host:
    return HOST._replace(gateways=HOST.gateways[:1])


def test_a_peer_that_shares_no_address_family_is_said_and_harms_nobody() -> None:
    peer = replace(node_route(2), spec=replace(node_route(2).spec, node_ips=()))
    wanted = DesiredStateBuilder(POLICY).compose(OWN, {"n2": peer, "n3": node_route(3)}, {}, HOST)
    assert "no ipv4 or ipv6 address in nodeIPs" in wanted.problems["n2"]
    assert len(wanted.tables["routes"]) == 2 + len(POOLS) + len(OWN.spec.pod_cidrs)

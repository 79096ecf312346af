"""Paths of pairs and of nodes, and the reasons that people are given."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from cloudroute.core.paths import Class, explain, family_path, node_paths, pair_path, path_counts
from cloudroute.types import NODE_PATHS, PATHS, Cidr, Family, NodeRouteSpec
from tests.core.world import POLICY, World

CLASSES = st.builds(
    Class,
    st.sampled_from(["", "rtb-a", "rtb-b", "rtb-c"]),
    st.sampled_from(["", "subnet-a", "subnet-b"]),
    st.lists(st.sampled_from(["rtb-a", "rtb-b", "rtb-c"]), unique=True).map(lambda ids: tuple(sorted(ids))),
)


def spec_of(kind: Class, number: int = 0) -> NodeRouteSpec:
    """A NodeRoute of a class."""
    cidr = Cidr("ipv4", Cidr.parse("100.64.0.0/24").base + 256 * number, 24)
    ips = (f"10.0.0.{number + 1}",)
    return NodeRouteSpec(
        (cidr,), ips, f"i-{number}", f"eni-{number}", kind.subnet_id, kind.route_table_id, kind.native_in
    )


@given(CLASSES, CLASSES)
def test_a_pair_has_one_path_seen_from_both_ends(a: Class, b: Class) -> None:
    """Native needs both routes, direct a common subnet, and whatever is left has the overlay."""
    path = pair_path(a, b)
    assert path == pair_path(b, a)
    both = a.route_table_id in b.native_in and b.route_table_id in a.native_in
    assert (path == "native") == both
    assert (path == "direct") == (not both and a.subnet_id == b.subnet_id != "")


def test_a_family_that_neither_kubelet_reports_goes_natively_where_routes_exist() -> None:
    """And never directly: there is no address whose MAC a frame could be sent to."""
    ipv4: set[Family] = {"ipv4"}
    assert family_path("native", "ipv6", ipv4, ipv4) == "native"
    assert family_path("native", "ipv6", ipv4, {"ipv4", "ipv6"}) == "overlay"
    assert family_path("direct", "ipv6", ipv4, ipv4) == "overlay"


@given(st.lists(CLASSES, min_size=2, max_size=6))
def test_a_nodes_path_says_in_which_of_its_senders_tables_it_is_routed(kinds: list[Class]) -> None:
    """Native in all tables that nodes off its subnet send by, partial in some, overlay in none; direct without any."""
    specs = {str(number): spec_of(kind, number) for number, kind in enumerate(kinds)}
    for name, path in node_paths(specs).items():
        mine = specs[name]
        routed = [
            other.route_table_id in mine.native_in
            for peer, other in specs.items()
            if peer != name and not (mine.subnet_id and mine.subnet_id == other.subnet_id)
        ]
        assert (path == "direct") == (not routed)
        assert (path == "native") == (all(routed) and routed != [])
        assert (path == "overlay") == (not any(routed) and routed != [])


@given(st.lists(CLASSES, max_size=6))
def test_nodes_and_pairs_are_counted_by_path(kinds: list[Class]) -> None:
    """Each node and each unordered pair once; paths that nobody has are there with 0."""
    counts = path_counts([spec_of(kind, number) for number, kind in enumerate(kinds)])
    assert tuple(counts.nodes) == NODE_PATHS
    assert tuple(counts.pairs) == PATHS
    each = node_paths({str(number): spec_of(kind, number) for number, kind in enumerate(kinds)})
    assert counts.nodes == {path: list(each.values()).count(path) for path in NODE_PATHS}
    pairs = Counter(pair_path(a, b) for a, b in itertools.combinations(kinds, 2))
    assert counts.pairs == {path: pairs[path] for path in PATHS}


def test_thousands_of_nodes_are_counted_class_by_class() -> None:
    """6,000 nodes of 6 classes cost 21 comparisons of two classes, not 18 million of two nodes."""
    tables = ("rtb-a", "rtb-b", "rtb-c")
    kinds = [Class(table, f"subnet-{table}", native) for table in tables for native in ((), tables)]
    specs = [spec_of(kind, number) for number, kind in enumerate(kinds * 1_000)]
    with patch("cloudroute.core.paths.pair_path", side_effect=pair_path) as compared:
        counts = path_counts(specs)
    assert compared.call_count == 21
    assert counts.nodes == {"native": 3_000, "direct": 0, "partial": 0, "overlay": 3_000}
    native, on_one_subnet = 3_000 * 2_999 // 2, 3 * 2_000 * 1_999 // 2
    direct = on_one_subnet - 3 * 1_000 * 999 // 2
    assert counts.pairs == {"native": native, "direct": direct, "overlay": 6_000 * 5_999 // 2 - native - direct}


def test_a_node_alone_has_the_path_that_it_could_have() -> None:
    """Without peers, what is published of it decides."""
    kinds = [Class("rtb-a", "subnet-a", ("rtb-a",)), Class("rtb-a", "subnet-a", ()), Class("rtb-a", "", ())]
    assert [node_paths({"x": spec_of(kind)})["x"] for kind in kinds] == ["native", "direct", "overlay"]


# --- reasons ------------------------------------------------------------------------------------


def world(policy: str = "auto", limit: int = 50, zones: str = "abab") -> tuple[World, list[str]]:
    """A settled world and its nodes."""
    made = World(replace(POLICY, direct_routing=policy), limit=limit)  # type: ignore[arg-type] # one of the three
    names = [made.join(zone).name for zone in zones]
    made.settle()
    return made, names


def why(made: World, a: str, b: str) -> tuple[str, str]:
    """The path and its reason."""
    explanation = explain(a, b, {name: record.spec for name, record in made.records.items()}, made.reports)
    assert explanation.steps
    return explanation.path, explanation.reason


def test_local() -> None:
    """One node."""
    made, (a, *_) = world()
    assert why(made, a, a) == ("local", f"both are on {a}")


def test_native_names_both_tables() -> None:
    """Each table and whom it routes."""
    made, (a, b, *_) = world()
    assert why(made, a, b) == ("native", f"rtb-a routes {b} and rtb-b routes {a}")


def test_direct_says_why_no_route_is_needed() -> None:
    """The subnet's own table has no route to its nodes."""
    made, (a, _, c, _) = world("always")
    path, reason = why(made, a, c)
    assert path == "direct"
    assert "both stand on subnet-a" in reason


def test_a_full_table_is_named_with_its_fill() -> None:
    """The overlay's reason is the table without an entry, and how full it is."""
    made, names = world(limit=4, zones="aaaabbbb")
    late = names[3]
    path, reason = why(made, late, names[4])
    assert path == "overlay"
    assert f"rtb-b is full for ipv4 (4 of 4 entries) and no settled route in it leads to {late}" in reason
    assert f"{late} stands on subnet-a, {names[4]} on subnet-b" in reason


def test_a_learned_limit_is_the_one_that_is_named() -> None:
    """The limit that AWS has shown counts, not the configured one."""
    made, names = world(limit=9, zones="ab")
    made.real_limit["rtb-b", "ipv4"] = 3
    late = [made.join("a").name for _ in range(3)][-1]
    made.settle()
    assert "(3 of 3 entries)" in why(made, late, names[1])[1]


def test_without_direct_routing_a_full_table_is_still_the_reason() -> None:
    """A node that is routed nowhere is not said to have its check on."""
    made, names = world("off", limit=3, zones="aaab")
    path, reason = why(made, names[0], names[2])
    assert path == "overlay"
    assert "rtb-a is full" in reason
    assert f"{names[2]} may not be sent to directly" in reason


def test_a_table_that_is_not_ours_is_named() -> None:
    """Senders of an unmanaged table have no routes of ours."""
    made = World(replace(POLICY, table_ids=("rtb-a",)))
    a, b = made.join("a").name, made.join("b").name
    made.settle()
    path, reason = why(made, a, b)
    assert path == "overlay"
    assert "rtb-b is not managed by cloudroute" in reason


def test_a_node_that_still_settles_is_said_to() -> None:
    """The table has room: it is a matter of seconds."""
    made, (a, *_) = world()
    late = made.join("b").name
    made.cycle()
    path, reason = why(made, a, late)
    assert path == "overlay"
    assert f"rtb-a holds no settled route to {late}" in reason

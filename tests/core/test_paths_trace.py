"""The way of a packet between pods, nodes' own addresses and the outside, out and back, in words."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudroute.core.explain.trace import End, end_at, trace
from cloudroute.core.paths import Explanation
from cloudroute.errors import CloudrouteError
from cloudroute.types import Cidr, FamilyUse, NodeRouteSpec, RouteTableObject, Subnet

USE = {"ipv4": FamilyUse(50, None, 9, 6, 3), "ipv6": FamilyUse(50, None, 9, 6, 3)}
REPORTS = {
    f"rtb-{zone}": RouteTableObject(
        f"rtb-{zone}", "1", "vpc-1",
        (Subnet(f"subnet-{zone}", "vpc-1", zone, (Cidr.parse(f"10.{n}.0.0/16"), Cidr.parse(f"fd10:{n + 1}::/64"))),),
        USE,  # type: ignore[arg-type] # the keys are families
    )
    for n, zone in enumerate("abc")
}  # fmt: skip


def spec(number: int, zone: str, *native_in: str, direct: bool = True) -> NodeRouteSpec:
    """A dual-stack node in a zone, routed in these tables."""
    index = "abc".index(zone)
    return NodeRouteSpec(
        (Cidr.parse(f"100.64.{number}.0/24"), Cidr.parse(f"fd64:{number}::/80")),
        (f"10.{index}.0.{number + 4}", f"fd10:{index + 1}::{number + 4}"),
        f"i-{number}",
        f"eni-{number}",
        f"subnet-{zone}" if direct else "",
        f"rtb-{zone}",
        tuple(f"rtb-{name}" for name in native_in),
    )


SPECS = {
    "a1": spec(1, "a", "a", "b"),
    "b2": spec(2, "b", "a", "b"),
    "a3": spec(3, "a"),
    "b4": spec(4, "b"),
}
"""a1 and b2 are native to each other, a1 and a3 direct, a1 and b4 by the overlay."""


def find(text: str) -> End:
    """A node's name is any pod of it, as on the command line."""
    return End("pod", text, ()) if text in SPECS else end_at(text, SPECS)


def way(source: str, target: str) -> Explanation:
    """The way between two places."""
    return trace(find(source), find(target), SPECS, REPORTS)


@pytest.mark.parametrize(
    ("address", "kind", "node"),
    [
        ("100.64.1.7", "pod", "a1"),
        ("fd64:2::7", "pod", "b2"),
        ("10.0.0.5", "node", "a1"),
        ("fd10:2::6", "node", "b2"),
        ("10.0.0.99", "outside", ""),
        ("100.64.9.1", "outside", ""),
        ("2001:db8::1", "outside", ""),
    ],
)
def test_an_address_is_a_pods_a_nodes_or_outside(address: str, kind: str, node: str) -> None:
    """By pod CIDRs and nodes' own addresses, in both families."""
    assert end_at(address, SPECS) == (kind, node, (address,))


# --- pod to pod ---------------------------------------------------------------------------------


def test_native_names_the_entry_of_the_packets_family() -> None:
    """Of a dual-stack node's entries the one that this packet takes."""
    found = way("fd64:1::7", "fd64:2::7")
    assert (found.path, found.seen_as, found.source) == ("native", "pod", "fd64:1::7")
    assert found.steps[1] == "rtb-a: fd64:2::/80 -> eni-2"


def test_direct_goes_to_the_address_of_the_packets_family() -> None:
    """The frame's MAC is that of the node's IPv6 address for an IPv6 packet; the tunnel keeps to IPv4."""
    assert "the MAC of fd10:1::7" in way("fd64:1::7", "fd64:3::7").steps[0]
    assert way("fd64:1::7", "fd64:4::7").steps[0] == "a1 wraps it in VXLAN from 10.0.0.5 to 10.1.0.8"


def test_any_pod_of_a_node_has_no_address_to_be_seen() -> None:
    """A node's name stands for its pods."""
    found = way("a1", "b2")
    assert (found.path, found.seen_as, found.source) == ("native", "pod", "")


# --- nodes' own addresses -----------------------------------------------------------------------


def test_two_nodes_talk_without_cloudroute() -> None:
    """The VPC's local route between subnets, no table inside of one."""
    found = way("10.0.0.5", "10.1.0.6")
    assert found == Explanation(
        "vpc",
        "10.0.0.5 is a1's own address and 10.1.0.6 is b2's own address: the VPC carries it as if there were no pods",
        ("rtb-a: the VPC's local route leads to 10.1.0.6",),
        "node",
        "10.0.0.5",
    )
    assert way("10.0.0.5", "10.0.0.7").steps == (
        "subnet-a delivers it to 10.0.0.7; no route table applies inside a subnet",
    )


def test_a_pod_reaches_a_node_unmasqueraded_and_the_reply_takes_the_pairs_path() -> None:
    """Out by the VPC with the pod's address, back natively."""
    found = way("100.64.1.7", "10.1.0.6")
    assert found == Explanation(
        "native",
        "the VPC knows the way to a node, so only the reply takes the path between the two: rtb-a routes b2 and rtb-b "
        "routes a1",
        (
            "a1 sends it from its interface eni-1 with the pod's address 100.64.1.7: toward nodes no pod is "
            "masqueraded",
            "rtb-a: the VPC's local route leads to 10.1.0.6",
            "reply: b2 sends to its subnet's gateway from its interface eni-2",
            "reply: rtb-b: 100.64.1.0/24 -> eni-1",
            "reply: a1 takes it, its source/dest check being off, and delivers it to the pod",
        ),
        "pod",
        "100.64.1.7",
    )


def test_a_pod_reaches_an_overflow_node_whose_reply_takes_the_tunnel() -> None:
    """The two directions go different ways; the reason says why the reply has no better one."""
    found = way("a1", "10.1.0.8")
    assert found.path == "overlay"
    assert "rtb-a holds no settled route to b4 (9 of 50 ipv4 entries used, 9 of 50 ipv6 entries used)" in found.reason
    assert found.steps[0].startswith("a1 sends it from its interface eni-1 with the pod's address: ")
    assert found.steps[2:] == (
        "reply: b4 wraps it in VXLAN from 10.1.0.8 to 10.0.0.5",
        "reply: the VPC carries that as traffic between two nodes",
        "reply: a1 unwraps it and delivers it to the pod",
    )


def test_a_node_sends_to_pods_from_the_first_address_of_its_pod_cidr() -> None:
    """So that both directions take the pair's path."""
    found = way("10.0.0.5", "100.64.2.7")
    assert (found.path, found.seen_as, found.source) == ("native", "node", "100.64.1.0")
    assert found.reason == "rtb-a routes b2 and rtb-b routes a1"
    assert found.steps == (
        "a1 sends from 100.64.1.0, the first address of its pod CIDR, so that the reply comes by the same path",
        "a1 sends to its subnet's gateway from its interface eni-1",
        "rtb-a: 100.64.2.0/24 -> eni-2",
        "b2 takes it, its source/dest check being off, and delivers it to the pod",
        "reply: b2 sends to its subnet's gateway from its interface eni-2",
        "reply: rtb-b: 100.64.1.0/24 -> eni-1",
        "reply: a1 takes it, its source/dest check being off, and delivers it to the host",
    )
    assert way("fd10:1::5", "fd64:2::7").source == "fd64:1::"


@pytest.mark.parametrize(
    ("source", "target", "seen_as", "address"),
    [
        ("100.64.1.7", "100.64.1.8", "pod", "100.64.1.7"),
        ("100.64.1.7", "10.0.0.5", "pod", "100.64.1.7"),
        ("10.0.0.5", "100.64.1.7", "node", "100.64.1.1"),
        ("fd10:1::5", "fd64:1::7", "node", "fd64:1::1"),
        ("10.0.0.5", "10.0.0.5", "node", "10.0.0.5"),
        ("a1", "a1", "pod", ""),
    ],
)
def test_local_on_one_node(source: str, target: str, seen_as: str, address: str) -> None:
    """It never leaves the host; a host speaks to its own pods from the pods' gateway."""
    found = way(source, target)
    assert (found.path, found.seen_as, found.source) == ("local", seen_as, address)
    assert found.steps


def test_of_two_tables_with_the_same_subnet_the_one_that_leads_to_the_node_counts() -> None:
    """An association that has just moved is in both RouteTable objects for a moment."""
    both = {"rtb-0": replace(REPORTS["rtb-b"], id="rtb-0"), **REPORTS}
    found = trace(find("a1"), End("outside", "", ("10.1.0.99",)), SPECS, both)
    assert found.reason == "10.1.0.99 is in subnet-b, whose rtb-b leads to a1: the pod keeps its address"


# --- outside ------------------------------------------------------------------------------------


def test_a_pod_keeps_its_address_where_the_table_leads_back_to_it() -> None:
    """A database in a subnet whose table has an entry for the node."""
    assert way("100.64.1.7", "10.1.0.99") == Explanation(
        "vpc",
        "10.1.0.99 is in subnet-b, whose rtb-b leads to a1: the pod keeps its address",
        (
            "a1 sends it from its interface eni-1 with the pod's address 100.64.1.7",
            "rtb-a: the VPC's local route leads to 10.1.0.99",
            "reply: rtb-b: 100.64.1.0/24 -> eni-1",
            "reply: a1 takes it, its source/dest check being off, and delivers it to the pod",
        ),
        "pod",
        "100.64.1.7",
    )


def test_a_pod_is_masqueraded_where_the_table_does_not_lead_back() -> None:
    """An overflow node's pods, in its own subnet as well: the reason is the table without the entry."""
    found = way("100.64.3.7", "10.0.0.99")
    assert (found.path, found.seen_as, found.source) == ("vpc", "node", "10.0.0.7")
    assert found.reason.startswith(
        "masqueraded, since 10.0.0.99 is in subnet-a, and rtb-a holds no settled route to a3"
    )
    assert found.steps == (
        "a3 sends it from its interface eni-3 with its own address 10.0.0.7 in place of the pod's address 100.64.3.7",
        "subnet-a delivers it to 10.0.0.99; no route table applies inside a subnet",
        "reply: the VPC brings it to 10.0.0.7, and a3 hands it to the pod",
    )


def test_the_internet_sees_the_node() -> None:
    """As do peers, and subnets whose tables cloudroute does not fill."""
    found = way("a1", "192.0.2.1")
    assert (found.path, found.seen_as, found.source) == ("vpc", "node", "10.0.0.5")
    assert found.reason == (
        "masqueraded, since 192.0.2.1 is in no subnet whose route table cloudroute fills, and nothing there leads to "
        "a pod CIDR"
    )
    assert found.steps[1] == "rtb-a: whatever route it has for 192.0.2.1 leads on"
    assert way("fd64:1::7", "2001:db8::1").source == "fd10:1::5"


@pytest.mark.parametrize("address", ["10.0.0.0", "10.0.0.2", "10.0.0.3", "fd10:1::3"])
def test_addresses_that_aws_reserves_in_a_subnet_see_the_node(address: str) -> None:
    """The Resolver is one of them: also in a subnet whose table leads to the pod."""
    found = way("a1", address)
    assert (found.path, found.seen_as, found.source) == ("vpc", "node", SPECS["a1"].node_ips[":" in address])
    assert found.reason == (
        f"masqueraded, since {address} is one of the first four addresses of subnet-a: AWS's own answer VPC addresses "
        "only"
    )
    assert way("a1", "10.0.0.4").seen_as == way("a1", "fd10:1::4").seen_as == "pod"


def test_a_host_of_the_vpc_reaches_a_pod_by_its_own_table() -> None:
    """With the entry, and with the reply on its way."""
    found = way("10.1.0.99", "100.64.1.7")
    assert (found.path, found.seen_as, found.source) == ("vpc", "outside", "10.1.0.99")
    assert found.steps[:2] == ("10.1.0.99 sends to the gateway of subnet-b", "rtb-b: 100.64.1.0/24 -> eni-1")
    assert found.steps[-1].startswith("reply: a1 sends it from its interface eni-1 with the pod's address")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("10.2.0.99", "10.2.0.99 is in subnet-c, and rtb-c holds no settled route to a1"),
        ("192.0.2.1", "192.0.2.1 is in no subnet whose route table cloudroute fills"),
    ],
)
def test_where_nothing_leads_to_a_pod_no_path_is_shown(source: str, why: str) -> None:
    """Nobody sees any address then."""
    found = way(source, "100.64.1.7")
    assert (found.path, found.steps, found.seen_as, found.source) == ("none", (), "", "")
    assert found.reason.startswith(why)


def test_a_node_and_the_outside_are_no_matter_of_cloudroute() -> None:
    """Both ways."""
    found = way("10.0.0.5", "192.0.2.1")
    assert (found.path, found.seen_as, found.source) == ("vpc", "node", "10.0.0.5")
    assert found.reason == "10.0.0.5 is a1's own address: the VPC carries it as if there were no pods"
    found = way("10.1.0.99", "10.0.0.5")
    assert (found.path, found.seen_as, found.source) == ("vpc", "outside", "10.1.0.99")
    assert found.steps == ("rtb-b: the VPC's local route leads to 10.0.0.5",)


def test_a_subnet_that_two_tables_claim_counts_for_the_one_that_leads_to_the_node() -> None:
    """An object may be a moment old; agents go by any table that leads to them."""
    both = replace(REPORTS["rtb-c"], subnets=(*REPORTS["rtb-c"].subnets, *REPORTS["rtb-b"].subnets))
    reports = {"rtb-c": both, "rtb-a": REPORTS["rtb-a"], "rtb-b": REPORTS["rtb-b"]}
    assert trace(find("a1"), find("10.1.0.99"), SPECS, reports).seen_as == "pod"


# --- no way to say ------------------------------------------------------------------------------


def test_two_families_are_no_way() -> None:
    """The families of both are named."""
    with pytest.raises(CloudrouteError, match=r"the one end has ipv4, the other ipv6: no packet"):
        way("100.64.1.7", "fd64:2::7")


def test_the_family_is_that_which_both_ends_have() -> None:
    """A pod with two addresses uses the one that fits."""
    pod = End("pod", "a1", ("100.64.1.7", "fd64:1::7"))
    assert trace(pod, find("fd64:2::7"), SPECS, REPORTS).source == "fd64:1::7"


def test_two_places_outside_are_none_of_our_business() -> None:
    """Both are named."""
    with pytest.raises(CloudrouteError, match=r"192\.0\.2\.1 and 10\.2\.0\.9 are of no pod CIDR.*one end must be"):
        way("192.0.2.1", "10.2.0.9")


def test_a_node_without_a_pod_cidr_of_the_family_is_said_to_be() -> None:
    """No traceback for a cluster of two minds."""
    specs = {**SPECS, "a1": replace(SPECS["a1"], pod_cidrs=SPECS["a1"].pod_cidrs[:1])}
    with pytest.raises(CloudrouteError, match="a1 has no ipv6 pod CIDR"):
        trace(find("fd10:1::5"), find("fd64:2::7"), specs, REPORTS)


PLACES = st.sampled_from(
    [*SPECS, "100.64.1.7", "100.64.4.9", "fd64:3::7", "10.0.0.5", "10.1.0.8", "fd10:1::7", "10.0.0.99", "10.2.0.9",
     "192.0.2.1", "2001:db8::1"]
)  # fmt: skip


@given(PLACES, PLACES)
def test_each_two_places_have_a_way_or_words(source: str, target: str) -> None:
    """Nothing but a CloudrouteError is ever raised; between nodes' pods the path is the same in both directions."""
    try:
        found = way(source, target)
    except CloudrouteError:
        return
    assert found.reason
    assert (found.path == "none") == (not found.steps) == (not found.seen_as)
    back = way(target, source)
    if "none" not in (found.path, back.path):
        assert found.path == back.path


def test_sources_are_seen_as_the_agents_rules_leave_them() -> None:
    """A pod is masqueraded exactly toward what is no pod, no node and no subnet whose table leads to it."""
    for name, address in itertools.product(SPECS, ["10.0.0.99", "10.1.0.99", "10.2.0.99", "192.0.2.1"]):
        kept = any(f"10.{'abc'.index(table[-1])}." in address[:5] for table in SPECS[name].native_in)
        assert way(name, address).seen_as == ("pod" if kept else "node")


# --- nodes without one of the families ----------------------------------------------------------

NARROW = Subnet("subnet-d", "vpc-1", "c", (Cidr.parse("fd10:4::/64"),))
MIXED = {
    "a1": spec(1, "a", "a", "d"),
    "d6": replace(
        spec(6, "a", "a", "d"), node_ips=("fd10:4::6",), subnet_id="subnet-d", route_table_id="rtb-d"
    ),
    "a7": replace(spec(7, "a"), node_ips=("10.0.0.11",)),
}  # fmt: skip
"""d6 is in an IPv6-only subnet, a7 has no IPv6 address."""
TABLES = {**REPORTS, "rtb-d": RouteTableObject("rtb-d", "1", "vpc-1", (NARROW,), REPORTS["rtb-a"].families)}


def mixed(source: str, target: str) -> Explanation:
    """The way between two places of that cluster."""
    return trace(end_at(source, MIXED), end_at(target, MIXED), MIXED, TABLES)


def test_a_family_that_one_of_two_nodes_has_not_goes_by_the_tunnel_over_the_other() -> None:
    """The pair is native, and that carries IPv6; IPv4 goes over IPv6 from both ends."""
    assert mixed("fd64:1::7", "fd64:6::7").path == "native"
    found = mixed("100.64.1.7", "100.64.6.7")
    assert found.path == "overlay"
    assert found.reason == (
        "native does not carry ipv4, since d6 has no ipv4 address (rtb-a routes d6 and rtb-d routes a1)"
    )
    assert found.steps[0] == "a1 wraps it in VXLAN from fd10:1::5 to fd10:4::6"
    assert mixed("100.64.6.7", "100.64.1.7").steps[0] == "d6 wraps it in VXLAN from fd10:4::6 to fd10:1::5"
    assert mixed("fd64:1::7", "fd64:7::7").steps[0] == "a1 wraps it in VXLAN from 10.0.0.5 to 10.0.0.11"


def test_nodes_without_a_family_in_common_have_no_way() -> None:
    """No tunnel, and no route of theirs would be used from both ends."""
    found = mixed("100.64.7.7", "100.64.6.7")
    assert (found.path, found.steps, found.seen_as) == ("none", (), "")
    assert found.reason.startswith("a7 and d6 share no address family, so no tunnel leads from one to the other; ")


@pytest.mark.parametrize(
    ("source", "target"),
    [("100.64.6.7", "10.1.0.99"), ("100.64.6.7", "10.0.0.5"), ("10.0.0.99", "100.64.6.7")],
)
def test_ipv4_pods_of_an_ipv6_only_subnet_and_other_hosts_do_not_reach_each_other(source: str, target: str) -> None:
    """Their node has no IPv4 address to send them on by."""
    found = mixed(source, target)
    assert (found.path, found.steps) == ("none", ())
    assert found.reason == "subnet-d has no ipv4: ipv4 pods of d6 reach pods alone"

"""Nodes and pods with IPv4, with IPv6 and with both: both ends use the same of the families that they share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import product

import pytest

from cloudroute.core.node.desired import DesiredState, DesiredStateBuilder
from cloudroute.dataplane import METRIC, TUNNELS, VTEP, VTEP6, Host, RouteKey, family_of_bytes, packed
from cloudroute.types import FAMILIES, Family, NodeRoute, Path, family_of
from tests.agent.in_memory import HOST, POLICY, TABLES, node_route

Families = tuple[Family, ...]
KINDS: tuple[Families, ...] = (("ipv4",), ("ipv6",), FAMILIES)
Way = tuple[str, Family | None]
"""A path, and the family that the tunnel runs over."""


def pick(texts: Collection[str], families: Collection[Family]) -> list[str]:
    return [text for text in texts if family_of(text) in families]


def node(number: int, own: Families, pods: Families, path: Path) -> NodeRoute:
    """n1 and n2 that have `path`: one subnet for direct alone, and routes for native alone."""
    plain = node_route(number)
    return node_route(
        number,
        TABLES if path == "native" else (),
        subnet="subnet-1" if path == "direct" else f"subnet-{number}",
        cidrs=pick([str(cidr) for cidr in plain.spec.pod_cidrs], pods),
        ips=pick(plain.spec.node_ips, own),
    )


def host(route: NodeRoute) -> Host:
    """The machine of a node, on a subnet that has the families of its addresses."""
    families = {family_of(ip) for ip in route.spec.node_ips}
    return HOST._replace(
        addresses=tuple((packed(ip), 20 if family_of(ip) == "ipv4" else 64) for ip in route.spec.node_ips),
        gateways=tuple(gateway for gateway in HOST.gateways if family_of_bytes(gateway) in families),
    )


def compose(own: NodeRoute, *peers: NodeRoute) -> DesiredState:
    return DesiredStateBuilder(POLICY).compose(own, {route.name: route for route in (own, *peers)}, {}, host(own))


def ways(wanted: DesiredState, peer: NodeRoute) -> Mapping[Family, Way]:
    """The path of packets to a peer's pods by these tables of a kernel; nothing of a family that has no route."""
    found: dict[Family, Way] = {}
    for cidr in peer.spec.pod_cidrs:
        base = cidr.base.to_bytes(4 if cidr.family == "ipv4" else 16, "big")
        if route := wanted.tables["routes"].get(RouteKey(base, cidr.length, METRIC[cidr.family])):
            hop = wanted.tables["nexthops"][route.nexthop]
            if hop.device in TUNNELS:
                fdb, neighbours = TUNNELS[hop.device]
                link = wanted.tables["links"][hop.device]
                end = wanted.tables[fdb][wanted.tables[neighbours][hop.gateway]]
                assert len(end) == len(link.vxlan.local), "a VXLAN device takes destinations of its own family alone"
                found[cidr.family] = ("overlay", family_of_bytes(end))
            else:
                found[cidr.family] = ("native" if hop.gateway in HOST.gateways else "direct", None)
    return found


def expected(path: Path, a: tuple[Families, Families], b: tuple[Families, Families]) -> Mapping[Family, Way]:
    """The rule of docs/dataplane.md, written the other way round: by what a family needs."""
    (own, pods), (theirs, their_pods) = a, b
    tunnel: Family | None = next((family for family in FAMILIES if family in own and family in theirs), None)
    result: dict[Family, Way] = {}
    for family in FAMILIES:
        if family in pods and family in their_pods:
            if path != "overlay" and family in own and family in theirs:
                result[family] = (path, None)
            elif tunnel:
                result[family] = ("overlay", tunnel)
    return result


@pytest.mark.parametrize("path", ["native", "direct", "overlay"])
def test_both_ends_use_what_they_share_alike(path: Path) -> None:
    """All combinations of node addresses and pod CIDRs of two nodes."""
    for kinds in product(KINDS, repeat=4):
        a, b = node(1, kinds[0], kinds[1], path), node(2, kinds[2], kinds[3], path)
        there, back = compose(a, b), compose(b, a)
        about = f"nodes {kinds[0]} and {kinds[2]}, pods {kinds[1]} and {kinds[3]}"
        as_ruled = expected(path, (kinds[0], kinds[1]), (kinds[2], kinds[3]))
        assert ways(there, b) == ways(back, a) == as_ruled, about
        for wanted, peer in ((there, b), (back, a)):
            lacking = len(ways(wanted, peer)) < len({*kinds[1]} & {*kinds[3]})
            assert (peer.name in wanted.problems) >= lacking, about
        for fdb, _ in TUNNELS.values():
            for mac, end in there.tables[fdb].items():
                links = [link for link in back.tables["links"].values() if link.vxlan.local == end]
                assert [link.mac for link in links] == [mac], f"the peer has no tunnel there: {about}"


def test_the_second_tunnel_is_there_while_a_peer_needs_it_and_at_no_other_time() -> None:
    builder, own = DesiredStateBuilder(POLICY), node_route(1)
    dual, narrow = node_route(2), node_route(3, ips=["fd01::3"])

    def look(*peers: NodeRoute) -> DesiredState:
        return builder.compose(own, {route.name: route for route in (own, *peers)}, {}, HOST)

    assert look(dual).tables["links"].keys() == {VTEP}
    with_both = look(dual, narrow)
    assert {name: link.mtu for name, link in with_both.tables["links"].items()} == {VTEP: 8951, VTEP6: 8931}
    assert with_both.mtu == 8951, "TCP takes the smaller of both pods' sizes; others are told by ICMP"
    assert with_both.tables["links"][VTEP].mac == with_both.tables["links"][VTEP6].mac
    assert "net/ipv4/conf/cr6/rp_filter" in with_both.tables["sysctls"]
    gone = look(dual)
    assert gone.tables["links"].keys() == {VTEP}
    assert not any("cr6" in setting for setting in gone.tables["sysctls"])
    assert not gone.tables["fdb6"]
    assert not gone.tables["neighbours6"]


def test_nodes_of_one_kind_have_one_tunnel() -> None:
    for own in KINDS:
        wanted = compose(node(1, own, FAMILIES, "overlay"), node(2, own, FAMILIES, "overlay"))
        assert wanted.tables["links"].keys() == {VTEP}

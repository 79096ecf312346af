"""The kernel reaches the desired state from any state, and after any failure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest

from cloudroute.agent.cleanup import clean
from cloudroute.core.node.desired import DesiredStateBuilder
from cloudroute.core.node.peers import base
from cloudroute.core.node.startup import AgentState
from cloudroute.dataplane import GUARD_METRIC, KINDS, METRIC, TABLE, VTEP, VTEP6, Kind, Nexthop, Route, RouteKey, packed
from cloudroute.types import Cidr
from tests.agent.in_memory import (
    CONFLIST,
    HOST,
    POLICY,
    POOLS,
    TABLES,
    Killed,
    MemoryKernel,
    Node,
    node_route,
    route_table_object,
)

WORLD = (
    node_route(1, TABLES), node_route(2, TABLES), node_route(3), node_route(4),
    node_route(5, TABLES[:1], ips=["fd01::5"]),
)  # fmt: skip


def key(number: int) -> RouteKey:
    """Key of the IPv4 route to n<number>."""
    return RouteKey(packed(f"100.64.{number}.0"), 24, METRIC["ipv4"])


def hop(kernel: MemoryKernel, number: int) -> Nexthop:
    """Nexthop for packets to the IPv4 pods of n<number>."""
    tables = kernel.tables
    found: Nexthop = tables["nexthops"].entries[tables["routes"].entries[key(number)].nexthop]
    return found


@pytest.fixture
def settled() -> Node:
    """n1 with four peers, all in place."""
    node = Node(*WORLD)
    assert node.settle().ready
    return node


def test_each_peer_has_its_entries_and_the_nexthop_of_its_path(settled: Node) -> None:
    assert hop(settled.kernel, 2) == Nexthop(HOST.gateways[0], "eth0"), "native: both tables route both nodes"
    assert hop(settled.kernel, 3) == Nexthop(packed("100.64.3.0"), VTEP), "overlay"
    assert hop(settled.kernel, 4) == Nexthop(packed("10.0.0.4"), "eth0"), "direct: n4 is on n1's subnet"
    assert hop(settled.kernel, 5) == Nexthop(packed("100.64.5.0"), VTEP6), (
        "routed in one of the two tables only; it has IPv6 alone"
    )
    assert {kind: len(table.entries) for kind, table in settled.kernel.tables.items() if table.entries} == {
        "links": 2, "sysctls": 14, "addresses": 2, "bridges": 2, "fdb": 3, "neighbours": 6, "fdb6": 1, "neighbours6": 2,
        "nexthops": 8, "routes": 12, "nftables": 1, "files": 1,
    }  # fmt: skip


def test_a_change_of_path_is_one_nexthop_for_each_family(settled: Node) -> None:
    settled.kernel.writes.clear()
    settled.publish(node_route(3, TABLES))
    assert settled.settle().ready
    assert hop(settled.kernel, 3) == Nexthop(HOST.gateways[0], "eth0")
    assert [kind for kind, _ in settled.kernel.writes] == ["nexthops", "nexthops"]


def test_a_fresh_process_adopts_what_is_right_and_changes_nothing(settled: Node) -> None:
    before = settled.kernel.state
    settled.kernel.writes.clear()
    settled.start()
    assert settled.settle().ready
    assert settled.kernel.writes == []
    assert settled.kernel.state == before


def test_wrong_and_stale_entries_of_a_former_life_are_put_right(settled: Node) -> None:
    before, tables = settled.kernel.state, settled.kernel.tables
    tables["fdb"].entries[b"\x0a\x58\x64\x40\x03\x00"] = packed("10.9.9.9")
    tables["neighbours"].entries[packed("100.64.77.0")] = b"\x0a\x58\x64\x40\x4d\x00"
    tables["nexthops"].entries[4711] = Nexthop(packed("100.64.77.0"), VTEP)
    tables["routes"].entries[key(77)] = Route(4711, packed("100.64.1.0"))
    three = tables["routes"].entries[key(3)].nexthop
    tables["routes"].entries[key(3)] = Route(three, packed("100.64.9.0"))
    tables["nexthops"].entries[three] = Nexthop(packed("10.0.0.99"), "eth0")
    settled.start()
    assert settled.settle().ready
    assert settled.kernel.state == before


def test_two_routes_over_one_nexthop_are_told_apart(settled: Node) -> None:
    routes = settled.kernel.tables["routes"].entries
    routes[key(3)] = routes[key(4)]
    settled.start()
    assert settled.settle().ready
    assert hop(settled.kernel, 3) == Nexthop(packed("100.64.3.0"), VTEP)
    assert hop(settled.kernel, 4) == Nexthop(packed("10.0.0.4"), "eth0")


def test_nothing_is_removed_before_the_first_full_lists_have_come() -> None:
    node = Node(*WORLD)
    node.settle()
    before = node.kernel.state
    node.agents.node_routes.synced = False
    node.agents.node_routes.objects.clear()
    node.start()
    assert node.turn().state is AgentState.LISTING
    assert node.kernel.state == before


def test_a_peer_that_goes_takes_all_its_entries_along(settled: Node) -> None:
    settled.withdraw("n3")
    settled.settle()
    fresh = Node(*(route for route in WORLD if route.name != "n3"))
    fresh.settle()
    assert settled.kernel.state == fresh.kernel.state


def test_the_own_node_route_gone_leaves_the_kernel_as_it_is(settled: Node) -> None:
    before = settled.kernel.state
    settled.withdraw("n1")
    report = settled.settle()
    assert (report.ready, report.reason) == (False, "NoNodeRoute")
    assert settled.kernel.state == before


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "files"])
def test_an_entry_that_somebody_removes_is_put_back(settled: Node, kind: Kind) -> None:
    before = settled.kernel.state
    for one in list(before[kind]):
        settled.kernel.break_(kind, one)
        assert settled.settle().ready
        assert settled.kernel.state == before


def test_an_entry_that_somebody_removes_while_the_kernel_is_read_is_put_back(
    settled: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message comes during the read, which may have passed the entry already."""
    before, table = settled.kernel.state, settled.kernel.tables["routes"]
    read = table.read

    def late(wanted: Collection[Any]) -> dict[Any, Any]:
        monkeypatch.undo()
        found = read(wanted)
        settled.kernel.break_("routes", key(3))
        return found

    monkeypatch.setattr(table, "read", late)
    settled.kernel.told({"routes"})
    for _ in range(2):
        settled.turn()
    assert settled.kernel.state == before


def test_a_device_that_is_made_anew_gets_its_entries_back(settled: Node) -> None:
    """Another program has given it another VNI, which only a new device can change."""
    before = settled.kernel.state
    link = before["links"][VTEP]
    settled.kernel.tables["links"].entries[VTEP] = link._replace(vxlan=link.vxlan._replace(vni=7))
    settled.kernel.told({"links"})
    settled.settle()
    assert settled.kernel.state == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_write_that_fails_once_is_done_by_the_next_turns(kind: Kind) -> None:
    whole = Node(*WORLD)
    whole.settle()
    for one in whole.kernel.state[kind]:
        node = Node(*WORLD)
        node.kernel.refuse[kind, one] = ("EBUSY", 1)
        node.turn()
        assert node.settle().ready
        assert node.kernel.state == whole.kernel.state


@pytest.mark.parametrize("kind", ["fdb", "neighbours", "fdb6", "neighbours6", "routes"])
def test_a_write_that_always_fails_keeps_no_other_peer_from_its_entries(kind: Kind) -> None:
    whole = Node(*WORLD)
    whole.settle()
    one = next(iter(whole.kernel.state[kind]))
    node = Node(*WORLD)
    node.kernel.refuse[kind, one] = ("no memory", 1_000_000)
    report = node.settle()
    assert (report.ready, report.reason) == (False, "PeersFailed")
    assert "no memory" in report.message
    left = {k: v for k, v in whole.kernel.state[kind].items() if k != one and not (kind == "routes" and k.covers(one))}
    assert node.kernel.state == {**whole.kernel.state, kind: left}


def test_a_peer_that_goes_takes_its_failure_along(settled: Node) -> None:
    settled.kernel.refuse["routes", key(6)] = ("is already routed by another program", 1_000_000)
    settled.publish(node_route(6))
    assert settled.turn().reason == "PeersFailed"
    settled.withdraw("n6")
    assert settled.turn().ready


def test_while_something_fails_a_change_reads_nothing_again_and_delays_no_retry(settled: Node) -> None:
    settled.kernel.refuse["routes", key(6)] = ("is already routed by another program", 12)
    settled.publish(node_route(6))
    first = settled.loop.turn()
    assert first.due == settled.clock.time + 0.5
    settled.kernel.reads.clear()
    for _ in range(10):
        settled.publish(node_route(3, TABLES))
        assert settled.loop.turn().due == first.due
    assert hop(settled.kernel, 3) == Nexthop(HOST.gateways[0], "eth0")
    assert set(settled.kernel.reads) <= {"routes"}, "which fall with a nexthop"
    settled.clock.time = first.due
    second = settled.loop.turn()
    assert set(settled.kernel.reads) == set(KINDS)
    assert (second.report.reason, second.due) == ("PeersFailed", settled.clock.time + 1)
    settled.clock.time = second.due
    assert settled.turn().ready


def test_a_failure_after_a_success_is_tried_again_as_soon_as_the_first_one(settled: Node) -> None:
    for number, times in ((6, 5), (7, 1)):
        settled.kernel.refuse["routes", key(number)] = ("EBUSY", times)
        settled.publish(node_route(number))
        assert settled.loop.turn().due == settled.clock.time + 0.5
        assert settled.settle().ready


@pytest.mark.parametrize("kind", ["links", "sysctls", "addresses", "nftables"])
def test_a_node_whose_own_pods_would_not_work_gets_no_conflist(kind: Kind) -> None:
    node = Node(*WORLD)
    node.kernel.refuse[kind, None] = ("Operation not permitted", 1_000_000)
    report = node.settle()
    assert (report.ready, report.reason) == (False, "KernelFailed")
    assert CONFLIST not in node.kernel.state["files"]


def test_a_kind_that_cannot_be_read_is_said_and_the_others_go_on() -> None:
    node = Node(*WORLD)
    node.kernel.tables["nftables"].unreadable = "nft is missing: install nftables"
    report = node.settle()
    assert (report.ready, report.message) == (False, "nft is missing: install nftables")
    assert hop(node.kernel, 3)


def test_an_id_that_somebody_else_has_is_not_insisted_on() -> None:
    whole = Node(*WORLD)
    whole.settle()
    taken = whole.kernel.tables["routes"].entries[key(3)].nexthop
    node = Node(*WORLD)
    node.kernel.refuse["nexthops", taken] = ("this id is taken by another program", 1_000_000)
    assert node.settle().ready
    assert node.kernel.tables["routes"].entries[key(3)].nexthop != taken


def test_killed_at_any_entry_the_next_process_ends_in_the_same_tables() -> None:
    whole = Node(*WORLD)
    whole.settle()
    steps = len(whole.kernel.writes)
    for life in range(steps):
        node = Node(*WORLD)
        node.kernel.life = life
        with pytest.raises(Killed):
            node.settle()
        node.start()
        assert node.settle().ready
        assert node.kernel.state == whole.kernel.state, f"killed after {life} entries"


def test_killed_at_any_entry_of_a_change_the_next_process_ends_in_the_same_tables() -> None:
    changed = (node_route(2), node_route(6), node_route(5, TABLES))

    def begin() -> Node:
        node = Node(*WORLD)
        node.settle()
        node.publish(*changed)
        node.withdraw("n4")
        node.kernel.writes.clear()
        return node

    whole = begin()
    whole.settle()
    for life in range(len(whole.kernel.writes)):
        node = begin()
        node.kernel.life = life
        with pytest.raises(Killed):
            node.settle()
        node.start()
        assert node.settle().ready
        assert node.kernel.state == whole.kernel.state, f"killed after {life} entries"


def test_the_list_of_where_pods_keep_their_address_is_positive() -> None:
    """Cluster, nodes, exceptions, and those subnets whose table has an active route to this node."""
    node = Node(node_route(1, ["rtb-1"]), node_route(2), masquerade_except=(Cidr.parse("192.168.0.0/16"),))
    reports = node.agents.route_table_objects.objects
    reports["rtb-1"] = route_table_object("rtb-1", "10.1.0.0/20", "fd01:1::/64")
    reports["rtb-2"] = route_table_object("rtb-2", "10.2.0.0/20")
    node.settle()
    rules = node.kernel.tables["nftables"].entries[TABLE]
    assert set(map(str, rules.networks)) == {
        "100.64.0.0/16", "fd00:64::/64", "10.1.0.0/20", "fd01:1::/64", "192.168.0.0/16",
    }  # fmt: skip
    assert rules.hosts == {packed("10.0.0.2"), packed("fd01::2")}


def test_pods_are_masqueraded_in_any_case_toward_aws_services_and_where_it_is_said() -> None:
    """The first four addresses of every subnet, whether its table leads to this node or not, and link-local ones."""
    node = Node(node_route(1, ["rtb-1"]), node_route(2), masquerade_always=(Cidr.parse("100.64.2.0/24"),))
    reports = node.agents.route_table_objects.objects
    reports["rtb-1"] = route_table_object("rtb-1", "10.1.0.0/20", "fd01:1::/64")
    reports["rtb-2"] = route_table_object("rtb-2", "10.2.0.0/20")
    node.settle()
    rules = node.kernel.tables["nftables"].entries[TABLE]
    assert set(map(str, rules.masqueraded)) == {
        "10.1.0.0/30", "fd01:1::/126", "10.2.0.0/30", "100.64.2.0/24", "169.254.168.0/22", "fd00:ec2::/32",
    }  # fmt: skip


def test_without_a_cluster_cidr_the_cluster_is_what_the_node_routes_say() -> None:
    builder = DesiredStateBuilder(POLICY._replace(pools=()))
    own, peer = node_route(1), node_route(2)
    wanted: Any = builder.compose(own, {"n1": own, "n2": peer}, {}, HOST)
    rules = wanted.tables["nftables"][TABLE]
    assert rules.networks == {*own.spec.pod_cidrs, *peer.spec.pod_cidrs}


def test_packets_for_no_known_pod_are_unreachable(settled: Node) -> None:
    """Addresses of the cluster and of this node: a pod that is gone has left no route."""
    routes = settled.kernel.tables["routes"].entries
    guards = {(key.destination, key.length) for key, to in routes.items() if to == Route(0, b"")}
    assert guards == {(base(cidr), cidr.length) for cidr in (*POOLS, *WORLD[0].spec.pod_cidrs)}


def test_a_pools_unreachable_route_comes_after_the_routes_to_all_peers_and_goes_before_them(settled: Node) -> None:
    """Pods that run already send by the default route before and after: no packet of theirs is refused in between."""
    assert guards_of([key for kind, key in settled.kernel.writes if kind == "routes"]) == [False] * 8 + [True] * 4
    settled.kernel.writes.clear()
    clean(settled.kernel)
    assert guards_of([key for kind, key in settled.kernel.writes if kind == "routes"]) == [True] * 4 + [False] * 8


def test_nothing_is_refused_while_routes_to_peers_are_missing() -> None:
    """Without the VXLAN device no route can be made, not even by the NIC: pods go on sending by the default route."""
    node = Node(*WORLD)
    node.kernel.refuse["links", VTEP] = ("Operation not supported", 3)
    node.kernel.refuse["addresses", None] = ("no device cr0 of ours", 12)
    node.kernel.refuse["routes", None] = ("Invalid argument", 26)
    assert node.turn().reason == "KernelFailed"
    assert node.kernel.state["routes"] == {}
    assert node.settle().ready
    assert len(node.kernel.state["routes"]) == 12


@pytest.mark.parametrize("number", [0, 1])
def test_a_route_that_is_missing_holds_up_its_own_pools_unreachable_route_alone(number: int) -> None:
    """Routes of the other family are not held up. An `unreachable` route that exists stays, whatever fails later."""
    node = Node(*WORLD)
    cidr = WORLD[2].spec.pod_cidrs[number]
    node.kernel.refuse["routes", RouteKey(base(cidr), cidr.length, METRIC[cidr.family])] = ("EBUSY", 1)
    node.turn()
    pool = POOLS[number]
    put = [key for key in node.kernel.state["routes"] if key.metric == GUARD_METRIC]
    assert RouteKey(base(pool), pool.length, GUARD_METRIC) not in put
    assert len(put) == 3
    assert node.settle().ready
    node.kernel.refuse["routes", key(6)] = ("EBUSY", 1)
    node.publish(node_route(6))
    node.turn()
    assert guards_of(node.kernel.state["routes"]).count(True) == 4


def test_a_nexthop_that_is_missing_holds_up_the_unreachable_route_of_its_pool() -> None:
    """Its route is not even tried, and is missing all the same."""
    whole = Node(*WORLD)
    whole.settle()
    node = Node(*WORLD)
    node.kernel.refuse["nexthops", whole.kernel.state["routes"][key(3)].nexthop] = ("no memory", 1)
    node.turn()
    assert RouteKey(base(POOLS[0]), POOLS[0].length, GUARD_METRIC) not in node.kernel.state["routes"]
    assert node.settle().ready
    assert node.kernel.state == whole.kernel.state


def guards_of(keys: Iterable[RouteKey]) -> list[bool]:
    """Whether each route is an `unreachable` one."""
    return [one.metric == GUARD_METRIC for one in keys]

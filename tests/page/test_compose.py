"""The status page's content: its figures add up and its reasons are true in every state of a cluster."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudroute.core.cluster.planner import decide
from cloudroute.core.explain.overview import Cycle, compose
from cloudroute.core.explain.overview.pairs import OTHERS, count_pairs
from cloudroute.core.paths import Class, node_paths, pair_path
from cloudroute.types import NodeRouteSpec, Notice
from tests.core.test_properties import worlds
from tests.core.world import POLICY, World, settled_world

HOSTILE = "</script><img src=x onerror=alert(1)>\u202e\0\ud800"


def cycle_of(world: World, *notices: Notice) -> Cycle:
    """One cycle of a leader in this world."""
    snapshot = world.snapshot()
    decision = decide(snapshot, world.policy)
    told = (*decision.plan.notices, *notices)
    return Cycle(snapshot, decision, told, "", 0, 1_790_000_000.0, 0.1, 60.0)


def status_of(world: World, *notices: Notice) -> dict[str, Any]:
    """The status as a client parses it."""
    status: dict[str, Any] = json.loads(json.dumps(compose(cycle_of(world, *notices))))
    return status


def why(status: dict[str, Any]) -> dict[str, str]:
    """Reason by node, "" for a native one."""
    return {
        node["name"]: "" if node["why"] is None else status["reasons"][node["why"]]["text"] for node in status["nodes"]
    }


@given(worlds(), st.integers(0, 3))
def test_the_figures_add_up_in_every_state(world: World, cycles: int) -> None:
    """In every state entries add up to the limit, nodes and pairs to their numbers."""
    for _ in range(cycles):
        world.cycle()
    status = status_of(world)
    for table in status["tables"]:
        assert table["used"] == table["ours"] + table["foreign"]
        assert table["used"] + table["reserved"] + table["free"] == max(table["limit"], table["used"])
    published = len(world.records)
    assert sum(status["paths"].values()) == len(status["nodes"]) == len({*world.nodes, *world.records})
    assert sum(status["pairs"].values()) == published * (published - 1) // 2
    assert all(sum(node["peers"]) == published - 1 for node in status["nodes"] if node["path"])
    cells = status["matrix"]["cells"]
    upper = [sum(cells[row][column]) for row in range(len(cells)) for column in range(row, len(cells))]
    assert sum(upper) == sum(status["pairs"].values())
    assert {node["name"] for node in status["nodes"] if node["why"] is None} == {
        node["name"] for node in status["nodes"] if node["path"] == "native" and node["name"] in world.nodes
    }


specs = st.builds(
    NodeRouteSpec,
    pod_cidrs=st.just(()),
    node_ips=st.just(()),
    instance_id=st.just("i-1"),
    network_interface_id=st.just("eni-1"),
    subnet_id=st.sampled_from(["", "subnet-a", "subnet-b"]),
    route_table_id=st.sampled_from(["rtb-a", "rtb-b", "rtb-x"]),
    native_in=st.sampled_from([(), ("rtb-a",), ("rtb-b",), ("rtb-a", "rtb-b")]),
)


@given(st.dictionaries(st.text(max_size=3), specs, max_size=40), st.data())
def test_pairs_are_those_of_all_nodes_with_each_other(them: dict[str, NodeRouteSpec], data: st.DataObject) -> None:
    """Counting by class equals counting pair by pair; a node's path is the one in the metrics."""
    zones = {name: data.draw(st.sampled_from("abc")) for name in them}
    counted = count_pairs(them, zones)
    assert counted.path == node_paths(them)
    for name, spec in them.items():
        mine = [pair_path(Class.of(spec), Class.of(other)) for peer, other in them.items() if peer != name]
        assert counted.peers[name] == [mine.count("native"), mine.count("direct"), mine.count("overlay")]
    assert counted.by == ("node" if len(them) <= 30 else "zone")
    for row in range(len(counted.names)):
        for column in range(len(counted.names)):
            assert counted.cells[row][column] == counted.cells[column][row]


def test_a_label_can_not_make_the_matrix_large() -> None:
    """With too many zones the matrix shows the largest, and all others as one."""
    spec = NodeRouteSpec((), (), "i-1", "eni-1", "", "rtb-a", ("rtb-a",))
    names = [f"node-{number}" for number in range(500)]
    counted = count_pairs(dict.fromkeys(names, spec), {name: name for name in names})
    assert len(counted.names) == 30
    assert counted.names[-1] == OTHERS


def test_an_overflow_is_explained() -> None:
    """A node without an entry names the full tables of its senders; a node with all entries is native."""
    world = settled_world(12, 2, 4)
    status = status_of(world)
    assert Counter(why(status).values()) == {"": 6, "no entry is left in rtb-a": 3, "no entry is left in rtb-b": 3}
    assert [table["free"] for table in status["tables"]] == [0, 0]
    assert any(warning["reason"] == "free-entries" for warning in status["warnings"])


def test_gateways_are_named_by_table() -> None:
    """Each aggregate with the node that its table leads to; a table without gateways has none."""
    world = World(replace(POLICY, gateways=True))
    for zone in "ab":
        world.join(zone, f"gw-{zone}", gateway="candidate")
    world.settle()
    (pool,) = world.policy.aggregates
    tables = status_of(world)["tables"]
    assert [table["gateways"] for table in tables] == [
        [{"destination": str(pool), "node": name}] for name in ("gw-a", "gw-b")
    ]
    assert all(table["gateways"] == [] for table in status_of(settled_world(2, 2, 50))["tables"])


def test_a_node_to_which_no_route_can_lead_lacks_no_entry() -> None:
    """One entry is free; an ENI without an IPv4 address gets no IPv4 route."""
    world = World(zones="ac", ipv6_only="c", limit=3)
    world.join("a")
    narrow = world.join("c").name
    world.settle()
    assert why(status_of(world))[narrow] == "no route is meant for it in rtb-a"


def test_each_state_of_a_node_has_its_own_reason() -> None:
    """A new, settling, held-back, dead or vanished node, or one with its source/dest check on, has its own reason."""
    world = World(POLICY, "ab")
    first, second = world.join("a").name, world.join("b").name
    assert why(status_of(world)) == dict.fromkeys((first, second), "it has just come: nothing is published of it yet")
    world.cycle()
    assert why(status_of(world)) == {first: "its route settles in rtb-b", second: "its route settles in rtb-a"}
    trouble = {"ready": False, "reason": "KernelFailed", "message": HOSTILE}
    world.records[first] = replace(world.records[first], status=trouble)
    status = status_of(world)
    assert "waits for its agent, which says KernelFailed: </script>" in why(status)[first]
    world.records[first] = replace(world.records[first], status={})
    world.settle()
    assert set(why(status_of(world)).values()) == {""}
    del world.nodes[first]
    assert why(status_of(world))[first] == "its Node is gone: its routes drain, then they are removed"
    nameless = replace(world.join("a"), instance_id="", problem="providerID is missing")
    world.nodes[nameless.name] = nameless
    assert why(status_of(world))[nameless.name] == "providerID is missing"


def test_a_sender_whose_table_is_not_kept_is_the_reason() -> None:
    """An unmanaged table of a sender is the reason of all other nodes; its own node is native in theirs."""
    world = World(replace(POLICY, table_ids=("rtb-a", "rtb-b")))
    first, second, third = (world.join(zone).name for zone in "abc")
    world.settle()
    lack = "cloudroute keeps no routes in rtb-c"
    assert why(status_of(world)) == {first: lack, second: lack, third: ""}
    assert {node["name"]: node["path"] for node in status_of(world)["nodes"]} == {
        first: "partial", second: "partial", third: "native",
    }  # fmt: skip


def test_the_only_node_lacks_its_own_table_or_nothing() -> None:
    """The only node has no senders yet: its path depends on its own table."""
    world = World(POLICY, "a")
    name = world.join("a").name
    world.cycle()
    assert why(status_of(world)) == {name: "its route settles in rtb-a"}
    world.settle()
    assert why(status_of(world)) == {name: ""}
    world = World(POLICY, "a", limit=1)
    name = world.join("a").name
    world.settle()
    assert why(status_of(world)) == {name: "all others are on its subnet"}


@settings(max_examples=200)
@given(
    st.text(max_size=400),
    st.dictionaries(
        st.sampled_from(["ready", "reason", "message", "observedGeneration", "mtu"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=500), st.lists(st.text(), max_size=3)),
    ),
)
def test_words_of_agents_and_nodes_are_data(words: str, agent: dict[str, object]) -> None:
    """No name, message or status of any type stops the composition; each is shortened."""
    world = World(POLICY, "a")
    node = world.join("a")
    world.settle()
    world.nodes[node.name] = replace(world.nodes[node.name], zone_hint=words, problem=words)
    world.records[node.name] = replace(world.records[node.name], status=agent)
    stranger = replace(world.join("a", name="stranger" + words), instance_id="", problem=words)
    world.nodes[stranger.name] = stranger
    status = status_of(world, Notice("Node", words, "", "Said", words * 10))
    assert {node["name"] for node in status["nodes"]} == {node.name, stranger.name}
    assert all(len(warning["message"]) <= 600 for warning in status["warnings"] if warning["reason"] == "Said")
    assert all(len(node["agent"]) <= 300 for node in status["nodes"])

"""A node's path is one word wherever it is shown: the controller's metrics, `status`, the page, the agent's own status.

The last is the column PATH of `kubectl get noderoutes`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from cloudroute.agent.report import Report
from cloudroute.commands.status import node_statuses
from cloudroute.core.explain.overview import compose
from cloudroute.core.node.desired import AgentPolicy, DesiredStateBuilder
from cloudroute.core.node.startup import AgentState
from cloudroute.core.paths import path_counts
from cloudroute.dataplane import Host, packed
from tests.core.world import POLICY, World
from tests.page.test_compose import cycle_of


def said(world: World) -> dict[str, str | None]:
    """The path of each node, on which all four agree; and so do the two counts of pairs."""
    shown = {one["name"]: one["path"] for one in node_statuses(world.nodes, world.records)}
    page = compose(cycle_of(world))
    assert {node["name"]: node["path"] for node in page["nodes"]} == shown
    assert {name: column(world, name) for name in world.records} == shown
    counts = path_counts(record.spec for record in world.records.values())
    assert counts.nodes == {path: number for path, number in page["paths"].items() if path != "none"}
    assert Counter(counts.nodes) == Counter(shown.values())
    assert counts.pairs == page["pairs"]
    return shown


def column(world: World, name: str) -> object:
    """PATH, as the node's agent writes it."""
    own = world.records[name]
    host = Host("eth0", 9001, ((packed(own.spec.node_ips[0]), 16),), (packed("10.9.0.1"),))
    policy = AgentPolicy((), vni=1, port=8472, masquerade=True, exceptions=())
    wanted = DesiredStateBuilder(policy).compose(own, world.records, {}, host)
    return Report.of(AgentState.SERVING, own, wanted).status({}, 0)["path"]


def test_of_one_table_that_is_full_those_with_an_entry_are_native_and_the_rest_overlay() -> None:
    """12 nodes, 10 entries, 2 of them others': the 8 that have one are native, though 4 are reached by tunnel."""
    world = World(POLICY, one_table=True, limit=10)
    world.foreign("rtb-main", "0.0.0.0/0")
    names = [world.join(zone).name for zone in "abc" * 4]
    world.settle()
    assert said(world) == {**dict.fromkeys(names[:8], "native"), **dict.fromkeys(names[8:], "overlay")}


def test_of_a_table_for_each_zone_a_node_that_is_in_some_is_partial() -> None:
    """Three entries for nodes in each: of the fourth that zone c sends to, b's senders find a route and c's none."""
    world = World(POLICY, limit=4)
    first, *others, last = (world.join(zone).name for zone in "abbca")
    world.settle()
    assert said(world) == {first: "native", **dict.fromkeys(others, "native"), last: "partial"}
    assert world.records[last].spec.native_in == ("rtb-b",)


def test_nodes_of_one_subnet_are_direct() -> None:
    """With an entry or without: nobody sends by a table. A node whose source/dest check is on is on nobody's subnet."""
    world = World(POLICY, "a", limit=3)
    names = [world.join("a").name for _ in range(4)]
    world.settle()
    assert said(world) == dict.fromkeys(names, "direct")
    last = world.records[names[3]]
    world.records[names[3]] = replace(last, spec=replace(last.spec, subnet_id="", native_in=()))
    assert said(world) == {names[0]: "native", names[1]: "native", names[2]: "overlay", names[3]: "overlay"}

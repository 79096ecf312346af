"""The sample of `cloudroute verify`: few nodes that show everything a cluster has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudroute.core.paths import Class, node_paths, pair_path
from cloudroute.core.verify.model import Asker, NodeFacts, Role
from cloudroute.core.verify.questions import Scene, questions, streams
from cloudroute.core.verify.sample import choose
from cloudroute.types import Cidr, NodeRouteSpec
from tests.core.test_paths_gateways import with_gateways
from tests.core.test_paths_trace import REPORTS, SPECS

ZONES = ("a", "b", "c")


def spec(number: int, zone: str, *, native: bool, gateway: bool = False) -> NodeRouteSpec:
    """A node with /24 and /80 of its own, routed in each zone's table or in none."""
    cidrs = Cidr.parse(f"100.64.{number % 256}.0/24"), Cidr.parse(f"fd00:64:0:{number:x}::/80")
    tables = tuple(f"rtb-{one}" for one in ZONES) if native else ()
    addresses = (f"10.0.{number // 256}.{number % 256}", f"fd00:10::{number:x}")
    return NodeRouteSpec(
        cidrs, addresses, f"i-{number}", f"eni-{number}", f"subnet-{zone}", f"rtb-{zone}", tables, gateway
    )


def cluster(number: int, native: int) -> tuple[list[NodeFacts], dict[str, NodeRouteSpec]]:
    """Nodes of three zones, two instance families and two groups; the first `native` are routed."""
    facts, specs = [], {}
    for n in range(number):
        zone, name = ZONES[n % 3], f"node-{n:03}"
        facts.append(
            NodeFacts(name=name, zone=zone, instance_type=("m7g.large", "c7i.xlarge")[n % 2], group=f"g{n % 2}")
        )
        specs[name] = spec(n, zone, native=n < native, gateway=n == 1)
    return facts, specs


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[NodeFacts], dict[str, NodeRouteSpec]]:
    facts, specs = [], {}
    for n in range(draw(st.integers(1, 12))):
        zone = draw(st.sampled_from(ZONES))
        kind = draw(st.sampled_from(("m7g.large", "c7i.xlarge", "")))
        facts.append(NodeFacts(name=f"n{n}", zone=zone, instance_type=kind, group=draw(st.sampled_from("xy"))))
        specs[f"n{n}"] = spec(n, zone, native=draw(st.booleans()), gateway=draw(st.booleans()))
    return facts, specs


def shown(names: tuple[str, ...], facts: list[NodeFacts], specs: Mapping[str, NodeRouteSpec]) -> set[tuple[str, str]]:
    """Return the variety that these nodes show, computed anew."""
    paths, by_name = node_paths(specs), {node.name: node for node in facts}
    found: set[tuple[str, str]] = {
        ("pairs", pair_path(Class.of(specs[a]), Class.of(specs[b]))) for a in names for b in names if a != b
    }
    for name in names:
        node = by_name[name]
        found |= {("zone", node.zone), ("instance family", node.instance_family), ("node group", node.group)}
        found |= {("path", paths[name]), ("subnet", specs[name].subnet_id)}
        found |= {("gateway", "yes" if specs[name].gateway else "")}
    return {(kind, value) for kind, value in found if value}


@given(clusters(), st.integers(1, 12))
def test_a_sample_shows_everything_or_says_what_it_leaves_out(
    given: tuple[list[NodeFacts], dict[str, NodeRouteSpec]], number: int
) -> None:
    facts, specs = given
    sample = choose(facts, specs, number)
    assert len(sample.nodes) == min(number, len(facts))
    everything = shown(tuple(specs), facts, specs)
    assert everything - shown(sample.nodes, facts, specs) == set(sample.missing)
    assert sample == choose(facts[::-1], specs, number), "the order in which nodes are listed is no matter"


def test_pairs_of_each_path_take_the_last_places() -> None:
    """Two nodes of six are native to each other, and only a sample with both shows it."""
    facts, specs = cluster(6, native=0)
    for number, zone in ((4, "b"), (5, "c")):
        specs[f"node-{number:03}"] = spec(number, zone, native=True)
    assert choose(facts, specs, 5).missing == ()


def test_of_300_nodes_six_show_everything() -> None:
    facts, specs = cluster(300, native=49)
    sample = choose(facts, specs, 6)
    assert sample.missing == ()
    assert len(sample.nodes) == 6


def test_the_questions_of_a_sample_of_300_nodes_are_counted() -> None:
    """6 nodes, two families: 30 ordered pairs, 4 checks each, 2 ways of asking a node, and so on."""
    facts, specs = cluster(300, native=49)
    nodes = choose(facts, specs, 6).nodes
    scene = scene_of(nodes, specs)
    assert len(list(questions(scene))) == QUESTIONS_OF_SIX
    assert len(list(streams(scene))) == 6 * 5 * 2


@pytest.mark.parametrize("keeps_source", [True, False])
def test_a_host_of_the_vpc_sees_a_pod_where_agents_keep_its_address_by_a_gateway(*, keeps_source: bool) -> None:
    """With --gateway-keeps-source; else it sees the node. In both families."""
    scene = replace(
        scene_of(("b4",), SPECS),
        tables={"rtb-a": with_gateways(REPORTS["rtb-a"], "b2")},
        vpc_hosts=(("10.0.0.99", 8470), ("fd10:1::99", 8470)),
        keeps_source=keeps_source,
    )
    asked = [one for one in questions(scene) if one.name == "vpc-host" and not one.control]
    seen = scene.pods[Asker("b4", "pod")] if keeps_source else SPECS["b4"].node_ips
    assert {one.expected for one in asked} == {f"an answer that saw {address}" for address in seen}


QUESTIONS_OF_SIX = (
    (6 * 5 + 6) * 2 * 4  # pairs of nodes, and the two pods of each; two families; UDP, TCP, full size, one byte more
    + 2 * (6 * 6 * 2 * 2)  # pods to nodes and nodes to pods; families; UDP and TCP
    + 3 * (6 * 2 * 2)  # Services of the same node, of another one, of itself
    + 6 * (5 + 3)  # names: inside twice, outside, both Resolvers; the last three of nodes, too
    + 6 * (2 + 1 + 1 + 1)  # the API server twice, the internet of pods and nodes, the metadata service
)


def scene_of(nodes: tuple[str, ...], specs: Mapping[str, NodeRouteSpec]) -> Scene:
    pods = {}
    roles: tuple[Role, ...] = ("pod", "second")
    for node in nodes:
        for number, role in enumerate(roles, 10):
            cidrs = specs[node].pod_cidrs
            addresses = tuple(
                str(Cidr(c.family, c.base + number, 128 if c.family == "ipv6" else 32)).partition("/")[0] for c in cidrs
            )
            pods[Asker(node, role)] = addresses
    return Scene(
        specs=specs,
        tables={},
        pods=pods,
        nodes=nodes,
        mtus=dict.fromkeys(pods, 8951),
        agents=frozenset(nodes),
        services=dict.fromkeys(nodes, ("10.96.0.1", "fd00:96::1")),
        api_server=("10.96.0.2", "fd00:96::2"),
        outside_name="example.com",
        internet=("example.com", 80),
        seconds=5.0,
    )

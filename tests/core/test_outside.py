"""Settings that do not cover the pod CIDRs of a settled cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudroute.core.cluster.model import Policy
from cloudroute.core.cluster.outside import left_out_nodes, outside_pools
from cloudroute.selector import Selector
from cloudroute.types import Cidr, LeftOut
from tests.core.world import DUAL, World


def settled() -> World:
    """Four nodes of two families."""
    world = World(DUAL)
    for zone in "abca":
        world.join(zone)
    world.settle()
    return world


def problems(world: World, policy: Policy) -> list[str]:
    return outside_pools(world.nodes, world.records, policy)


def pools(*texts: str) -> Policy:
    return replace(DUAL, pools=tuple(map(Cidr.parse, texts)))


BOTH = tuple(map(str, DUAL.pools))


@pytest.mark.parametrize(
    ("policy", "starts", "count"),
    [
        (DUAL, [], 0),
        (pools("10.99.0.0/16", *BOTH), [], 0),
        (pools("10.99.0.0/16", BOTH[1]), ["--cluster-cidr 10.99.0.0/16 fd00:64::/64: "], 4),
        (pools("10.99.0.0/16"), ["--cluster-cidr 10.99.0.0/16: "], 8),
        (pools(BOTH[0]), ["--cluster-cidr 100.64.0.0/16: "], 4),
        (pools("100.64.0.0/23", BOTH[1]), ["--cluster-cidr 100.64.0.0/23 fd00:64::/64: "], 2),
        (replace(DUAL, node_mask={"ipv4": 25, "ipv6": 80}), ["--node-mask-v4 25: "], 4),
        (replace(DUAL, node_mask={"ipv4": 25, "ipv6": 96}), ["--node-mask-v4 25: ", "--node-mask-v6 96: "], 4),
    ],
)
def test_each_setting_that_does_not_fit_is_named(policy: Policy, starts: list[str], count: int) -> None:
    """With three of those that it does not fit and how many more there are, what was expected, and the way out."""
    found = problems(settled(), policy)
    assert [one[: len(start)] for one, start in zip(found, starts, strict=True)] == starts
    for one in found:
        assert "expected" in one
        assert "cloudroute cleanup" in one
        assert (f" and {count - 3} more" in one) == (count > 3)


def test_node_routes_without_a_node_count() -> None:
    """Of a node that went while no controller ran: its routes would not be known as ours any more."""
    world = settled()
    name = next(iter(world.nodes))
    (cidr, _) = world.records[name].spec.pod_cidrs
    world.nodes.clear()
    world.records = {name: world.records[name]}
    (found,) = problems(world, pools("10.99.0.0/16", BOTH[1]))
    assert f"NodeRoute {name} {cidr} lies outside" in found


def test_without_any_node_route_most_nodes_decide() -> None:
    """A first start, or NodeRoutes that were deleted: exactly half of the Nodes outside is not yet a wrong setting."""
    world = settled()
    world.records.clear()
    (found,) = problems(world, pools("10.99.0.0/16"))
    assert "and 5 more" in found
    (most,) = problems(world, pools("100.64.0.0/24", BOTH[1]))
    assert "100.64.3.0/24 lie outside" in most
    assert problems(world, pools("100.64.0.0/23", BOTH[1])) == []


def test_a_single_node_with_a_cidr_of_somebody_else_does_not_count() -> None:
    """Whether it was told so, has no instance, or has just appeared while no controller ran."""
    world = settled()
    world.join(cidrs=(Cidr.parse("192.168.0.0/24"),))
    assert problems(world, DUAL) == []
    world.records.clear()
    assert problems(world, DUAL) == []


@pytest.mark.parametrize("told", [False, True])
def test_nodes_that_were_told_or_have_no_instance_are_not_counted(*, told: bool) -> None:
    """Without any NodeRoute: two such Nodes beside one that the pools cover are no majority."""
    world = World(DUAL)
    if told:
        for part in (0, 1):
            world.join(cidrs=(Cidr.parse(f"192.168.{part}.0/24"),))
        world.settle()
    else:
        for part in (0, 1):
            stray = world.join(cidrs=(Cidr.parse(f"192.168.{part}.0/24"),))
            world.nodes[stray.name] = replace(stray, instance_id="")
    world.join(cidrs=tuple(map(Cidr.parse, ("100.64.9.0/24", "fd00:64:0:0:9::/80"))))
    world.records.clear()
    assert problems(world, DUAL) == []


@pytest.mark.parametrize(
    ("nodes", "left_out", "refused"),
    [(1, 1, True), (2, 1, False), (2, 2, True), (3, 2, False), (4, 2, False), (4, 3, True), (6, 3, False)],
)
def test_all_or_most_and_three_of_the_nodes_with_routes_left_out_is_refused(
    nodes: int, left_out: int, *, refused: bool
) -> None:
    """By instance, so that a renamed Node counts too. Up to half is meant; Nodes without a NodeRoute don't count."""
    world = World(DUAL)
    for _ in range(nodes + 1):
        world.join("a")
    world.settle()
    *names, gone = world.nodes
    del world.nodes[gone]
    others = {
        f"renamed-{name}": LeftOut(f"renamed-{name}", "1", world.nodes.pop(name).instance_id, "not selected")
        for name in names[:left_out]
    }
    others["new"] = LeftOut("new", "1", "i-new", "windows")
    found = left_out_nodes(world.nodes, others, world.records, Selector.parse("role=workr"))
    text = f"--node-selector=role=workr: leaves out {left_out} of {nodes} Nodes that have routes"
    assert [one[: len(text)] for one in found] == ([text] if refused else [])


def test_an_instance_that_another_node_selects_is_not_left_out() -> None:
    """The Node of its former name is still there, without the label."""
    world = World(DUAL)
    node = world.join("a")
    world.settle()
    others = {"former": LeftOut("former", "1", node.instance_id, "not selected")}
    assert left_out_nodes(world.nodes, others, world.records, Selector.parse("role=worker")) == []

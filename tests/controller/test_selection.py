"""Nodes that are none of ours, beside those that are."""

from __future__ import annotations

from functools import partial

import pytest
from structlog.testing import capture_logs

from cloudroute.errors import UsageError
from cloudroute.selector import Selector
from tests.controller.lab import NATIVE
from tests.controller.lab import lab as any_lab
from tests.controller.state import assert_nothing_else, state_of

lab = partial(any_lab, traffic=True, tagged=True)
COMPUTE_TYPE = "eks.amazonaws.com/compute-type"
FARGATE = "aws:///us-east-1a/1a2b3c4d5e-6f7a8b9c0d1e/fargate-ip-10-0-0-200.ec2.internal"
HYBRID = "eks-hybrid:///us-east-1/prod/mi-0a1b2c3d4e5f67890"


def test_nodes_of_other_kinds_are_left_alone() -> None:
    """No pod CIDR, condition, NodeRoute, write, Event or warning for them, though all have instances or CIDRs."""
    with lab() as world, capture_logs() as said:
        ours = world.join_many(3)
        others = [
            world.join(name="windows", labels={"kubernetes.io/os": "windows"}),
            world.join(name="fargate", provider_id=FARGATE, labels={COMPUTE_TYPE: "fargate"}),
            world.join(name="hybrid", provider_id=HYBRID, pod_cidrs=("192.168.7.0/24",)),
            world.join(name="auto", labels={COMPUTE_TYPE: "auto"}),
        ]
        before = {name: world.kube.get("nodes", name) for name in others}
        world.run()
        assert {name: world.kube.get("nodes", name) for name in others} == before
        assert {name: world.condition(name) for name in ours} == dict.fromkeys(ours, NATIVE)
        assert set(world.published()) == set(ours)
        assert_nothing_else(world, ours)
        assert world.events() == []
        assert [line for line in said if line["log_level"] != "info"] == []
        world.writes()
        for name in others:
            world.kube.patch("nodes", name, {"metadata": {"annotations": {"touched": "yes"}}})
        world.calls()
        world.run()
        assert (world.calls(), world.writes()) == ({}, {})


def test_a_node_that_leaves_the_selection_is_withdrawn() -> None:
    """As one whose Node is gone: drained, no packet lost; it comes back when it is selected again."""
    with lab(node_selector=Selector.parse("pool notin (edge)")) as world:
        names = world.join_many(3)
        outside = world.join(1, labels={"pool": "edge"})
        world.run()
        assert world.condition(outside) is None
        before = state_of(world, names[1:])
        world.kube.patch("nodes", names[0], {"metadata": {"labels": {"pool": "edge"}}})
        world.run()
        assert state_of(world, names[1:]) == before
        assert_nothing_else(world, names[1:])
        world.kube.patch("nodes", names[0], {"metadata": {"labels": {"pool": None}}})
        world.run()
        assert {name: world.condition(name) for name in names} == dict.fromkeys(names, NATIVE)
        assert_nothing_else(world, names)


@pytest.mark.parametrize("cause", ["typo", "labels"])
def test_a_start_that_leaves_out_most_nodes_with_routes_is_refused(cause: str) -> None:
    """Whether the selector has a typo or the Nodes lost their labels; `cleanup` is exempt, and half is meant."""
    with lab() as world:
        names = [world.join(zone % 3, labels={"role": "worker"}) for zone in range(6)]
        world.run()
        if cause == "typo":
            world.start(node_selector=Selector.parse("role=workr"))
        else:
            for name in names:
                world.kube.patch("nodes", name, {"metadata": {"labels": {"role": None}}})
            world.start(node_selector=Selector.parse("role=worker"))
        with pytest.raises(UsageError) as raised:
            world.loop.check()
        text = f"--node-selector={world.settings.node_selector}: leaves out 6 of 6 Nodes that have routes"
        assert text in str(raised.value)
        assert set(world.published()) == set(names)
        world.start(leave=True).check()
        for name in names[:3]:
            world.kube.patch("nodes", name, {"metadata": {"labels": {"role": "workr"}}})
        world.start(leave=False, node_selector=Selector.parse("role=workr")).check()


def test_a_changed_kind_counts_as_a_selector_does() -> None:
    """All Nodes get the label of EKS Auto Mode: the text names the kind."""
    with lab() as world:
        for name in world.join_many(3):
            world.run()
            world.kube.patch("nodes", name, {"metadata": {"labels": {COMPUTE_TYPE: "auto"}}})
        world.start()
        with pytest.raises(UsageError, match="the kind auto-mode: leaves out 1 of 1 Nodes that have routes"):
            world.loop.check()

"""Events and log lines: on change only, once per object and reason, never for a normal success."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.controller.lab import Lab, lab


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    """Collect the log lines, as structlog's event dicts."""
    with capture_logs() as captured:
        yield captured


def test_success_is_no_event() -> None:
    """Nodes that come, move and go well leave no Event at all."""
    with lab() as world:
        names = world.join_many(6)
        world.run()
        world.terminate(names[0])
        world.join(0)
        world.run()
        world.start(leave=True)
        world.run()
        assert world.events() == []


def test_overlay_is_one_event() -> None:
    """A node that found no entry has one Event of type Normal, however long that lasts and after a restart too."""
    with lab(one_table=True, route_limit=3) as world:
        names = world.join_many(4)
        world.run()
        world.pass_seconds(200)
        world.start()
        world.pass_seconds(200)
        assert [event[:3] for event in world.events()] == [
            ("Normal", names[2], "OverlayFallback"), ("Normal", names[3], "OverlayFallback"),
        ]  # fmt: skip


def test_no_network_is_a_warning() -> None:
    """A node without a network has one Event of type Warning that says why and what to do."""
    with lab(one_table=True, route_limit=2, overlay=False, cluster_cidr=("100.64.0.0/23",)) as world:
        world.join_many(3)
        world.run()
        world.pass_seconds(200)
        events = world.events()
        assert [event[:3] for event in events] == [
            ("Warning", "node-002", "RouteLimit"), ("Warning", "node-003", "NoPodCIDR"),
        ]  # fmt: skip
        assert "add a --cluster-cidr" in events[1][3]


def test_each_object_and_reason_once() -> None:
    """Two reasons of one object are two Events; the same again is none, though other nodes come and go."""
    with lab(1, route_limit=4) as world:
        world.foreign(world.table(), "100.64.9.0/24", GatewayId=world.gateway())
        for number in range(2):
            world.foreign(world.table(), f"192.0.{number}.0/24", NetworkInterfaceId=world.interface())
        for _ in range(3):
            name = world.join(0)
            world.run()
            world.terminate(name)
            world.run()
            world.pass_seconds(100)
        assert [event[:3] for event in world.events()] == [
            ("Warning", world.table(), "ForeignRoute"), ("Warning", world.table(), "NoFreeEntry"),
        ]  # fmt: skip


def test_events_name_their_object() -> None:
    """An Event of a Node carries that Node's uid, so that `kubectl describe node` shows it."""
    with lab(1) as world:
        name = world.join(0, provider_id="nonsense")
        world.join(0)
        world.run()
        assert len(world.events("InvalidNode")) == 1
        (event,) = world.kube.list("events", "default")
        node = world.kube.get("nodes", name)
        assert event["involvedObject"]["kind"] == "Node"
        assert event["involvedObject"]["uid"] == node["metadata"]["uid"]


def test_a_new_node_of_the_name_is_told_again() -> None:
    """A Node that was recreated is another object: what is wrong with it is said again."""
    with lab(1) as world:
        world.join(0)
        for _ in range(2):
            world.join(0, name="odd", provider_id="nonsense")
            world.run()
            world.kube.delete("nodes", "odd")
            world.run()
        assert [event[:3] for event in world.events()] == [("Warning", "odd", "InvalidNode")] * 2


def test_idle_is_silent(logs: list[Any]) -> None:
    """A settled cluster logs nothing, for an hour, whatever is wrong with some of its nodes."""
    with lab(one_table=True, route_limit=3) as world:
        _trouble(world)
        world.pass_seconds(120)
        logs.clear()
        world.pass_seconds(3600)
        assert logs == []


def test_one_line_per_cycle(logs: list[Any]) -> None:
    """A cycle that did something is one line, in words."""
    with lab(2) as world:
        world.join_many(2)
        world.run()
        said = [line for line in logs if line["event"] == "cycle"]
        assert len(said) == 2
        for words in ("give 2 nodes pod CIDRs", "publish 2 new nodes", "create 4 routes", "set 2 conditions"):
            assert words in said[0]["did"]
        assert said[1]["did"] == "change the path of 2 nodes"
        assert {line["log_level"] for line in logs} == {"info"}


def test_notices_are_logged_once(logs: list[Any]) -> None:
    """Each Event is a line of the log too, once."""
    with lab(one_table=True, route_limit=3) as world:
        _trouble(world)
        world.pass_seconds(300)
        notices = sorted((line["reason"], line["log_level"]) for line in logs if line["event"] == "notice")
        assert notices == [("ForeignRoute", "warning"), ("InvalidNode", "warning"), ("OtherVPC", "warning")]


def _trouble(world: Lab) -> None:
    """A foreign route, nodes in the overlay, and nodes that can't be served."""
    world.foreign(world.table(), "100.64.9.0/24", GatewayId=world.gateway())
    world.join_many(4)
    world.join(0, provider_id="nonsense")
    world.join(world.aws.scene.vpc("10.50.0.0/16", zones=1).zones[0])

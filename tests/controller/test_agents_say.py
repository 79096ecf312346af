"""Agents' words in the controller: they hold a node back from native, and withdraw nothing; a lost route is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.controller.lab import NATIVE, Lab, lab

FAILED: dict[str, Any] = {
    "ready": False,
    "reason": "KernelFailed",
    "message": "no nftables: install it",
    "observedGeneration": 1,
}
FINE: dict[str, Any] = {"ready": True, "reason": "Ready", "message": "", "observedGeneration": 1}


def say(world: Lab, name: str, status: dict[str, Any]) -> None:
    """The agent of a node writes its status."""
    world.kube.patch_status("noderoutes", name, status)


def test_a_node_is_native_once_its_agent_is_ready() -> None:
    """Meanwhile all else is done, nothing is waited for by time, and one Event says why."""
    with lab(1, traffic=True) as world:
        name = world.join(0)
        world.turn()
        say(world, name, FAILED)
        world.run()
        world.pass_seconds(200)
        assert world.condition(name) == NATIVE
        assert world.native(world.table()) == []
        assert world.events() == [
            (
                "Warning", name, "AgentNotReady",
                f"not native from {world.table()} yet: it will be when its agent is ready, which says KernelFailed: no "
                "nftables: install it",
            )
        ]  # fmt: skip
        say(world, name, FINE)
        world.turn()
        assert world.native(world.table()) == [name]


def test_an_agent_that_fails_later_withdraws_nothing() -> None:
    """Not after a restart either: what is published stays."""
    with lab(1, traffic=True) as world:
        names = world.join_many(2)
        world.run()
        say(world, names[0], FAILED)
        world.run()
        world.start()
        world.pass_seconds(200)
        assert world.native(world.table()) == names
        assert world.events() == []


def test_a_status_changes_no_object() -> None:
    """Agents' reports, whatever is in them, cause no write of the controller."""
    with lab(2) as world:
        names = world.join_many(4)
        world.run()
        world.writes()
        for name, status in zip(names, (FAILED, FINE, {}, {"ready": False}), strict=True):
            say(world, name, status)
        world.writes()
        world.run()
        assert world.writes() == {}


def take_route(world: Lab, table: str, name: str) -> None:
    """Somebody deletes a node's route; the next look at EC2 shows it."""
    (cidr,) = world.pod_cidrs(name)
    world.aws.scene.ec2.delete_route(RouteTableId=table, DestinationCidrBlock=cidr)
    world.pass_seconds(world.settings.resync_seconds + 1)
    world.run()


def test_a_live_node_that_loses_a_route_has_one_event() -> None:
    """It names the table and the subnet whose hosts lose their way, and what breaks."""
    with lab(2) as world:
        names = world.join_many(2)
        world.run()
        table, zone = world.tables()[1], world.vpc.zones[1]
        take_route(world, table, names[0])
        assert world.native(table) == names, "it has come back"
        ((kind, name, reason, note),) = world.events()
        assert (kind, name, reason) == ("Warning", names[0], "RouteWithdrawn")
        assert f"Withdrawn from {table} ({zone.subnet_id} " in note
        assert "established connections with them break" in note


def test_it_is_said_again_when_it_happens_again(logs: list[Any]) -> None:
    """Each time once, in the log too, whoever leads; while it can't be withdrawn it is one time."""
    with lab(2) as world:
        names = world.join_many(2)
        world.run()
        for times in (1, 2):
            world.kube.faults.fail(500, "patch", "noderoutes", count=2)
            take_route(world, world.tables()[1], names[0])
            world.start()
            world.pass_seconds(100)
            assert [event[:3] for event in world.events()] == [("Warning", names[0], "RouteWithdrawn")] * times
        assert [line["reason"] for line in logs if line["event"] == "notice"] == ["RouteWithdrawn"] * 2


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    """Collect the log lines, as structlog's event dicts."""
    with capture_logs() as captured:
        yield captured


@pytest.mark.parametrize("dead", [True, False])
def test_a_node_that_goes_has_none(*, dead: bool) -> None:
    """Nor does a cleanup say anything."""
    with lab(2) as world:
        names = world.join_many(3)
        world.run()
        if dead:
            world.terminate(names[0])
        else:
            world.kube.delete("nodes", names[0])
        world.run()
        world.start(leave=True)
        world.run()
        assert world.events() == []

"""Invariant 7: whatever a controller that dies after any number of writes leaves, the next one makes right."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.controller.crash import doom
from tests.controller.ends import NATIVE, OVERLAY, all_native
from tests.controller.lab import Lab, lab

MOST = 60
"""More writes than any scenario here needs."""


def well(world: Lab, names: list[str]) -> None:
    """As if nothing had happened: all native, and tables reported as they are."""
    all_native(world, names)
    for table_id in world.tables():
        assert world.use(table_id) == {"limit": 50, "used": len(names) + 1, "ours": len(names), "foreign": 1}


def wipe(world: Lab) -> None:
    """Nothing was ever here."""
    world.stop()
    for plural in ("nodes", "noderoutes", "routetables"):
        for item in world.kube.list(plural):
            world.kube.delete(plural, item["metadata"]["name"])
    for table_id in world.tables():
        for destination in world.routes(table_id):
            world.aws.scene.ec2.delete_route(RouteTableId=table_id, DestinationCidrBlock=destination)


def test_a_crash_at_every_write_of_a_first_sync() -> None:
    """Two nodes join an empty cluster; the controller dies after 0, 1, 2, … writes until it needs no more."""
    with lab(zones=2) as world:
        for left in range(MOST):
            names = world.join_many(2)
            died = doom(world, left)
            world.start()
            world.run()
            well(world, names)
            if not died:
                break
            wipe(world)
        assert 18 <= left < MOST


def replaced(world: Lab, names: list[str]) -> list[str]:
    """One node is replaced by another instance under its name."""
    world.terminate(names[0])
    return [*names[1:], world.join(0, name=names[0])]


def departed(world: Lab, names: list[str]) -> list[str]:
    """One Node is deleted while its instance lives on."""
    world.kube.delete("nodes", names[0])
    return [*names[1:], world.join(0)] if len(names) < 4 else names[1:]


def renamed(world: Lab, names: list[str]) -> list[str]:
    """The kubelet of one instance registers under another name."""
    provider_id = world.kube.get("nodes", names[0])["spec"]["providerID"]
    world.kube.delete("nodes", names[0])
    return [*names[1:], world.join(0, machine=world.aws.scene.launch(world.vpc.zones[0])[0], provider_id=provider_id)]


@pytest.mark.parametrize("change", [replaced, departed, renamed])
def test_a_crash_at_every_write_of_a_churn(change: Callable[[Lab, list[str]], list[str]]) -> None:
    """The same cluster is churned again and again; each time the controller dies one write later."""
    with lab(zones=2) as world:
        names = world.join_many(3)
        world.run()
        for left in range(MOST):
            names = change(world, names)
            died = doom(world, left)
            world.start()
            world.run()
            well(world, names)
            if not died:
                break
        assert 4 <= left < MOST


def test_a_crash_at_every_write_of_a_promotion() -> None:
    """A routed node goes and one of the overlay gets its slot: never above the limit, and all others keep theirs."""
    with lab(zones=2, one_table=True, route_limit=4) as world:
        names = world.join_many(5)
        world.run()
        for left in range(MOST):
            world.clock.time += 1
            world.terminate(names.pop(0))
            names.append(world.join(0))
            died = doom(world, left)
            world.start()
            world.run()
            conditions = world.conditions()
            assert [conditions[name] for name in names] == [NATIVE] * 3 + [OVERLAY] * 2
            assert sorted(world.routes(world.table())) == sorted(world.pod_cidrs(name)[0] for name in names[:3])
            assert world.native(world.table()) == sorted(names[:3])
            if not died:
                break
        assert 6 <= left < MOST
        assert world.aws.highest[world.table(), "ipv4"] == 4


def test_a_departure_while_nobody_leads() -> None:
    """A Node goes while no controller runs, and its instance lives on: its routes go, nothing leaks."""
    with lab(zones=2) as world:
        names = world.join_many(3)
        world.run()
        world.stop()
        world.kube.delete("nodes", names[0])
        world.start()
        world.run()
        well(world, names[1:])
        world.calls(), world.writes()
        world.start()
        world.run()
        assert world.writes() == {}
        assert set(world.calls()) == {"DescribeInstances", "DescribeRouteTables", "DescribeSubnets"}

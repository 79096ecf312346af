"""IAM refuses an action: it is named, asked once per table and resync, and costs nobody else anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from tests.clock import START
from tests.controller.ends import NATIVE, all_native
from tests.controller.lab import Lab, lab

RESYNC = 60
ACTIONS = ("CreateRoute", "ReplaceRoute", "DeleteRoute", "ModifyNetworkInterfaceAttribute")


def policy(*denied: dict[str, Any]) -> dict[str, Any]:
    """All that the controller needs, but for what is denied."""
    allowed = {
        "Effect": "Allow",
        "Action": [*(f"ec2:{action}" for action in ACTIONS), "ec2:Describe*"],
        "Resource": "*",
    }
    return {"Version": "2012-10-17", "Statement": [allowed, *({"Effect": "Deny", **deny} for deny in denied)]}


@contextmanager
def user(world: Lab, *denied: dict[str, Any]) -> Iterator[None]:
    """The controller is a new IAM user who has that policy."""
    session = world.aws.session(policy(*denied))
    with patch.object(world.aws, "session", return_value=session):
        world.start()
    yield


def permit(world: Lab) -> None:
    """Somebody gives the permission, as cloudroute asked for."""
    iam = world.aws.session().client("iam")
    (name,) = [found["UserName"] for found in iam.list_users()["Users"]]
    iam.put_user_policy(UserName=name, PolicyName="lab", PolicyDocument=json.dumps(policy()))


def deny(action: str, table_id: str = "*") -> dict[str, Any]:
    return {"Action": f"ec2:{action}", "Resource": f"arn:aws:ec2:*:*:*/{table_id}"}


def refusals(world: Lab, action: str) -> int:
    return world.aws.calls[action, "UnauthorizedOperation"]


def test_no_route_may_be_created_in_one_table() -> None:
    """Nodes are routed in the other table, none is unavailable, one attempt a resync is made in the forbidden one."""
    with lab(zones=2, aws={"enforce_iam": True}) as world:
        allowed, forbidden = world.tables()
        with user(world, deny("CreateRoute", forbidden)):
            names = world.join_many(6)
            world.pass_seconds(10 * RESYNC - 1)
        assert refusals(world, "CreateRoute") == 10
        assert (len(world.routes(allowed)), len(world.routes(forbidden))) == (6, 0)
        assert world.native(allowed) == sorted(names)
        assert set(world.conditions().values()) == {None}
        ((_, about, _, note),) = world.events("CreateRouteRefused")
        assert about == forbidden
        assert all(word in note for word in ("CreateRoute", forbidden, "ec2:CreateRoute", "UnauthorizedOperation"))
        permit(world)
        world.pass_seconds(RESYNC + 1)
        world.run()
        all_native(world, names)


def test_no_check_may_be_switched_off() -> None:
    """Routes are made, the overlay carries all, and one attempt per table and resync is made to switch a check off."""
    with lab(zones=2, aws={"enforce_iam": True}) as world:
        with user(world, deny("ModifyNetworkInterfaceAttribute")):
            names = world.join_many(6)
            world.pass_seconds(10 * RESYNC - 1)
        assert refusals(world, "ModifyNetworkInterfaceAttribute") == 10 * len(world.tables())
        assert [len(world.routes(table_id)) for table_id in world.tables()] == [6, 6]
        assert {route.spec.native_in for route in world.published().values()} == {()}
        assert set(world.conditions().values()) == {NATIVE}
        events = world.events("ModifyNetworkInterfaceAttributeRefused")
        assert [about for _, about, _, _ in events] == sorted(world.tables())
        assert all("eni-" in note and "ec2:ModifyNetworkInterfaceAttribute" in note for *_, note in events)
        permit(world)
        world.pass_seconds(RESYNC + 1)
        world.run()
        all_native(world, names)


def test_no_route_may_be_deleted() -> None:
    """The route of a removed node stays, and is asked for once per table and resync; new nodes come and are routed."""
    with lab(zones=2, aws={"enforce_iam": True}) as world:
        with user(world, deny("DeleteRoute")):
            names = world.join_many(4)
            world.run()
            world.terminate(names.pop(0))
            world.terminate(names.pop(0))
            names.append(world.join(0))
            world.pass_seconds(10 * RESYNC)
        assert 10 * len(world.tables()) <= refusals(world, "DeleteRoute") <= 11 * len(world.tables())
        assert [len(world.routes(table_id)) for table_id in world.tables()] == [5, 5]
        assert world.conditions() == dict.fromkeys(names, NATIVE)
        assert [about for _, about, _, _ in world.events("DeleteRouteRefused")] == sorted(world.tables())
        permit(world)
        world.pass_seconds(RESYNC + 1)
        world.run()
        all_native(world, names)


def test_each_refused_action_is_named() -> None:
    """Two actions are refused on one table: each has its Event."""
    with lab(zones=1, aws={"enforce_iam": True}) as world:
        with user(world, deny("CreateRoute"), deny("ModifyNetworkInterfaceAttribute")):
            world.join_many(2)
            world.pass_seconds(RESYNC - 1)
        assert {reason for _, about, reason, _ in world.events() if about == world.table()} == {
            "CreateRouteRefused",
            "ModifyNetworkInterfaceAttributeRefused",
        }


@pytest.mark.parametrize("action", ["CreateRoute", "ModifyNetworkInterfaceAttribute"])
def test_a_permission_that_is_taken_away(action: str) -> None:
    """Healthy nodes keep all they have when a permission goes; a node that joins waits, and is never unavailable."""
    with lab(zones=2, aws={"enforce_iam": True}) as world:
        with user(world):
            old = world.join_many(4)
            world.run()
        iam = world.aws.session().client("iam")
        (name,) = [found["UserName"] for found in iam.list_users()["Users"]]
        iam.put_user_policy(UserName=name, PolicyName="lab", PolicyDocument=json.dumps(policy(deny(action))))
        before = {name: route.spec for name, route in world.published().items()}
        young = world.join(0)
        world.pass_seconds(3 * RESYNC)
        conditions = world.conditions()
        assert conditions.pop(young) in (None, NATIVE)
        assert conditions == dict.fromkeys(old, NATIVE)
        assert {name: world.published()[name].spec for name in old} == before
        permit(world)
        world.pass_seconds(RESYNC + 1)
        world.run()
        all_native(world, [*old, young])


def test_kubernetes_refuses_a_condition() -> None:
    """RBAC forbids nodes/status: each node's is asked once a resync, all else is done, and it heals."""
    with lab(zones=1) as world:
        world.kube.faults.fail(403, "patch", "nodes/status", count=1000)
        names = world.join_many(3)
        world.pass_seconds(5 * RESYNC - 1)
        assert world.kube.calls["patch", "nodes/status"] == 5 * len(names)
        assert world.native(world.table()) == sorted(names)
        world.kube.faults.clear()
        world.pass_seconds(RESYNC + 1)
        world.run()
        all_native(world, names)


# --- --once ---------------------------------------------------------------------------------------


def test_once_is_stuck_when_only_refusals_are_left() -> None:
    """A refused action ends a single sync as failed, but not before all else is done."""
    with lab(zones=2, aws={"enforce_iam": True}) as world:
        allowed, forbidden = world.tables()
        with user(world, deny("CreateRoute", forbidden)):
            names = world.join_many(4)
            world.aws.faults.throttle("CreateRoute", times=2)
            while not (turn := world.turn()).stuck:
                assert not turn.settled
                world.clock.time = max(world.clock.time, turn.next_at)
        assert len(world.routes(allowed)) == len(names)
        assert world.native(allowed) == sorted(names)
        assert world.clock.time < START + RESYNC


def test_once_is_stuck_when_an_action_keeps_failing() -> None:
    """Failing five times in a row is enough to give up; an action that has failed once is waited for."""
    with lab(zones=1) as world:
        names = world.join_many(2)
        bad, slow = (f"{cidr}" for cidr in ("100.64.0.0/24", "100.64.1.0/24"))
        world.aws.faults.fail(
            "CreateRoute", "InternalError", times=None, status=500,
            match=lambda params: params["DestinationCidrBlock"] == bad,
        )  # fmt: skip
        world.aws.faults.fail(
            "CreateRoute", "InternalError", times=4, status=500,
            match=lambda params: params["DestinationCidrBlock"] == slow,
        )  # fmt: skip
        while not (turn := world.turn()).stuck:
            assert not turn.settled
            world.clock.time = max(world.clock.time, turn.next_at)
        assert list(world.routes(world.table())) == [slow]
        assert sorted(filter(None, world.conditions().values())) == [NATIVE]
        assert len(names) == 2


def test_once_is_settled_when_all_is_done() -> None:
    """Settling and draining included: a single sync ends when there is nothing to wait for."""
    with lab(zones=1) as world:
        names = world.join_many(2)
        while not (turn := world.turn()).settled:
            assert not turn.stuck
            world.clock.time = max(world.clock.time, turn.next_at)
        all_native(world, names)


def test_once_gives_up_when_ec2_can_not_be_read() -> None:
    """No describe is answered: stuck after a while, and never settled."""
    with lab(zones=1) as world:
        world.join()
        world.aws.faults.fail("*", "Unavailable", times=None, status=503)
        while not (turn := world.turn()).stuck:
            assert not turn.settled
            world.clock.time = max(world.clock.time, turn.next_at)
        assert world.clock.time < START + 300


def test_once_does_not_give_up_for_reads_that_fail_now_and_then() -> None:
    """Only five in a row are enough."""
    with lab(zones=1) as world:
        world.join()
        for _ in range(6):
            world.aws.faults.fail("*", "Unavailable", times=None, status=503)
            assert not world.turn().stuck
            world.aws.faults.clear()
            world.run()
            world.clock.time += RESYNC

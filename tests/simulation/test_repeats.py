"""Writes of a process that count as repeated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from cloudroute.lab.aws.wire import Request, Response
from tests.simulation.repeats import Repeats
from tests.simulation.violation import Violation

ROUTE = ("rtb-1", "100.64.0.0/24")
WRITES = {
    "CreateRoute": {"RouteTableId": ROUTE[0], "DestinationCidrBlock": ROUTE[1], "NetworkInterfaceId": "eni-1"},
    "DeleteRoute": {"RouteTableId": ROUTE[0], "DestinationCidrBlock": ROUTE[1]},
    "ModifyNetworkInterfaceAttribute": {"NetworkInterfaceId": "eni-1", "SourceDestCheck.Value": "false"},
}


@pytest.fixture
def sim() -> Any:
    """A cluster at second 1000, to which nobody else has done anything."""
    return SimpleNamespace(scheduler=SimpleNamespace(now=1000.0), foreign={}, tampered={}, switched_on={})


def write(action: str) -> Request:
    return Request("ec2", action, WRITES[action], "", "")


def confirmed(sim: Any, action: str, status: int = 200) -> Repeats:
    """Repeats after `r0` has made a write and has got its answer; five more seconds have passed."""
    repeats = Repeats(cast(Any, sim))
    repeats.check("r0", write(action))
    repeats.confirm("r0", write(action), Response(status, b""))
    sim.scheduler.now += 5.0
    return repeats


@pytest.mark.parametrize("action", WRITES)
def test_a_confirmed_write_is_not_made_again(sim: Any, action: str) -> None:
    with pytest.raises(Violation, match=f"invariant 5: {action}"):
        confirmed(sim, action).check("r0", write(action))


@pytest.mark.parametrize("action", WRITES)
def test_another_process_may_make_it_again(sim: Any, action: str) -> None:
    confirmed(sim, action).check("r1", write(action))


@pytest.mark.parametrize("action", WRITES)
def test_it_may_be_made_again_after_others_have_changed_it(sim: Any, action: str) -> None:
    repeats = confirmed(sim, action)
    sim.tampered[ROUTE] = sim.switched_on["eni-1"] = 1002.0
    repeats.check("r0", write(action))


def test_a_refused_write_may_be_made_again(sim: Any) -> None:
    confirmed(sim, "CreateRoute", status=400).check("r0", write("CreateRoute"))


def test_a_route_that_others_made_after_its_deletion_is_not_deleted(sim: Any) -> None:
    repeats = confirmed(sim, "DeleteRoute")
    sim.tampered[ROUTE] = sim.foreign[ROUTE] = 1002.0
    with pytest.raises(Violation, match="invariant 3: DeleteRoute"):
        repeats.check("r0", write("DeleteRoute"))

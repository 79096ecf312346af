"""Doing a plan: order, lanes, back-off, and how it stops. The APIs are a list of what was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from cloudroute.controller.apply import Applier, Outcome
from cloudroute.core.cluster.model import ChangeRoute, DisableSourceDestCheck, SetCondition, Step
from cloudroute.errors import (
    ApiError,
    Deferred,
    Forbidden,
    LeaseLost,
    LimitExceeded,
    LostRace,
    Refused,
    Retryable,
    Throttled,
    Unreachable,
)
from cloudroute.types import Cidr, Condition, Node
from tests.clock import FakeClock

RESYNC = 60.0


def route(
    number: int, table: str = "rtb-1", verb: Any = "create", after: tuple[tuple[str, ...], ...] = ()
) -> ChangeRoute:
    return ChangeRoute(verb, table, Cidr.parse(f"100.64.{number}.0/24"), "eni-1", f"n{number}", after)


def check(number: int, table: str = "rtb-1") -> DisableSourceDestCheck:
    return DisableSourceDestCheck(f"eni-{number}", f"i-{number}", f"n{number}", table)


def condition(number: int, after: tuple[tuple[str, ...], ...] = ()) -> SetCondition:
    return SetCondition(Node(f"n{number}", "uid", "1", "", "i-1"), Condition("False", "RouteCreated", ""), after)


def error(kind: type[ApiError], code: str = "Code") -> ApiError:
    return kind("CreateRoute", "rtb-1", code, "no")


class Apis:
    """Both APIs and the fence. `asked` is what they were asked; `answers` may make a call raise."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.asked: list[str] = []
        self.answers: dict[str, Callable[[], None]] = {}
        self.open = True
        self.done: list[Step] = []
        self.surprises: list[Step] = []
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.under_way: dict[str, int] = {}
        self.at_once: dict[str, int] = {}
        # Any: it stands for both APIs and the fence, of which it has what the applier calls.
        me = cast(Any, self)
        self.applier = Applier(
            kube=me,
            ec2=me,
            fence=me,
            clock=self.clock,
            resync_seconds=RESYNC,
            done=self.done.append,
            surprised=self._surprised,
        )

    def _surprised(self, step: Step, _: ApiError) -> None:
        self.surprises.append(step)

    def check(self) -> None:
        if not self.open:
            raise LeaseLost("lost")

    def create_route(self, table_id: str, destination: Cidr, interface_id: str) -> None:
        self._take(f"create {table_id} {destination}", table_id)

    def delete_route(self, table_id: str, destination: Cidr) -> None:
        self._take(f"delete {table_id} {destination}", table_id)

    def disable_source_dest_check(self, interface_id: str) -> None:
        self._take(f"check {interface_id}", "checks")

    def set_condition(self, node: Node, condition: Condition) -> None:
        self._take(f"condition {node.name}", "kube")

    def _take(self, what: str, lane: str) -> None:
        with self.lock:
            self.asked.append(what)
            self.under_way[lane] = self.under_way.get(lane, 0) + 1
            self.at_once[lane] = max(self.at_once.get(lane, 0), self.under_way[lane])
        try:
            self.answers.get(what, lambda: None)()
        finally:
            with self.lock:
                self.under_way[lane] -= 1

    def fails(self, what: str, error: Exception) -> None:
        def fail() -> None:
            raise error

        self.answers[what] = fail

    def run(self, *steps: Step) -> Outcome:
        return self.applier.run(steps, self.stop, lambda: None)


@pytest.fixture
def apis() -> Apis:
    return Apis()


def test_a_step_waits_for_what_it_comes_after(apis: Apis) -> None:
    """Steps run in the order that `after` gives, however they are listed; what is not in the plan is done already."""
    first, second = route(1), route(2, "rtb-2", after=(route(1).key,))
    outcome = apis.run(condition(1, (second.key,)), second, first, condition(9, (("route", "gone", "x"),)))
    assert [what for what in apis.asked if "n9" not in what] == [
        "create rtb-1 100.64.1.0/24",
        "create rtb-2 100.64.2.0/24",
        "condition n1",
    ]
    assert (len(outcome.done), outcome.behind, outcome.failed) == (4, 0, [])
    assert len(apis.done) == 4


def test_steps_behind_a_failed_one_are_not_tried(apis: Apis) -> None:
    """A failed step holds up what comes after it, and nothing else."""
    apis.fails("create rtb-1 100.64.1.0/24", error(Unreachable))
    outcome = apis.run(route(1), condition(1, (route(1).key,)), route(2), condition(2, (route(2).key,)))
    assert "condition n1" not in apis.asked
    assert "condition n2" in apis.asked
    assert (len(outcome.done), len(outcome.failed), outcome.behind) == (2, 1, 1)
    assert apis.surprises == [route(1)]


def test_one_route_at_a_time_in_each_table(apis: Apis) -> None:
    """Tables are written side by side, each route by route; conditions many at once."""
    barrier = threading.Barrier(3)
    for number in range(3):
        apis.answers[f"condition n{number}"] = lambda: cast(None, barrier.wait(5))
    meet = threading.Barrier(2)
    apis.answers["create rtb-1 100.64.0.0/24"] = apis.answers["create rtb-2 100.64.0.0/24"] = lambda: cast(
        None, meet.wait(5)
    )
    steps = [route(n, table) for n in range(20) for table in ("rtb-1", "rtb-2")]
    outcome = apis.run(*steps, *(condition(n) for n in range(3)))
    assert len(outcome.done) == 43
    assert (apis.at_once["rtb-1"], apis.at_once["rtb-2"]) == (1, 1)
    assert apis.at_once["kube"] >= 3


def test_a_failed_step_waits_for_its_own_back_off(apis: Apis) -> None:
    """Half a second, doubled each time up to a minute, up to half more at random; others are not held up."""
    apis.fails("create rtb-1 100.64.1.0/24", error(Unreachable))
    times: list[float] = []
    for _ in range(12):
        asked = len(apis.asked)
        outcome = apis.run(route(1), route(2))
        assert "create rtb-1 100.64.2.0/24" in apis.asked[asked:]
        assert len(outcome.failed) == 1
        assert apis.applier.held([route(1), route(2)]) == {route(1).key}
        times.append(apis.applier.next_due() - apis.clock.time)
        apis.clock.time = apis.applier.next_due() - 0.001
        assert apis.run(route(1)).behind == 1
        apis.clock.time += 0.001
    for number, pause in enumerate(times):
        assert min(60, 0.5 * 2**number) <= pause <= 1.5 * min(60, 0.5 * 2**number)


def test_a_step_may_fail_for_ever(apis: Apis) -> None:
    """Days of failures end neither the process nor the trying; a success forgets them all."""
    apis.fails("create rtb-1 100.64.1.0/24", error(Unreachable))
    for _ in range(2000):
        assert len(apis.run(route(1)).failed) == 1
        apis.clock.time = apis.applier.next_due()
    del apis.answers["create rtb-1 100.64.1.0/24"]
    assert apis.run(route(1)).done == [route(1)]
    assert apis.applier.next_due() == float("inf")
    apis.fails("create rtb-1 100.64.1.0/24", error(Unreachable))
    apis.run(route(1))
    assert apis.applier.next_due() - apis.clock.time < 1


def test_a_lost_race_is_tried_again_at_once_and_then_not(apis: Apis) -> None:
    """A glance later the next plan may try again, since it sees another world; a second time in a row waits."""
    apis.fails("condition n1", error(LostRace))
    apis.run(condition(1))
    apis.clock.time += 0.1
    assert apis.applier.held([condition(1)]) == frozenset()
    apis.run(condition(1))
    apis.clock.time += 0.1
    assert apis.applier.held([condition(1)]) == {condition(1).key}


def test_a_throttling_answer_says_how_long(apis: Apis) -> None:
    """Retry-After is kept to."""
    apis.fails("condition n1", Throttled("patch nodes/status", "n1", "429", "slow", 30))
    apis.run(condition(1))
    assert apis.applier.next_due() - apis.clock.time == 30


def test_a_throttling_answer_never_shortens_the_back_off(apis: Apis) -> None:
    """The sixth pause in a row is of 16 s at least, whatever the server asks for."""
    apis.fails("condition n1", Throttled("patch nodes/status", "n1", "429", "slow", 1))
    for _ in range(6):
        apis.run(condition(1))
        start, apis.clock.time = apis.clock.time, apis.applier.next_due()
    assert apis.clock.time - start >= 16


def test_a_node_made_anew_gets_its_condition_at_once(apis: Apis) -> None:
    """The same condition again within a minute is somebody's undoing; of another Node with that name it is not."""
    again = replace(condition(1), node=replace(condition(1).node, uid="another"))
    assert apis.run(condition(1)).done
    assert apis.run(again).done
    assert apis.applier.held([again]) == frozenset()
    assert apis.run(again).done
    assert apis.applier.held([again]) == {again.key}


def test_a_full_table_refuses_once(apis: Apis) -> None:
    """After RouteLimitExceeded no other create is sent to that table; deletions and other tables go on."""
    apis.fails("create rtb-1 100.64.1.0/24", error(LimitExceeded))
    deletion = route(20, verb="delete")  # later than the creates in its lane
    outcome = apis.run(*(route(n) for n in range(1, 9)), deletion, route(1, "rtb-2", after=(deletion.key,)))
    assert sorted(apis.asked) == [
        "create rtb-1 100.64.1.0/24",
        "create rtb-2 100.64.1.0/24",
        "delete rtb-1 100.64.20.0/24",
    ]
    assert (outcome.behind, outcome.hopeful) == (7, True)
    assert apis.applier.held([route(1)]) == frozenset(), "the planner, not a back-off, keeps it from being asked again"


def test_an_empty_budget_ends_the_action_for_this_time(apis: Apis) -> None:
    """After Deferred no other call of that action is made; other actions go on, and nothing has failed."""
    apis.fails("create rtb-1 100.64.1.0/24", Deferred("CreateRoute", "rtb-1", 0.4))
    outcome = apis.run(*(route(n) for n in range(1, 9)), route(20, verb="delete"), check(1), condition(1))
    assert sorted(apis.asked) == [
        "check eni-1",
        "condition n1",
        "create rtb-1 100.64.1.0/24",
        "delete rtb-1 100.64.20.0/24",
    ]
    assert (outcome.deferred, outcome.failed, outcome.behind) == (0.4, [], 8)
    assert apis.applier.next_due() == float("inf")


def test_a_refused_permission_is_asked_once_per_table_and_resync(apis: Apis) -> None:
    """The refusal of one create stands for all of that table until the next resync, and is told with its action."""
    for number in range(5):
        apis.fails(f"create rtb-1 100.64.{number}.0/24", error(Forbidden, "UnauthorizedOperation"))
        apis.fails(f"check eni-{number}", error(Forbidden, "UnauthorizedOperation"))
    alike: list[Step] = [step for n in range(5) for step in (route(n), check(n))]
    steps = [*alike, route(1, "rtb-2"), route(9, verb="delete")]
    for resync in range(1, 4):
        outcome = apis.run(*steps)
        for _ in range(5):
            apis.clock.time += RESYNC / 6
            apis.run(*steps)
        apis.clock.time += RESYNC / 6
        refused = [what for what in apis.asked if what.startswith(("create rtb-1", "check"))]
        assert len(refused) == 2 * resync
        assert (len(outcome.failed), outcome.hopeful) == (2, False)
    apis.run(*steps)
    assert {(notice.name, notice.reason) for notice in apis.applier.refusals()} == {
        ("rtb-1", "CreateRouteRefused"),
        ("rtb-1", "ModifyNetworkInterfaceAttributeRefused"),
    }
    apis.answers.clear()
    apis.clock.time += RESYNC
    assert len(apis.run(*steps).done) == len(steps)
    assert apis.applier.refusals() == []


def test_hopeful_until_all_that_is_left_keeps_failing(apis: Apis) -> None:
    """Five failures in a row make a step hopeless; one that has failed less often keeps the hope up."""
    apis.fails("condition n1", error(Unreachable))
    for attempt in range(1, 6):
        assert apis.run(condition(1)).hopeful == (attempt < 5)
        apis.clock.time = apis.applier.next_due()
    apis.fails("condition n2", error(Unreachable))
    assert apis.run(condition(1), condition(2)).hopeful
    assert apis.run(condition(1), condition(2)).hopeful, "it waits for its back-off"
    assert not apis.run(condition(1)).hopeful


def test_once_stopped_no_step_starts(apis: Apis) -> None:
    """Steps under way end and count; steps that wait for a thread, a lane or a predecessor are not tried."""
    release = threading.Event()

    def stopping() -> None:
        apis.stop.set()
        release.set()

    for number in range(16):
        apis.answers[f"condition n{number}"] = lambda: cast(None, release.wait(5))
    apis.answers["condition n0"] = stopping
    steps = [condition(n) for n in range(60)]
    outcome = apis.run(*steps, condition(99, (condition(0).key,)))
    assert 1 <= len(apis.asked) <= 16
    assert len(outcome.done) == len(apis.asked)
    assert outcome.behind == 61 - len(outcome.done)


def test_once_stopped_no_step_that_waits_for_a_thread_starts(apis: Apis) -> None:
    """All are handed to the sixteen threads before the stop; two rounds at most have begun by then."""
    handed_over, release = threading.Event(), threading.Event()

    def stopping() -> None:
        assert handed_over.wait(5)
        apis.stop.set()
        release.set()

    for number in range(60):
        apis.answers[f"condition n{number}"] = lambda: cast(None, release.wait(5))
    apis.answers["condition n0"] = stopping
    apis.answers["condition n1"] = lambda: None  # whose end shows that the rest was handed over
    outcome = apis.applier.run([condition(n) for n in range(60)], apis.stop, handed_over.set)
    assert len(outcome.done) == len(apis.asked) <= 17
    assert outcome.behind == 60 - len(outcome.done)


def test_a_lost_lease_ends_it_once_all_under_way_has_ended(apis: Apis) -> None:
    """No step passes the closed fence, and LeaseLost is raised after the last one that had passed it."""
    ended = threading.Event()
    closed = threading.Event()

    def slow() -> None:
        apis.open = False
        closed.set()
        threading.Event().wait(0.05)
        ended.set()

    apis.answers["create rtb-1 100.64.1.0/24"] = slow
    with pytest.raises(LeaseLost):
        apis.run(route(1), route(2), route(1, "rtb-2", after=(route(1).key,)))
    assert ended.is_set()
    assert apis.asked == ["create rtb-1 100.64.1.0/24"]


def test_one_forbidden_interface_starves_no_other(apis: Apis) -> None:
    """It is asked last the next time, so the others of its table come through."""
    apis.fails("check eni-1", error(Forbidden, "UnauthorizedOperation"))
    steps = [check(n) for n in range(1, 5)]
    assert apis.run(*steps).done == []
    apis.clock.time += RESYNC
    apis.fails("check eni-1", error(Forbidden, "UnauthorizedOperation"))
    assert apis.run(*steps).done == steps[1:]
    assert apis.asked.count("check eni-1") == 2


def test_one_bad_request_stops_no_other(apis: Apis) -> None:
    """A node's route that AWS will not accept waits for the resync; the other nodes of that table get theirs."""
    apis.fails("create rtb-1 100.64.1.0/24", error(Refused, "InvalidParameterValue"))
    steps = [route(n) for n in range(1, 5)]
    outcome = apis.run(*steps)
    assert [step.key[-1] for step, _ in outcome.failed] == ["100.64.1.0/24"]
    assert len(outcome.done) == 3
    apis.run(route(1))
    assert apis.asked.count("create rtb-1 100.64.1.0/24") == 1


def test_a_defect_is_not_taken_for_a_failure(apis: Apis) -> None:
    """An exception that is no ApiError comes out: the process must not go on as if nothing were."""
    apis.fails("condition n1", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        apis.run(condition(1))


def test_back_offs_of_steps_in_no_plan_are_forgotten(apis: Apis) -> None:
    """A failure of ten minutes ago does not wake the loop, nor tell people anything."""
    apis.fails("create rtb-1 100.64.1.0/24", error(Refused))
    apis.fails("condition n1", error(Retryable))
    apis.run(route(1), condition(1))
    apis.clock.time += 700
    apis.run()
    assert apis.applier.next_due() == float("inf")
    assert apis.applier.refusals() == []
    apis.fails("condition n1", error(Retryable))
    apis.run(condition(1))
    assert apis.applier.next_due() - apis.clock.time < 1

"""Heartbeats of gateways, judged on the controller's own clock."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudroute.core.cluster.heartbeats import Heartbeats
from cloudroute.types import NO_PULSE, Pulse, Renewal


class Leases:
    """The gateways' Leases, as a controller hears of them."""

    def __init__(self, *names: str, seconds: float = 3) -> None:
        self._times = dict.fromkeys(names, Renewal("u", "0"))
        self._versions = itertools.count(1)
        self.heartbeats = Heartbeats(seconds)
        self.heartbeats.see_all(self._times, 0.0)

    def renew(self, now: float, *names: str) -> None:
        """Some gateways renew their Leases."""
        for name in names:
            self._times[name] = Renewal("u", str(next(self._versions)))
        self.heartbeats.see_all(self._times, now)

    def remove(self, now: float, name: str) -> None:
        """A Lease is deleted."""
        del self._times[name]
        self.heartbeats.see_all(self._times, now)

    def fresh(self, now: float) -> str:
        """Names of those that renew, and whether the others count as silent."""
        pulse = self.heartbeats.judge(now)
        return "".join(sorted(pulse.fresh)) + ("!" if pulse.judged else "?")


def test_the_first_list_says_nothing_of_age() -> None:
    leases = Leases("a", "b")
    assert leases.fresh(0.0) == "?"
    leases.renew(0.4, "a")
    assert leases.fresh(0.4) == "a?"


def test_a_gateway_whose_lease_does_not_change_for_its_duration_is_silent() -> None:
    leases = Leases("a", "b")
    for second in range(8):
        leases.renew(second + 0.1, "a", *("b" for _ in range(second < 3)))
    assert leases.heartbeats.judge(5.0).fresh.keys() == {"a", "b"}
    assert leases.fresh(5.09) == "ab!"
    assert leases.fresh(5.1) == "a!"


def test_the_same_renew_time_again_is_no_renewal() -> None:
    leases = Leases("a", "b")
    leases.renew(1.0, "a", "b")
    for second in (2.0, 3.0, 4.0):
        leases.renew(second, "a")
    assert leases.fresh(4.0) == "a!"


def test_time_without_any_renewal_counts_for_nobody() -> None:
    leases = Leases("a", "b")
    for now in (1.0, 2.0, 3.0):
        leases.renew(now, "a")
        leases.renew(now + 0.9, "b")
    assert leases.fresh(100.0) == "ab!"  # the API server is away
    leases.renew(100.1, "b")
    assert leases.fresh(100.1) == "ab!"
    for now in (101.1, 102.1):
        leases.renew(now, "b")
    assert leases.fresh(102.1) == "b!"


def test_a_lease_that_is_deleted_is_silent_at_once() -> None:
    leases = Leases("a", "b")
    leases.renew(1.0, "a", "b")
    leases.remove(1.1, "a")
    assert leases.fresh(1.1) == "b?"


def test_nobody_is_judged_while_nobody_is_heard() -> None:
    assert Heartbeats(3).judge(100.0) == NO_PULSE
    assert Leases("a").heartbeats.judge(100.0) == Pulse({}, judged=False, settled=True)


def test_the_next_change_is_when_the_first_one_would_be_silent() -> None:
    leases = Leases("a", "b", seconds=1.2)
    leases.renew(1.0, "a")
    leases.renew(1.5, "b")
    assert leases.heartbeats.next_change(1.0) == 1.2
    assert leases.heartbeats.next_change(1.5) == 2.2
    assert leases.heartbeats.next_change(2.2) == 2.7
    assert leases.heartbeats.next_change(2.7) == float("inf")


def test_a_silence_is_foreseen_whatever_others_renew_meanwhile() -> None:
    """A loop that rests is not woken by their renewals."""
    leases = Leases("a", "b")
    for now in (1.0, 2.0, 2.9):
        leases.renew(now, "a", "b")
    foreseen = leases.heartbeats.next_change(3.0)
    for now in (3.5, 4.5, 5.5):
        leases.renew(now, "b")
    assert foreseen == 5.9
    assert leases.fresh(5.89) == "ab!"
    assert leases.fresh(5.9) == "b!"


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "ab", ""]), st.floats(0.1, 4.0)), max_size=20))
def test_until_the_next_change_the_answer_is_the_same(history: list[tuple[str, float]]) -> None:
    leases, now = Leases("a", "b"), 0.0
    for names, pause in history:
        then = leases.heartbeats.next_change(now)
        if then < now + pause:
            before = leases.heartbeats.judge(now)
            halfway = leases.heartbeats.judge((now + then) / 2)
            assert (before.fresh, before.judged) == (halfway.fresh, halfway.judged)
        now += pause
        leases.renew(now, *names)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 1.1)), min_size=1))
def test_one_that_renews_each_second_is_never_silent(history: list[tuple[str, float]]) -> None:
    leases, now, last = Leases("a", "b", "c"), 0.0, {"a": 0.0, "b": 0.0, "c": 0.0}
    leases.renew(now, "a", "b", "c")
    for name, pause in history:
        now += pause
        leases.renew(now, name)
        last[name] = now
        heard = {name for name, at in last.items() if now - at < 3}
        assert heard <= leases.heartbeats.judge(now).fresh.keys()


class Name(str):
    """The name of a node that counts how often a mapping looks it up."""

    __slots__ = ()
    lookups = 0

    def __hash__(self) -> int:
        Name.lookups += 1
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)


@pytest.mark.parametrize("count", [10, 1000])
def test_a_renewal_costs_the_same_however_many_gateways_there_are(count: int) -> None:
    names = [Name(f"gw-{number}") for number in range(count)]
    heartbeats = Heartbeats(3)
    heartbeats.see_all(dict.fromkeys(names, Renewal("u", "0")), 0.0)
    for name in names:
        heartbeats.see(name, Renewal("u", "1"), 1.0)
    heartbeats.judge(1.0)
    Name.lookups = 0
    assert not heartbeats.see(names[0], Renewal("u", "2"), 2.0)
    heartbeats.judge(2.0), heartbeats.next_change(2.0)
    assert Name.lookups == 4

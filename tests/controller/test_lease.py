"""One lease, attempt by attempt, on a clock that the test owns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Thread

import pytest

from cloudroute.controller import Lease
from cloudroute.errors import LeaseLost, LostRace, Unreachable
from cloudroute.types import LeaseRecord
from tests.clock import FakeClock

DURATION, DEADLINE, PERIOD = 15, 10.0, 2.0


class Store:
    """`ports.Leases` in memory. Each of `troubles` strikes one request: it may raise before or after it is done."""

    def __init__(self) -> None:
        self.record: LeaseRecord | None = None
        self.versions = 0
        self.before: list[Callable[[], None]] = []
        self.after: list[Callable[[], None]] = []

    def read(self) -> LeaseRecord | None:
        self.strike(self.before)
        return self.record

    def write(self, record: LeaseRecord) -> LeaseRecord:
        self.strike(self.before)
        if record.version != (self.record.version if self.record else ""):
            raise LostRace("update leases", "lease", "409", "conflict")
        self.versions += 1
        self.record = replace(record, version=str(self.versions))
        self.strike(self.after)
        return self.record

    def strike(self, troubles: list[Callable[[], None]]) -> None:
        if troubles:
            troubles.pop(0)()


def timeout() -> None:
    raise Unreachable("update leases", "lease", "", "timed out")


def nothing() -> None:
    """The request goes well."""


class Pair:
    """Two candidates for one lease."""

    def __init__(self) -> None:
        self.clock, self.store = FakeClock(), Store()
        self.one, self.other = self.lease("one"), self.lease("other")

    def lease(self, identity: str) -> Lease:
        return Lease(self.store, self.clock, identity, DURATION, DEADLINE, PERIOD)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_the_first_candidate_gets_a_lease_that_does_not_exist_yet(pair: Pair) -> None:
    """A missing Lease is created; its record says who holds it, for how long, and that nobody did before."""
    pair.one.turn()
    pair.other.turn()
    assert (pair.one.held, pair.other.held) == (True, False)
    moment = pair.clock.timestamp().replace("Z", ".000000Z")
    assert pair.store.record == LeaseRecord("one", DURATION, moment, moment, 0, "1")


def test_a_renewal_counts_from_its_start(pair: Pair) -> None:
    """However long the answer took, the fence closes a deadline after the request began."""
    pair.one.turn()
    pair.store.after = [lambda: pair.clock.sleep(4)]
    pair.one.turn()
    pair.clock.time += DEADLINE - 4 - 0.001
    pair.one.check()
    pair.clock.time += 0.001
    with pytest.raises(LeaseLost):
        pair.one.check()
    assert pair.one.lost


def test_a_lost_renewal_is_made_up_for(pair: Pair) -> None:
    """Renewals whose answer is lost, done or not, extend nothing; the next that succeeds does."""
    pair.one.turn()
    for troubles in (pair.store.before, pair.store.after):
        pair.clock.time += 3
        troubles.append(timeout)
        pair.one.turn()
        if troubles is pair.store.after:  # a read came first, and the write was done
            assert pair.store.record
            assert pair.store.record.version == "2"
    pair.clock.time += 3.5
    pair.one.turn()
    pair.clock.time += DEADLINE - 0.001
    assert pair.one.held


def test_only_lost_renewals_lose_the_lease(pair: Pair) -> None:
    """The lease is lost if no renewal is answered within the deadline, though each of them was done."""
    pair.one.turn()
    for _ in range(4):
        pair.clock.time += 2.5
        pair.store.after = [timeout]
        pair.one.turn()
    assert pair.one.lost


def test_a_late_write_of_its_own_does_not_cost_the_lease(pair: Pair) -> None:
    """A timed-out renewal arrives just before its repetition, which conflicts: the next attempt sorts it out."""
    pair.one.turn()
    assert pair.store.record
    late = pair.store.record
    pair.store.before = [timeout]
    pair.one.turn()
    pair.store.before = [nothing, lambda: setattr(pair.store, "record", replace(late, version="late"))]
    pair.one.turn()
    assert pair.one.held
    pair.clock.time += 3
    pair.one.turn()
    pair.clock.time += DEADLINE - 1
    assert pair.one.held


def test_a_lease_taken_by_another_is_lost_at_once(pair: Pair) -> None:
    """A holder that reads another's name in the lease stops writing then, not when its own time is up."""
    pair.one.turn()
    assert pair.store.record
    pair.store.record = replace(pair.store.record, holder="other", version="x")
    lost = []
    for _ in range(2):
        pair.one.turn()
        lost.append(pair.one.lost)
    assert lost == [False, True], "a conflict alone proves nothing"


def test_a_standby_waits_for_the_whole_duration_of_the_record(pair: Pair) -> None:
    """The duration that counts is the holder's, on the standby's own clock, from the end of the read that showed it."""
    pair.one.turn()
    assert pair.store.record
    pair.store.record = replace(pair.store.record, duration_seconds=40)
    pair.store.before = [lambda: pair.clock.sleep(3)]
    pair.other.turn()
    held = []
    for seconds in (39.9, 0.1):
        pair.clock.time += seconds
        pair.other.turn()
        held.append(pair.other.held)
    assert held == [False, True]
    assert pair.store.record.transitions == 1


def test_a_deleted_lease_is_not_free_at_once(pair: Pair) -> None:
    """`kubectl delete lease`: the standby knows the holder and waits, for the holder does not know yet."""
    pair.one.turn()
    pair.other.turn()
    pair.store.record = None
    pair.clock.time += 5
    pair.other.turn()
    assert (pair.one.held, pair.other.held) == (True, False)
    pair.one.turn()  # a conflict
    pair.one.turn()
    assert pair.one.lost
    pair.clock.time += 15
    pair.other.turn()
    assert pair.other.held


def test_a_lease_that_was_deleted_unseen_is_not_free_until_its_last_holder_must_have_noticed(pair: Pair) -> None:
    """The standby could not read for a while: it knows nothing of the renewal just before the deletion."""
    pair.one.turn()
    pair.other.turn()
    pair.clock.time += 9
    pair.one.turn()
    pair.clock.time += 6
    pair.store.record = None
    pair.other.turn()
    assert (pair.one.held, pair.other.held) == (True, False)
    pair.clock.time += 14.9
    pair.other.turn()
    assert (pair.one.held, pair.other.held) == (False, False)
    pair.clock.time += 0.1
    pair.other.turn()
    assert pair.other.held


def test_a_take_over_whose_answer_was_lost_is_taken_up(pair: Pair) -> None:
    """The candidate finds its own name in the lease and need not wait for itself."""
    pair.store.after = [timeout]
    pair.one.turn()
    assert not pair.one.held
    pair.clock.time += 2
    pair.one.turn()
    assert pair.one.held


def test_an_answer_that_comes_too_late_acquires_nothing(pair: Pair) -> None:
    """A process that froze while it took the lease does not lead with it; it takes it anew."""
    pair.store.after = [lambda: pair.clock.sleep(DEADLINE + 1)]
    pair.one.turn()
    assert (pair.one.held, pair.one.lost, pair.one.acquired.is_set()) == (False, False, False)
    pair.one.turn()
    assert pair.one.held


def test_a_released_lease_is_free_at_once(pair: Pair) -> None:
    """After the release the other acquires at its next attempt, and the one that gave it up never again."""
    pair.one.turn()
    pair.other.turn()
    pair.store.after = [timeout]
    pair.one.turn()  # done, but it does not know
    pair.one.release()
    pair.one.turn()
    pair.other.turn()
    assert (pair.one.held, pair.one.lost, pair.other.held) == (False, False, True)


def test_a_release_takes_nothing_from_another(pair: Pair) -> None:
    """A process that lost the lease without knowing it, or never had it, leaves it alone."""
    pair.one.turn()
    assert pair.store.record
    pair.store.record = theirs = replace(pair.store.record, holder="third", version="x")
    pair.one.release()
    pair.other.release()
    assert pair.store.record == theirs


def test_the_thread_ends_when_the_lease_is_lost(pair: Pair) -> None:
    """`run` renews until no attempt succeeds any more, at least thrice within the deadline, and returns."""
    attempts: list[float] = []

    def refuse() -> None:
        attempts.append(pair.clock.time)
        timeout()

    pair.one.turn()
    start = pair.clock.time
    pair.store.before = [refuse] * 50
    thread = Thread(target=pair.one.run, args=(lambda: None,), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert pair.one.lost
    assert len([at for at in attempts if at < start + DEADLINE]) >= 3


def test_hanging_renewals_are_tried_thrice_too(pair: Pair) -> None:
    """Attempts that take a third of the deadline each follow one another without a pause."""
    attempts: list[float] = []

    def hang() -> None:
        attempts.append(pair.clock.time)
        pair.clock.sleep(DEADLINE / 3)
        timeout()

    pair.one.turn()
    start = pair.clock.time
    pair.store.before = [hang] * 50
    pair.one.run(lambda: None)
    assert len([at for at in attempts if at < start + DEADLINE]) >= 3


def test_a_standby_follows_a_released_lease_within_a_second(pair: Pair) -> None:
    """It looks more often than a leader renews, so an upgrade leaves no gap of seconds."""
    pair.one.turn()
    ends = pair.clock.time + 10.3
    times: dict[str, float] = {}

    def beat() -> None:
        if pair.other.acquired.is_set():
            times["acquired"] = pair.clock.time
            pair.other.release()
        elif pair.clock.time < ends:
            pair.one.turn()
        elif pair.one.held:
            times["released"] = pair.clock.time
            pair.one.release()

    pair.other.run(beat)
    assert times["acquired"] - times["released"] < 1

"""The token buckets: never above what AWS allows, and not needlessly below."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudroute.adapters.ec2.budget import BUCKETS, Budget
from tests.clock import FakeClock

LOADED = settings(deadline=None)  # a machine under load is slow, not wrong
BURSTS = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 130)), min_size=1, max_size=5)
"""Seconds of rest, and how many calls then want to leave at once."""
ACTIONS = st.sampled_from(sorted(BUCKETS))


def spend(action: str, bursts: list[tuple[float, int]]) -> list[float]:
    """Departure of each call, after its wait for a token."""
    clock = FakeClock()
    budget = Budget(clock)
    left = []
    for rest, calls in bursts:
        clock.sleep(rest)
        for _ in range(calls):
            assert budget.take(action, wait=True) == 0
            left.append(clock.monotonic())
    return left


def test_a_fresh_bucket_gives_its_capacity_less_the_margin_at_once_and_then_its_refill() -> None:
    """50 creates a second after the next are never asked for: 44 leave at once, then 5 a second."""
    clock = FakeClock()
    started = clock.monotonic()
    budget = Budget(clock)
    taken = 0
    while not (seconds := budget.take("CreateRoute", wait=False)):
        taken += 1
    assert taken == 44
    assert seconds == pytest.approx(0.2)
    for _ in range(300 - 44):
        assert budget.take("CreateRoute", wait=True) == 0
    assert clock.monotonic() - started == pytest.approx((300 - 44) / 5)


def test_a_refusal_to_take_costs_nothing() -> None:
    """Asking an empty bucket again and again does not push the next token away."""
    clock = FakeClock()
    budget = Budget(clock)
    while not budget.take("CreateRoute", wait=False):
        pass
    for _ in range(100):
        assert budget.take("CreateRoute", wait=False) == pytest.approx(0.2)
    clock.sleep(0.2)
    assert budget.take("CreateRoute", wait=False) == 0


def test_actions_have_buckets_of_their_own() -> None:
    """An empty CreateRoute bucket holds back no DeleteRoute."""
    budget = Budget(FakeClock())
    while not budget.take("CreateRoute", wait=False):
        pass
    assert budget.take("DeleteRoute", wait=False) == 0


def test_a_throttling_answer_empties_the_bucket() -> None:
    """After AWS has throttled, nothing leaves until AWS has refilled one token above the margin."""
    clock = FakeClock()
    budget = Budget(clock)
    budget.throttled("CreateRoute")
    budget.throttled("CreateRoute")
    assert budget.take("CreateRoute", wait=False) == pytest.approx((6 + 1) / 5)
    clock.sleep(1.4)
    assert budget.take("CreateRoute", wait=False) == 0
    assert budget.take("CreateRoute", wait=False) > 0


@LOADED
@given(action=ACTIONS, bursts=BURSTS)
def test_no_window_holds_more_than_the_bucket_allows(action: str, bursts: list[tuple[float, int]]) -> None:
    """In no window of t seconds more than capacity + refill * t calls leave."""
    bucket = BUCKETS[action]
    left = spend(action, bursts)
    most = 0.0  # of calls - refill * t, over all windows that end here
    for before, at in itertools.pairwise([left[0], *left]):
        most = max(most - bucket.refill * (at - before), 0) + 1
        assert most <= bucket.capacity - bucket.margin + 1e-3


def throttled(action: str, arrivals: list[float], phase: float) -> int:
    """Count the calls that AWS throttles if it refills its bucket once a second, `phase` after the full second."""
    bucket = BUCKETS[action]
    tokens, ticked, refused = bucket.capacity, 0, 0
    for arrival in sorted(arrivals):
        tick = math.floor(arrival - phase)
        tokens = min(bucket.capacity, tokens + (tick - ticked) * bucket.refill)
        ticked = tick
        refused += tokens < 1
        tokens -= tokens >= 1
    return refused


@LOADED
@given(action=ACTIONS, bursts=BURSTS, phase=st.floats(0, 1, exclude_max=True), network=st.randoms())
def test_aws_never_has_to_throttle(
    action: str, bursts: list[tuple[float, int]], phase: float, network: random.Random
) -> None:
    """Whenever AWS's bucket refills, and though each call takes another time to get there, it never runs dry."""
    jitter = 1.9 / BUCKETS[action].refill
    arrivals = [at + network.uniform(0, jitter) for at in spend(action, bursts)]
    assert throttled(action, arrivals, phase) == 0


@pytest.mark.parametrize("action", sorted(BUCKETS))
def test_aws_does_not_have_to_throttle_after_a_stall(action: str) -> None:
    """The worst case: the network holds up a whole burst, and AWS's bucket has refilled just before it gets through."""
    stall = 1.9 / BUCKETS[action].refill
    left = spend(action, [(0, 300)])
    through = left[0] + stall
    assert throttled(action, [max(at, through) for at in left], phase=(through - 1e-6) % 1) == 0

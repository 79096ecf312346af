"""The steps of a call: token, fence, attempts, observation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from cloudroute.adapters.ec2.calls import Calls
from cloudroute.errors import Deferred, Refused, Throttled, Unreachable
from tests.adapters.ec2.kit import Observed
from tests.clock import FakeClock


def failure(code: str, status: int, operation: str = "DescribeSubnets") -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": "words"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)


class Script:
    """A boto3 method that answers from a list; the last entry repeats."""

    def __init__(self, *answers: Mapping[str, Any] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[Mapping[str, Any]] = []

    def __call__(self, **params: Any) -> Mapping[str, Any]:
        self.asked.append(params)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def make() -> tuple[Calls, FakeClock, Observed]:
    clock, observed = FakeClock(), Observed()
    return Calls(clock, observed), clock, observed


def test_a_read_is_tried_again_until_it_is_answered() -> None:
    """Throttling, server errors and lost answers cost attempts, each observed, and no error."""
    calls, _, observed = make()
    method = Script(
        failure("RequestLimitExceeded", 503),
        failure("InternalError", 500),
        ReadTimeoutError(endpoint_url="https://ec2"),
        {"fine": True},
    )
    assert calls.read("DescribeSubnets", "vpc-1", method, {"a": 1}) == {"fine": True}
    assert method.asked == [{"a": 1}] * 4
    assert observed == {
        ("DescribeSubnets", "RequestLimitExceeded"): 1,
        ("DescribeSubnets", "InternalError"): 1,
        ("DescribeSubnets", "ReadTimeoutError"): 1,
        ("DescribeSubnets", "OK"): 1,
    }


def test_a_read_gives_up_after_five_attempts() -> None:
    """An endpoint that stays unreachable raises its last error."""
    calls, _, observed = make()
    with pytest.raises(Unreachable, match="DescribeSubnets vpc-1: Unavailable: words"):
        calls.read("DescribeSubnets", "vpc-1", Script(failure("Unavailable", 503)), {})
    assert observed == {("DescribeSubnets", "Unavailable"): 5}


def test_a_read_begins_no_attempt_after_half_a_minute() -> None:
    """Slow failures end the read by time, before the attempts are used up."""
    calls, clock, observed = make()

    def slow() -> Mapping[str, Any]:
        clock.sleep(14)
        raise failure("Unavailable", 503)

    started = clock.monotonic()
    with pytest.raises(Unreachable):
        calls.read("DescribeSubnets", "vpc-1", slow, {})
    assert 2 <= observed["DescribeSubnets", "Unavailable"] <= 3
    assert clock.monotonic() - started <= 30 + 14


def test_a_refused_read_is_not_repeated() -> None:
    """A missing permission is raised after one attempt."""
    calls, _, observed = make()
    with pytest.raises(Refused):
        calls.read("DescribeSubnets", "vpc-1", Script(failure("UnauthorizedOperation", 403)), {})
    assert observed == {("DescribeSubnets", "UnauthorizedOperation"): 1}


def test_a_throttled_read_waits_for_the_refill() -> None:
    """After a throttling answer the next attempt leaves when AWS has tokens again."""
    calls, clock, _ = make()
    started = clock.monotonic()
    calls.read("DescribeSubnets", "vpc-1", Script(failure("RequestLimitExceeded", 503), {}), {})
    assert clock.monotonic() - started >= (20 + 1 + 1) / 20


def test_each_page_is_retried_for_itself() -> None:
    """A page that fails is asked for again; the pages before it are not."""
    calls, _, observed = make()
    method = Script(
        {"n": 1, "NextToken": "two"},
        failure("InternalError", 500),
        {"n": 2, "NextToken": "three"},
        {"n": 3, "NextToken": ""},
    )
    pages = list(calls.pages("DescribeRouteTables", "vpc-1", method, {"MaxResults": 100}))
    assert [page["n"] for page in pages] == [1, 2, 3]
    assert [asked.get("NextToken") for asked in method.asked] == [None, "two", "two", "three"]
    assert observed == {("DescribeRouteTables", "OK"): 3, ("DescribeRouteTables", "InternalError"): 1}


def test_a_write_is_attempted_once() -> None:
    """A write is not repeated, however it ends."""
    calls, clock, observed = make()
    started = clock.monotonic()
    for cause, kind in (
        (failure("InternalError", 500), Unreachable),
        (failure("RequestLimitExceeded", 503), Throttled),
        (ReadTimeoutError(endpoint_url="https://ec2"), Unreachable),
    ):
        calls, clock, observed = make()
        method = Script(cause)
        with pytest.raises(kind):
            calls.write("CreateRoute", "rtb-1", method, {})
        assert len(method.asked) == sum(observed.values()) == 1
        assert clock.monotonic() == started


def test_a_throttled_write_defers_the_next_ones() -> None:
    """After AWS has throttled a write the next is not sent until the bucket has refilled."""
    calls, clock, observed = make()
    with pytest.raises(Throttled):
        calls.write("CreateRoute", "rtb-1", Script(failure("RequestLimitExceeded", 503)), {})
    with pytest.raises(Deferred) as deferred:
        calls.write("CreateRoute", "rtb-1", Script({}), {})
    assert deferred.value.seconds == pytest.approx(1.4)
    clock.sleep(deferred.value.seconds)
    calls.write("CreateRoute", "rtb-1", Script({}), {})
    assert observed == {("CreateRoute", "RequestLimitExceeded"): 1, ("CreateRoute", "OK"): 1}

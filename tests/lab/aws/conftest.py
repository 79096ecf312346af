"""An account with a VPC, and time that only tests move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloudroute.lab.aws import Aws, Vpc


class FakeClock:
    """Stands still; sleeping moves it on."""

    def __init__(self) -> None:
        self.time = 1_000.0

    def monotonic(self) -> float:
        return self.time

    def now(self) -> float:
        return 1_700_000_000.0 + self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def aws(clock: FakeClock) -> Aws:
    return Aws(clock=clock)


@pytest.fixture
def vpc(aws: Aws) -> Vpc:
    return aws.scene.vpc(zones=2)


@pytest.fixture
def ec2(aws: Aws) -> Any:
    """The client under test."""
    return aws.session().client("ec2")


def refused(call: Callable[..., Any], **arguments: Any) -> str:
    """The code with which EC2 refuses the call."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def answered(call: Callable[..., Any], **arguments: Any) -> tuple[str, int, str]:
    """Code, HTTP status and message with which EC2 refuses the call."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]

"""An account with a VPC, and a clock that only tests move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cloudroute.lab.aws import Aws, Vpc
from tests.clock import FakeClock


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
    """Error code of EC2's refusal."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def answered(call: Callable[..., Any], **arguments: Any) -> tuple[str, int, str]:
    """Code, HTTP status and message of EC2's refusal."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]

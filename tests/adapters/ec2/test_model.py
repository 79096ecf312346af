"""The model that the controller's own clients are made from."""

from __future__ import annotations

import pytest

from cloudroute.adapters.ec2.budget import BUCKETS
from cloudroute.adapters.ec2.model import OPERATIONS, lean_session
from cloudroute.lab.aws import Aws


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
def test_a_client_knows_what_we_call_and_nothing_else() -> None:
    """Each EC2 action that has a budget, and no other: the rest of the model is memory."""
    client = lean_session().client("ec2")
    assert set(client.meta.service_model.operation_names) == set(OPERATIONS)
    assert {action for action in BUCKETS if not action.endswith("ServiceQuota")} == set(OPERATIONS)


@pytest.mark.usefixtures("environment")
def test_an_answer_is_parsed_to_the_last_field() -> None:
    """An answer is parsed to the last field as by the full model."""
    aws = Aws()
    vpc = aws.scene.vpc(zones=1, ipv6=True)
    (machine,) = aws.scene.launch(vpc.zones[0])
    with aws.serve() as server:
        lean = lean_session().client("ec2", endpoint_url=server.url)
        answer = lean.describe_instances(Filters=[{"Name": "instance-id", "Values": [machine.id]}])["Reservations"]
    assert answer == aws.scene.ec2.describe_instances(InstanceIds=[machine.id])["Reservations"]

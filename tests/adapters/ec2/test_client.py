"""The client of EC2 as such: endpoint, credentials, and nobody who answers."""

from __future__ import annotations

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest

from cloudroute import __version__
from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.errors import Refused, Unreachable
from tests.adapters.ec2.kit import FakeFence, Kit, Observed
from tests.clock import FakeClock


def test_requests_carry_our_name_and_go_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_ENDPOINT_URL and keys of the environment are used, and the user agent ends with cloudroute's version."""
    kit = Kit()
    vpc = kit.aws.scene.vpc(zones=1)
    agents = []

    def see(request: AWSPreparedRequest, **_: object) -> None:
        agents.append(str(request.headers["User-Agent"]))

    with kit.aws.serve() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIALABROOTUSER00000")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        session = boto3.Session()
        session.events.register("before-send", see)
        ec2 = Ec2Client(session, kit.aws.region, FakeFence(), FakeClock(), 10.0, Observed())
        assert len(ec2.route_tables(vpc.id)) == 2
    assert f"cloudroute/{__version__}" in agents[0]


def test_without_credentials_it_says_how_to_have_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials at all is a refusal that names the ways to give some, after one attempt."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    observed = Observed()
    ec2 = Ec2Client(None, "eu-central-1", FakeFence(), FakeClock(), 1.0, observed)
    with pytest.raises(Refused, match="Pod Identity"):
        ec2.route_tables("vpc-1")
    assert observed == {("DescribeRouteTables", "NoCredentialsError"): 1}


def test_nobody_listening_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection is retried for a read, and then raised with the address."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    observed = Observed()
    session = boto3.Session("key", "secret")
    ec2 = Ec2Client(session, "eu-central-1", FakeFence(), FakeClock(), 1.0, observed)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        ec2.route_tables("vpc-1")
    assert observed == {("DescribeRouteTables", "EndpointConnectionError"): 5}

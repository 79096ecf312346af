"""The same account over HTTP."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from cloudroute.lab.aws import ROOT_KEY, Aws, Server, serve_forever
from cloudroute.lab.aws.wire import Request, Response
from tests.lab.aws.conftest import answered, refused


@pytest.fixture
def aws() -> Aws:
    return Aws()


@pytest.fixture
def server(aws: Aws) -> Iterator[Server]:
    with aws.serve() as running:
        yield running


@pytest.fixture
def ec2(server: Server) -> Iterator[Any]:
    client = connect(server.url)
    yield client
    client.close()


def connect(url: str, service: str = "ec2", region: str = "eu-central-1", **config: Any) -> Any:
    session: Any = boto3.Session(ROOT_KEY, "x", region_name=region)
    return session.client(service, endpoint_url=url, config=Config(retries={"total_max_attempts": 1}, **config))


def test_boto3(aws: Aws, ec2: Any) -> None:
    """boto3 works against the endpoint URL, with the same strictness and the same counts."""
    zone = aws.scene.vpc(zones=1).zones[0]
    route = {"RouteTableId": zone.route_table_id, "DestinationCidrBlock": "100.64.1.0/24"}
    interface = aws.scene.launch(zone)[0].interface_id
    ec2.create_route(**route, NetworkInterfaceId=interface)
    assert refused(ec2.create_route, **route, NetworkInterfaceId=interface) == "RouteAlreadyExists"
    assert aws.scene.routes(zone.route_table_id)["100.64.1.0/24"]["State"] == "active"
    assert aws.calls == {("CreateRoute", "OK"): 1, ("CreateRoute", "RouteAlreadyExists"): 1}


def test_other_services(aws: Aws, server: Server) -> None:
    """STS, IAM and Service Quotas answer at the same endpoint."""
    sts, iam, quotas = (connect(server.url, name) for name in ("sts", "iam", "service-quotas"))
    assert sts.get_caller_identity()["Account"] == aws.account
    iam.create_user(UserName="somebody")
    assert [user["UserName"] for user in iam.list_users()["Users"]] == ["somebody"]
    code = {"ServiceCode": "vpc", "QuotaCode": "L-93826ACB"}
    assert quotas.get_aws_default_service_quota(**code)["Quota"]["Value"] == 50.0
    for client in (sts, iam, quotas):
        client.close()


def test_keep_alive(server: Server) -> None:
    """One connection carries many requests (HTTP/1.1)."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
    body = "Action=DescribeVpcs&Version=2016-11-15"
    connection.connect()
    socket = connection.sock
    for _ in range(3):
        connection.request("POST", "/", body, {"Content-Type": "application/x-www-form-urlencoded"})
        answer = connection.getresponse()
        assert (answer.status, answer.version) == (200, 11)
        assert b"<vpcSet>" in answer.read()
        assert connection.sock is socket
    connection.close()


def test_not_aws(server: Server) -> None:
    """A request that is no AWS call gets an AWS error, not a traceback."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
    connection.request("GET", "/favicon.ico")
    answer = connection.getresponse()
    assert answer.status == 400
    assert b"<Code>InvalidAction</Code>" in answer.read()
    connection.close()


def test_a_fault_of_the_lab(aws: Aws) -> None:
    """An exception inside the lab is an InternalError with its text (EC2 error codes), not a cut connection."""

    def broken(_: Request) -> Response:
        raise KeyError("vpc-1")

    with Server(broken, aws.clock, "127.0.0.1", 0) as server:
        client = connect(server.url)
        code, status, message = answered(client.describe_vpcs)
        client.close()
    assert (code, status) == ("InternalError", 500)
    assert "KeyError('vpc-1')" in message


def test_unknown_action(ec2: Any) -> None:
    """An action that neither the lab nor moto has is InvalidAction, and is named."""
    code, status, message = answered(ec2.describe_ipams)
    assert (code, status) == ("InvalidAction", 400)
    assert "DescribeIpams" in message


def test_wrong_region(server: Server) -> None:
    """Credentials scoped to another region are refused (EC2 error codes, AuthFailure), and both regions are named."""
    elsewhere = connect(server.url, region="us-east-1")
    code, status, message = answered(elsewhere.describe_vpcs)
    elsewhere.close()
    assert (code, status) == ("AuthFailure", 401)
    assert "us-east-1" in message
    assert "eu-central-1" in message


def test_drop(aws: Aws, ec2: Any) -> None:
    """A dropped answer closes the socket after the change was made."""
    aws.faults.drop("CreateVpc")
    before = len(ec2.describe_vpcs()["Vpcs"])
    with pytest.raises(ConnectionClosedError):
        ec2.create_vpc(CidrBlock="10.0.0.0/16")
    assert len(ec2.describe_vpcs()["Vpcs"]) == before + 1


def test_hang(aws: Aws, server: Server) -> None:
    """A hanging call ends with the client's timeout, and the server goes on."""
    aws.faults.hang("CreateVpc")
    client = connect(server.url, read_timeout=0.2)
    before = len(client.describe_vpcs()["Vpcs"])
    with pytest.raises(ReadTimeoutError):
        client.create_vpc(CidrBlock="10.0.0.0/16")
    assert len(client.describe_vpcs()["Vpcs"]) == before
    client.close()


def test_close_ends_connections(aws: Aws) -> None:
    """A closed server cuts idle connections and listens no more."""
    server = aws.serve()
    client = connect(server.url)
    client.describe_vpcs()
    server.close()
    with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
        client.describe_vpcs()
    client.close()


def test_serve_forever() -> None:
    """The server prints its endpoint and root key, serves a fresh account with the options, and ends on a signal."""
    announced: list[tuple[str, str]] = []
    ready, stop = threading.Event(), threading.Event()

    def announce(url: str, key: str) -> None:
        announced.append((url, key))
        ready.set()

    options: dict[str, Any] = {"region": "us-west-2", "route_quota": 7, "throttle": True, "enforce_iam": True}
    thread = threading.Thread(
        target=serve_forever, args=("127.0.0.1:0",), kwargs={**options, "announce": announce, "stop": stop}
    )
    thread.start()
    assert ready.wait(10)
    url, key = announced[0]
    quotas: Any = boto3.Session(key, "x", region_name="us-west-2").client("service-quotas", endpoint_url=url)
    code = {"ServiceCode": "vpc", "QuotaCode": "L-93826ACB"}
    assert quotas.get_aws_default_service_quota(**code)["Quota"]["Value"] == 7.0
    quotas.close()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()

"""Region and VPC, from a metadata service over real HTTP or from the nodes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest

from cloudroute.adapters.ec2.discover import find_region, find_vpc
from cloudroute.errors import UsageError
from tests.adapters.ec2.kit import Kit

MAC = "02:00:00:00:00:01"
FACTS = {
    "placement/region": "us-west-2",
    "mac": MAC,
    f"network/interfaces/macs/{MAC}/vpc-id": "vpc-of-imds",
}


@contextmanager
def imds(facts: Mapping[str, str], *, tokens: bool = True) -> Iterator[tuple[str, list[str]]]:
    """A metadata service that answers IMDSv2 only. Yields its address and the requests that it saw."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            seen.append(f"PUT {self.path}")
            asked = self.headers.get("x-aws-ec2-metadata-token-ttl-seconds")
            self._answer(200 if tokens and asked and self.path == "/latest/api/token" else 403, "a-token")

        def do_GET(self) -> None:
            seen.append(f"GET {self.path}")
            if self.headers.get("x-aws-ec2-metadata-token") != "a-token":
                return self._answer(401, "")
            fact = facts.get(self.path.removeprefix("/latest/meta-data/"))
            return self._answer(404 if fact is None else 200, fact or "")

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the developer's own AWS settings."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")


def test_the_region_of_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_REGION, AWS_DEFAULT_REGION and the session's own region each decide without asking IMDS."""
    with imds(FACTS) as (url, seen):
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        assert find_region(boto3.Session(region_name="sa-east-1"), ["eu-central-1a"]) == "sa-east-1"
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        assert find_region(None, ["eu-central-1a"]) == "eu-west-1"
        monkeypatch.setenv("AWS_REGION", "eu-west-3")
        assert find_region(None, ["eu-central-1a"]) == "eu-west-3"
    assert seen == []


def test_imds_tells_region_and_vpc(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a token first, as IMDSv2 wants it; EC2 is not asked."""
    kit = Kit()
    with imds(FACTS) as (url, seen):
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        assert find_region(None, ["eu-central-1a"]) == "us-west-2"
        assert find_vpc(None) == "vpc-of-imds"
    assert seen[:2] == ["PUT /latest/api/token", "GET /latest/meta-data/placement/region"]
    assert kit.calls() == {}


def test_an_imds_without_tokens_is_not_asked_the_old_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes tell the region if the metadata service gives no token; IMDSv1 is never tried."""
    with imds(FACTS, tokens=False) as (url, seen):
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        assert find_region(None, ["eu-central-1a"]) == "eu-central-1"
    assert seen == ["PUT /latest/api/token"]


def test_a_disabled_imds_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_EC2_METADATA_DISABLED keeps every request away."""
    with imds(FACTS) as (url, seen):
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        assert find_region(None, ["eu-central-1a"]) == "eu-central-1"
    assert seen == []


@pytest.mark.parametrize(
    ("zone", "region"),
    [
        ("eu-central-1a", "eu-central-1"),
        ("us-west-2-lax-1a", "us-west-2"),
        ("us-east-1-wl1-bos-wlz-1", "us-east-1"),
        ("us-gov-west-1b", "us-gov-west-1"),
        ("ap-southeast-4c", "ap-southeast-4"),
        ("us-isob-east-1a", "us-isob-east-1"),
        ("eusc-de-east-1a", "eusc-de-east-1"),
    ],
)
def test_a_zone_names_its_region(zone: str, region: str) -> None:
    """Ordinary, local, wavelength and government zones; a node without a zone, or of another cloud, is passed over."""
    assert find_region(None, ["", "europe-west1-b", "euc1-az1", zone]) == region


def test_an_unknown_region_says_what_to_pass() -> None:
    """An unknown region is bad usage, with the flag that helps."""
    with pytest.raises(UsageError, match="--region"):
        find_region(None, ["", "europe-west1-b"])


def test_without_imds_the_vpc_is_not_known_here() -> None:
    """ "" leaves it to the first node's instance."""
    assert find_vpc(None) == ""

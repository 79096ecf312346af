"""Faults of the embedded API."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import urllib3
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from cloudroute.lab.kube import KubeApi, KubeServer
from tests.waiting import eventually

NODES = "/api/v1/nodes"


@pytest.fixture
def kube() -> KubeApi:
    kube = KubeApi()
    kube.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}})
    return kube


@pytest.fixture
def http() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(retries=False, timeout=5) as http:
        yield http


def get(http: urllib3.PoolManager, server: KubeServer, path: str = NODES, **options: Any) -> int:
    return http.request("GET", server.url + path, **options).status


def label(http: urllib3.PoolManager, server: KubeServer, value: str) -> int:
    body = json.dumps({"metadata": {"labels": {"a": value}}})
    headers = {"Content-Type": "application/merge-patch+json"}
    return http.request("PATCH", f"{server.url}{NODES}/a", body=body, headers=headers).status


def watch(http: urllib3.PoolManager, server: KubeServer, **query: str) -> urllib3.BaseHTTPResponse:
    fields = {"watch": "1", **query}
    return http.request("GET", server.url + NODES, fields=fields, preload_content=False)


def events(answer: urllib3.BaseHTTPResponse) -> Iterator[str]:
    for line in answer.stream():
        yield json.loads(line)["type"]


@pytest.mark.parametrize("code", [409, 410, 429, 500])
def test_a_failure_strikes_as_often_as_told(
    kube: KubeApi, server: KubeServer, http: urllib3.PoolManager, code: int
) -> None:
    """A failing request is refused and changes nothing; other verbs and resources work."""
    kube.faults.fail(code, "patch", "nodes", count=2)
    assert get(http, server) == 200
    assert [label(http, server, "1") for _ in range(2)] == [code, code]
    assert "labels" not in kube.get("nodes", "a")["metadata"]
    assert label(http, server, "1") == 200


def test_a_throttled_client_is_told_when_to_come_again(
    kube: KubeApi, server: KubeServer, http: urllib3.PoolManager
) -> None:
    """429 carries Retry-After in whole seconds."""
    kube.faults.fail(429, retry_after=1.5)
    answer = http.request("GET", server.url + NODES)
    assert (answer.status, answer.headers["Retry-After"], answer.json()["reason"]) == (429, "2", "TooManyRequests")


def test_an_expired_watch_is_told_so_in_its_first_event(
    kube: KubeApi, server: KubeServer, http: urllib3.PoolManager
) -> None:
    """410 for a watch comes as a real server sends it; the next watch works."""
    kube.faults.fail(410, "watch", "nodes")
    first = json.loads(next(watch(http, server).stream()))
    assert (first["type"], first["object"]["code"]) == ("ERROR", 410)
    assert list(islice(events(watch(http, server)), 1)) == ["ADDED"]


def test_a_delay_delays(kube: KubeApi, server: KubeServer, http: urllib3.PoolManager) -> None:
    """A delayed request is answered, later."""
    kube.faults.delay(0.2, "list", "nodes")
    start = time.monotonic()
    assert get(http, server) == 200
    assert time.monotonic() - start >= 0.2


def test_a_hanging_request_is_never_answered(kube: KubeApi, server: KubeServer, http: urllib3.PoolManager) -> None:
    """The client runs into its timeout; others are served; `clear` closes the connection."""
    kube.faults.hang("list", "nodes")
    with pytest.raises(ReadTimeoutError):
        get(http, server, timeout=0.2)
    assert get(http, server) == 200


def test_a_dropped_answer_leaves_the_write_done(kube: KubeApi, server: KubeServer, http: urllib3.PoolManager) -> None:
    """The connection closes without an answer, and the object has changed."""
    kube.faults.drop("patch", "nodes")
    with pytest.raises(ProtocolError):
        label(http, server, "1")
    assert kube.get("nodes", "a")["metadata"]["labels"] == {"a": "1"}


def test_a_silent_watch_stays_open(kube: KubeApi, server: KubeServer, http: urllib3.PoolManager) -> None:
    """A silent watch gets no event and no end; a watch that begins later works."""
    answer = watch(http, server, timeoutSeconds="1")
    stream = events(answer)
    assert next(stream) == "ADDED"
    assert kube.faults.silence("nodes") == 1
    kube.patch("nodes", "a", {"metadata": {"labels": {"a": "1"}}})
    answer.connection.sock.settimeout(1.5)  # type: ignore[union-attr] # it is open
    with pytest.raises(ReadTimeoutError):
        next(stream)
    assert list(islice(events(watch(http, server)), 1)) == ["ADDED"]


def test_a_cut_watch_ends(kube: KubeApi, server: KubeServer, http: urllib3.PoolManager) -> None:
    """Its connection is closed in the middle."""
    stream = events(watch(http, server))
    assert next(stream) == "ADDED"
    assert kube.faults.cut("nodes") == 1
    with pytest.raises(ProtocolError):
        next(stream)


def test_a_server_that_is_down_comes_back_with_its_objects(
    kube: KubeApi, server: KubeServer, http: urllib3.PoolManager
) -> None:
    """Open watches break, no connection is served, and afterwards all is as before."""
    stream = events(watch(http, server))
    assert next(stream) == "ADDED"
    kube.faults.down(0.3)
    with pytest.raises(HTTPError):
        next(stream)
    with pytest.raises(HTTPError):
        get(http, server)
    eventually(lambda: not kube.faults.is_down, "the API server is up again")
    assert get(http, server, f"{NODES}/a") == 200


def test_clear_ends_every_fault(kube: KubeApi, server: KubeServer, http: urllib3.PoolManager) -> None:
    """`clear` ends endless failures and an outage of an hour."""
    kube.faults.fail(500, count=math.inf)
    assert [get(http, server) for _ in range(5)] == [500] * 5
    kube.faults.down(3600)
    kube.faults.clear()
    assert get(http, server) == 200


def test_a_closed_server_serves_again_at_its_port(kube: KubeApi, http: urllib3.PoolManager) -> None:
    """After a restart of the server watches have ended; objects and versions are the same."""
    first = kube.serve()
    answer = watch(http, first)
    assert next(events(answer)) == "ADDED"
    first.close()
    with pytest.raises(HTTPError):
        get(http, first)
    second = kube.serve(port=first.port)
    try:
        assert get(http, second, f"{NODES}/a") == 200
    finally:
        second.close()

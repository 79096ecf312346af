"""Requests: one attempt each, a timeout each, an error with a remedy."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path

import pytest

from cloudroute import __version__
from cloudroute.adapters.kube.transport import MERGE_PATCH, Transport
from cloudroute.errors import Unreachable, UsageError
from cloudroute.lab.kube import KubeApi
from cloudroute.lab.kube.kubeconfig import write_kubeconfig
from tests.adapters.kube.conftest import Script, node
from tests.waiting import eventually


def test_a_request_carries_credentials_and_content_type(script: Script, tmp_path: Path) -> None:
    """A request has the kubeconfig's token, our User-Agent, and the given content type."""
    script.then(200, {"kind": "Node"})
    answer = script.transport(tmp_path).request("PATCH", "/api/v1/nodes/n1", {"a": 1}, {"b": 2}, MERGE_PATCH)
    assert answer == {"kind": "Node"}
    (asked,) = script.asked
    assert (asked.method, asked.path, json.loads(asked.body)) == ("PATCH", "/api/v1/nodes/n1?a=1", {"b": 2})
    headers = {key.lower(): value for key, value in asked.headers.items()}
    assert headers["authorization"] == "Bearer secret"
    assert headers["content-type"] == MERGE_PATCH
    assert headers["user-agent"] == f"cloudroute/{__version__}"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_nothing_is_repeated_by_itself(script: Script, tmp_path: Path, status: int) -> None:
    """One call is one request: a repeated PUT could answer with a false conflict."""
    script.then(status, {"message": "no"}, Retry_After="1")
    transport = script.transport(tmp_path)
    for method in ("GET", "PUT"):
        with pytest.raises(Exception, match="no"):
            transport.request(method, "/api/v1/nodes/n1")
    assert [asked.method for asked in script.asked] == ["GET", "PUT"]


def test_a_call_ends_within_its_timeout(script: Script, tmp_path: Path) -> None:
    """A server that accepts and never answers costs the timeout and no more."""
    script.then(0, b"")
    started = time.monotonic()
    with pytest.raises(Unreachable):
        script.transport(tmp_path).request("GET", "/api/v1/nodes/n1", timeout=0.2)
    assert time.monotonic() - started < 1


def test_an_unreachable_server_is_named(tmp_path: Path) -> None:
    """The error names the address that did not answer, and what to check."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        transport = Transport(str(write_kubeconfig(url, "t", None, "u", tmp_path / "kubeconfig")))
        with pytest.raises(Unreachable, match="is the API server up") as caught:
            transport.request("GET", "/api/v1/nodes")
    assert url in str(caught.value)
    assert "list nodes" in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'{"kind":'])
def test_an_answer_that_is_no_object_is_unreachable(script: Script, tmp_path: Path, body: bytes) -> None:
    """A proxy's page or a cut answer is Unreachable: whether the request was done is unknown."""
    script.then(200, body)
    with pytest.raises(Unreachable):
        script.transport(tmp_path).request("GET", "/api/v1/nodes/n1")


@pytest.mark.parametrize("content", [None, "", "a: b", "{{{", "[1, 2]"])
def test_an_unusable_kubeconfig_is_a_usage_error(tmp_path: Path, content: str | None) -> None:
    """A missing, empty or malformed file is named with the flag."""
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError) as caught:
        Transport(str(path))
    assert f"--kubeconfig {path}" in str(caught.value)


def test_without_kubeconfig_and_outside_of_a_pod_the_flag_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a service account the error names the flag to give."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(UsageError, match="give --kubeconfig FILE"):
        Transport(None)


def test_a_watch_yields_events_as_they_happen(api: KubeApi, transport: Transport) -> None:
    """Events arrive one by one, and closing ends the iteration."""
    watch = transport.watch("/api/v1/nodes", {"resourceVersion": api.store.version}, 5)
    api.create(node("n1"))
    events = iter(watch)
    event = next(events)
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "n1")


def test_closing_a_watch_wakes_its_blocked_reader(api: KubeApi, transport: Transport) -> None:
    """close() from another thread ends a read that waits for an event."""
    watch = transport.watch("/api/v1/nodes", {"resourceVersion": api.store.version}, 60)
    ended = threading.Event()

    def read() -> None:
        try:
            list(watch)
        except Unreachable:
            pass
        finally:
            ended.set()

    thread = threading.Thread(target=read)
    thread.start()
    eventually(lambda: api.calls["watch", "nodes"], "the nodes are watched")
    watch.close()
    assert ended.wait(1)
    thread.join()


def test_a_watch_that_says_nothing_fails_after_the_silence(api: KubeApi, transport: Transport) -> None:
    """A watch without any event fails after the silence timeout."""
    watch = transport.watch("/api/v1/nodes", {"resourceVersion": api.store.version}, 0.2)
    started = time.monotonic()
    with pytest.raises(Unreachable):
        list(watch)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("line", [b"no json\n", b"[]\n", b'{"type":"ADDED"}\n', b'{"type":"ADDED","object":3}\n'])
def test_a_watch_that_sends_something_else_fails(script: Script, tmp_path: Path, line: bytes) -> None:
    """A watch that sends something other than events fails."""
    script.then(200, line)
    with pytest.raises(Unreachable):
        list(script.transport(tmp_path).watch("/api/v1/nodes", {}, 1))


def test_an_error_event_is_raised_as_its_status(script: Script, tmp_path: Path) -> None:
    """An ERROR event, as for an expired version, is raised by its status code."""
    script.then(200, b'{"type":"ERROR","object":{"code":410,"message":"too old"}}\n')
    with pytest.raises(Exception, match="410: too old"):
        list(script.transport(tmp_path).watch("/api/v1/nodes", {}, 1))

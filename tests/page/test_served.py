"""The page and its JSON over HTTP: versions, encodings, headers, slow clients, the switch, and a standby."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from cloudroute import telemetry
from cloudroute.controller import NoLease
from cloudroute.controller.status_page import FRESH_SECONDS, REMEMBERED, StatusPage
from cloudroute.core.explain.overview import Cycle, compose
from cloudroute.telemetry import ControllerTelemetry
from tests.clock import FakeClock
from tests.core.world import World, settled_world
from tests.page.stage import Election, served, shown
from tests.page.test_compose import HOSTILE, cycle_of
from tests.waiting import eventually


def ask(url: str, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    """Send one request; returns the answer with its body."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def status_at(url: str) -> dict[str, Any]:
    """The parsed answer of /api/status."""
    status: dict[str, Any] = json.loads(ask(url, "/api/status")[1])
    return status


def leading(world: World | None = None, **changed: Any) -> StatusPage:
    """A leader's status after one cycle."""
    status = StatusPage("prod", Election(), lambda: float("inf"))
    status.cycle(cycle_of(world or settled_world(3, 1, 50))._replace(**changed))
    return status


def test_an_unchanged_page_is_not_sent_again() -> None:
    """An unchanged status is answered by 304 with the time of the cycle, until more than the time has changed."""
    world = settled_world(3, 1, 50)
    status = leading(world)
    with served(status) as url:
        first, body = ask(url, "/api/status")
        etag = first.headers["ETag"]
        status.cycle(cycle_of(world)._replace(at=1_790_000_060.0, seconds=0.2))
        again, nothing = ask(url, "/api/status", If_None_Match=f'"x", {etag}')
        assert (again.status, nothing) == (304, b"")
        assert first.headers["Last-Modified"] == "Mon, 21 Sep 2026 14:13:20 GMT"
        assert again.headers["Last-Modified"] == "Mon, 21 Sep 2026 14:14:20 GMT"
        assert json.loads(body)["looked"]["at"] == "2026-09-21T14:13:20Z"
        world.join("a")
        status.cycle(cycle_of(world))
        assert ask(url, "/api/status", If_None_Match=etag)[0].status == 200


def test_gzip_is_sent_to_clients_that_accept_it() -> None:
    """Gzipped and plain answers hold the same bytes; HEAD has the headers only."""
    with served(leading()) as url:
        for path in ("/", "/api/status"):
            plain, body = ask(url, path)
            packed, less = ask(url, path, Accept_Encoding="br, gzip")
            assert plain.headers["Content-Encoding"] is None
            assert packed.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(less) == body
            head, nothing = ask(url, path, "HEAD")
            assert (head.status, head.headers["Content-Length"], nothing) == (200, str(len(body)), b"")
            assert ask(url, path, Accept_Encoding="gzip;q=0")[1] == body


def test_the_page_can_not_be_framed_injected_into_or_written() -> None:
    """The policy allows only the page's own content; only GET and HEAD are served; no header names the interpreter."""
    with served(leading()) as url:
        for path in ("/", "/api/status"):
            headers = ask(url, path)[0].headers
            policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
            assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
            assert policy["script-src"].startswith("'sha256-")
            assert "unsafe" not in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cache-Control"] == "no-store"
            assert headers["Server"] == "cloudroute"
            for method in ("POST", "PUT", "DELETE", "OPTIONS"):
                assert ask(url, path, method)[0].status == 501


def test_off_means_404() -> None:
    """Without the status page / and /api/status answer 404, and the rest is served as before."""
    plain = ControllerTelemetry()
    port = plain.serve("127.0.0.1", 0)
    try:
        for path in ("/", "/api/status"):
            assert ask(f"http://127.0.0.1:{port}", path)[0].status == 404
    finally:
        plain.close()


def test_a_standby_says_who_leads() -> None:
    """A standby's status names the leader and contains nothing about the cluster."""
    election = Election()
    election.held, election.holder = False, "other_1234"
    with served(StatusPage("prod", election)) as url:
        status = status_at(url)
        assert (status["leader"], status["holder"], status["identity"]) == (False, "other_1234", election.identity)
        assert "nodes" not in status
        assert ask(url, "/")[0].status == 200


def test_a_leader_that_has_lost_the_lease_says_so_at_once() -> None:
    """An answer is used again for a moment, but not across the end of a term."""
    election, clock = Election(), FakeClock()
    status = StatusPage("prod", election, clock.monotonic)
    assert json.loads(status.answer().body)["leader"]
    election.held, election.holder = False, "other_1234"
    clock.time += FRESH_SECONDS / 2
    said = json.loads(status.answer().body)
    assert (said["leader"], said["holder"]) == (False, "other_1234")


def test_a_leader_without_a_cycle_reports_its_problem() -> None:
    """A problem is listed once when it begins and once when it ends; the last status stays meanwhile."""
    status = StatusPage("prod", Election(), lambda: float("inf"))
    with served(status) as url:
        assert status_at(url)["leader"]
        for _ in range(3):
            status.trouble("DescribeInstances: AccessDenied", 1_790_000_000.0)
        assert status_at(url)["trouble"] == "DescribeInstances: AccessDenied"
        status.cycle(cycle_of(settled_world(2, 1, 50)))
        after = status_at(url)
        assert after["trouble"] == ""
        assert [entry["text"] for entry in after["history"]] == [
            "DescribeInstances: AccessDenied", "the world can be read again",
        ]  # fmt: skip
        status.trouble("timeout", 1_790_000_100.0)
        assert len(status_at(url)["nodes"]) == 2


def test_it_is_composed_once_a_cycle_however_many_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is composed at most once a cycle and once a second, however many clients ask."""
    composed: list[Cycle] = []

    def counting(cycle: Cycle) -> dict[str, Any]:
        composed.append(cycle)
        return compose(cycle)

    monkeypatch.setattr("cloudroute.controller.status_page.compose", counting)
    now = [100.0]
    status = StatusPage("prod", NoLease(), lambda: now[0])
    cycle = cycle_of(settled_world(2, 1, 50))
    status.cycle(cycle)
    assert composed == []
    threads = [threading.Thread(target=status.answer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(composed) == 1
    for number in range(10):
        status.cycle(cycle._replace(did=f"step {number}"))
        status.answer()
    assert len(composed) == 1
    now[0] += 1.5
    assert b"step 9" in status.answer().body
    now[0] += 600
    status.answer()
    assert len(composed) == 2, "nothing has happened since"


def test_the_history_is_bounded() -> None:
    """The number of remembered changes and the length of each text are bounded."""
    status = leading()
    cycle = cycle_of(settled_world(2, 1, 50))
    for number in range(REMEMBERED * 2):
        status.cycle(cycle._replace(did=f"{number} " + HOSTILE * 100))
    with served(status) as url:
        history = status_at(url)["history"]
    assert len(history) == REMEMBERED
    assert history[-1]["text"].startswith(f"{REMEMBERED * 2 - 1} </script>")
    assert max(len(entry["text"]) for entry in history) <= 1000


def test_slow_readers_of_the_page_do_not_keep_the_probes_out() -> None:
    """While twice the maximum of connections ask for a large status and read nothing, /healthz is answered."""
    world = settled_world(3, 1, 50)
    node = next(iter(world.nodes.values()))
    for number in range(5000):
        world.nodes[f"ghost-{number}"] = replace(node, name=f"ghost-{number}", uid=str(number), instance_id="")
    status = leading(world)
    assert len(status.answer().body) > 700_000
    served_by = ControllerTelemetry()
    served_by.pages |= status.pages()
    port = served_by.serve("127.0.0.1", 0)
    before = threading.active_count()
    slow = []
    try:
        for _ in range(2 * telemetry.MAX_CONNECTIONS):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", port))
            connection.send(b"GET /api/status HTTP/1.1\r\n\r\n")
            slow.append(connection)
            answer, body = ask(f"http://127.0.0.1:{port}", "/healthz")
            assert (answer.status, body) == (200, b"ok\n")
        # 3 s, since a silent client is dropped after 5 s anyhow.
        most = before + telemetry.MAX_CONNECTIONS
        eventually(lambda: threading.active_count() <= most, "the threads are few", 3)
    finally:
        for connection in slow:
            connection.close()
        served_by.close()


def test_the_loop_hands_its_cycles_over() -> None:
    """Steps, waits and unreadable objects of the last cycle are shown; no request reaches AWS or the API server."""
    with shown(1, nodes=3, route_limit=2) as (world, url):
        world.calls()
        world.kube.reset_counts()
        status = status_at(url)
        assert [node["name"] for node in status["nodes"]] == ["node-001", "node-002", "node-003"]
        assert any(entry["kind"] == "did" and "give 3 nodes pod CIDRs" in entry["text"] for entry in status["history"])
        assert world.calls() == {}
        assert not any(verb in ("get", "list") for verb, _ in world.kube.calls)
        world.join()
        world.turn()
        world.turn()
        assert status_at(url)["waits"]["first"] == ["node-004 to settle"]
        world.aws.faults.fail("DescribeInstances", "UnauthorizedOperation", times=None)
        world.pass_seconds(130)
        assert "DescribeInstances" in status_at(url)["trouble"]

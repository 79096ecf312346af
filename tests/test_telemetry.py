"""Metrics, health and logs of a running process."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
import structlog

from cloudroute import telemetry
from cloudroute.telemetry import ChangeLog, ControllerTelemetry, setup_logging
from tests.waiting import eventually


class Time:
    """Seconds that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def told(clock: Time) -> Iterator[ControllerTelemetry]:
    told = ControllerTelemetry(clock)
    yield told
    told.close()


@pytest.fixture
def logs() -> Iterator[None]:
    """Logging as it was before."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def metrics(told: ControllerTelemetry) -> dict[str, float]:
    status, _, body = told.answer("/metrics")
    assert status == 200
    lines = [line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def get(host: str, port: int, path: str) -> tuple[int, str]:
    connection = HTTPConnection(host, port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body


def test_scraped_values_are_those_of_the_loops(told: ControllerTelemetry) -> None:
    """Names and labels are those of the contract."""
    told.ec2_request("CreateRoute", "OK", 0.1)
    told.ec2_request("CreateRoute", "RequestLimitExceeded", 0.2)
    told.ec2_request("CreateRoute", "OK", 0.1)
    told.leader(leads=True)
    told.reconcile(0.3)
    told.set_gauges(
        routes={("rtb-1", "ipv4", "ours"): 48, ("rtb-1", "ipv4", "foreign"): 2},
        limits={("rtb-1", "ipv4"): 50},
        nodes={"native": 48, "overlay": 3},
        pairs={"native": 1128, "overlay": 147},
        ipam_free={"10.0.0.0/8": 7},
    )
    found = metrics(told)
    assert found['cloudroute_ec2_requests_total{action="CreateRoute",code="OK"}'] == 2
    assert found['cloudroute_ec2_requests_total{action="CreateRoute",code="RequestLimitExceeded"}'] == 1
    assert found['cloudroute_ec2_request_seconds_count{action="CreateRoute"}'] == 3
    assert found['cloudroute_routes{family="ipv4",state="ours",table="rtb-1"}'] == 48
    assert found['cloudroute_route_limit{family="ipv4",table="rtb-1"}'] == 50
    assert found['cloudroute_nodes{path="overlay"}'] == 3
    assert found['cloudroute_pairs{path="overlay"}'] == 147
    assert found['cloudroute_ipam_free{cidr="10.0.0.0/8"}'] == 7
    assert found["cloudroute_leader"] == 1
    assert found["cloudroute_reconcile_seconds_count"] == 1
    assert not any("_created" in name for name in found)


def test_a_table_that_is_gone_takes_its_series_along(told: ControllerTelemetry) -> None:
    """The gauges are replaced as a whole."""
    told.set_gauges(
        routes={("rtb-1", "ipv4", "ours"): 1},
        limits={("rtb-1", "ipv4"): 50},
        nodes={"native": 1},
        pairs={"native": 0},
        ipam_free={"10.0.0.0/8": 1},
    )
    told.set_gauges(
        routes={("rtb-2", "ipv4", "ours"): 1}, limits={("rtb-2", "ipv4"): 50}, nodes={}, pairs={}, ipam_free={}
    )
    assert not any("rtb-1" in name or "native" in name for name in metrics(told))


def test_words_of_others_are_one_line_of_readyz(told: ControllerTelemetry) -> None:
    """As everywhere: what an API answers is asked for by people, too."""
    told.not_ready("no\n\x1b[2J")
    assert told.answer("/readyz")[2] == b"no\\n\\x1b[2J\n"


def test_two_instances_do_not_share_metrics(told: ControllerTelemetry) -> None:
    """Each has a registry of its own, so that a process may hold several."""
    other = ControllerTelemetry()
    other.leader(leads=True)
    assert metrics(told)["cloudroute_leader"] == 0


def test_a_thread_that_does_not_beat_in_time_is_named(told: ControllerTelemetry, clock: Time) -> None:
    """/healthz fails from the moment a thread is late until it beats again."""
    told.beat("loop", 60)
    told.beat("lease", 5)
    assert told.answer("/healthz")[0] == 200
    clock.now += 6
    status, _, body = told.answer("/healthz")
    assert (status, body) == (503, b"thread lease was last seen 6 s ago, expected within 5 s\n")
    told.beat("lease", 5)
    assert told.answer("/healthz")[0] == 200


def test_a_thread_that_has_ended_is_named_until_it_is_forgotten(told: ControllerTelemetry) -> None:
    """A dead thread is noticed at once, not after its time; one that ended as it should is forgotten."""
    thread = threading.Thread(target=told.beat, args=("events", 3600))
    thread.start()
    thread.join()
    assert told.stale() == ["thread events has ended"]
    assert told.answer("/healthz")[0] == 503
    told.forget("events")
    told.forget("never seen")
    assert told.answer("/healthz")[0] == 200


def test_a_standby_is_ready_and_healthy(told: ControllerTelemetry) -> None:
    """Readiness says why while it is missing, and does not ask for the lease."""
    assert told.answer("/readyz")[::2] == (503, b"starting\n")
    told.not_ready("nodes are not listed yet")
    assert told.answer("/readyz")[::2] == (503, b"nodes are not listed yet\n")
    told.leader(leads=False)
    told.ready()
    assert told.answer("/readyz")[0] == told.answer("/healthz")[0] == 200
    assert metrics(told)["cloudroute_leader"] == 0


@pytest.mark.parametrize(
    ("listen", "reach"),
    [("127.0.0.1", ["127.0.0.1"]), ("::1", ["::1"]), ("[::1]", ["::1"]), ("", ["127.0.0.1", "::1"])],
)
def test_both_families_are_served(told: ControllerTelemetry, listen: str, reach: list[str]) -> None:
    """An address of either family, or all of both."""
    if any(":" in host for host in reach) and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    port = told.serve(listen, 0)
    for host in reach:
        assert get(host, port, "/healthz") == (200, "ok\n")
        assert "cloudroute_leader 0.0" in get(host, port, "/metrics?x=1")[1]
        assert get(host, port, "/other")[0] == 404


def test_an_address_in_use_is_an_error(told: ControllerTelemetry) -> None:
    """Two processes on one port: the second is told."""
    port = told.serve("127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        ControllerTelemetry().serve("127.0.0.1", port)


def test_slow_clients_do_not_keep_the_probes_out(told: ControllerTelemetry) -> None:
    """However many connections send nothing, a probe is answered at once, and the threads stay few."""
    port = told.serve("127.0.0.1", 0)
    before = threading.active_count()
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    for connection in slow:
        connection.send(b"GET ")
    started = time.monotonic()
    assert get("127.0.0.1", port, "/healthz")[0] == 200
    assert time.monotonic() - started < 2
    most = before + telemetry.MAX_CONNECTIONS
    eventually(lambda: threading.active_count() <= most, "the threads are few", 3)
    for connection in slow:
        connection.close()


def test_closing_frees_the_port(told: ControllerTelemetry) -> None:
    """After close the address can be listened on again; closing twice is fine."""
    port = told.serve("127.0.0.1", 0)
    told.close()
    told.close()
    assert told.serve("127.0.0.1", port) == port


@pytest.mark.usefixtures("logs")
def test_json_logs_are_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Event, level, time in UTC and fields, whatever the values hold."""
    setup_logging("json", "info")
    structlog.get_logger().info("route\ncreated", table="rtb-1", cidr=("10.0.0.0/24",), error=ValueError("no"))
    structlog.get_logger().debug("not shown")
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"], entry["table"]) == ("route\ncreated", "info", "rtb-1")
    assert entry["timestamp"].endswith("Z")


@pytest.mark.usefixtures("logs")
def test_text_logs_are_one_line_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    """Time, level, event, fields; line breaks and traces stay on the line."""
    setup_logging("text", "debug")
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("it\nfailed", words="a b")
    structlog.get_logger().debug("fine")
    first, second = capsys.readouterr().err.splitlines()
    time_, level, event = first.split(None, 2)
    assert (time_[-1], level) == ("Z", "error")
    assert event.startswith(r"it\nfailed ")
    assert 'words="a b"' in event
    assert "ValueError: broken" in event
    assert second.endswith("debug   fine")


@pytest.mark.usefixtures("logs")
def test_others_words_forge_no_line_of_a_text_log(capsys: pytest.CaptureFixture[str]) -> None:
    """In the event as in a field each character that steers a terminal or ends a line is an escape; none is lost."""
    setup_logging("text", "info")
    structlog.get_logger().info("a\u2028b", problem="c\n\x1b[2J\u202ed\x85e")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.partition(" info    ")[2] == r"a\u2028b problem=c\n\x1b[2J\u202ed\x85e"


@pytest.mark.usefixtures("logs")
def test_log_lines_of_libraries_have_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings of the standard library's loggers come through, their chatter does not."""
    setup_logging("json", "debug")
    logging.getLogger("urllib3").warning("pool is full: %s", "x")
    logging.getLogger("urllib3").info("connected")
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["logger"], entry["level"]) == ("pool is full: x", "urllib3", "warning")


def test_only_what_changed_is_said() -> None:
    """The same words under one key are logged once; others, and other keys, are."""
    changes = ChangeLog()
    with structlog.testing.capture_logs() as entries:
        assert changes.say("rtb-1", "table is full", used=50)
        assert not changes.say("rtb-1", "table is full", used=50)
        assert changes.say("rtb-2", "table is full", used=50)
        assert changes.say("rtb-1", "table is full", used=49, warning=True)
        assert changes.forget("rtb-1")
        assert not changes.forget("rtb-1")
        assert changes.say("rtb-1", "table is full", used=49, warning=True)
    assert [entry["log_level"] for entry in entries] == ["info", "info", "warning", "warning"]
    assert [entry["used"] for entry in entries] == [50, 50, 49, 49]


def test_a_change_log_does_not_grow_for_ever() -> None:
    """Keys of nodes that are long gone make room."""
    changes = ChangeLog()
    with structlog.testing.capture_logs():
        for number in range(telemetry.REMEMBERED + 10):
            changes.say(number, "x")
        assert changes.say(0, "x"), "the oldest was forgotten"
        assert not changes.say(telemetry.REMEMBERED + 9, "x")

"""/metrics, /healthz and /readyz of a real controller: no secrets in them, and hostile clients don't block them."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cloudroute.telemetry import MAX_CONNECTIONS, REQUEST_SECONDS
from tests.controller.servers import Controller, Servers, servers
from tests.waiting import eventually

LABELS = {"action", "code", "table", "family", "state", "path", "cidr", "le"}
"""Labels of all series: no node, no address, no account."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A leader that has routed one node."""
    with servers(tmp_path_factory.mktemp("endpoints")) as made:
        leader = made.start()
        machine = made.join("secret-name")
        eventually(lambda: made.routed(machine) and leader.leads, "the node is routed, and one leads")
        made.leader = leader  # type: ignore[attr-defined]
        yield made


@pytest.fixture
def leader(world: Servers) -> Controller:
    found: Controller = world.leader  # type: ignore[attr-defined]
    return found


def test_metrics_tell_counts_by_table_and_nothing_of_accounts_or_nodes(world: Servers, leader: Controller) -> None:
    """Metrics contain no node name, address, instance, account, credential or token, and only the listed labels."""
    status, text = leader.get("/metrics")
    assert status == 200
    series = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(line.startswith("cloudroute_") for line in series)
    assert {label for line in series for label in re.findall(r'(\w+)="', line)} <= LABELS
    check_silent(world, text)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/nowhere", "/metrics/../../etc/passwd", "/%2e%2e/etc/passwd"])
def test_other_paths_say_a_line_and_echo_nothing(world: Servers, leader: Controller, path: str) -> None:
    """Other paths answer one line without the requested path."""
    status, text = leader.get(path)
    assert (status, text) in ((200, "ok\n"), (404, leader.get("/other")[1]))
    assert "passwd" not in text
    check_silent(world, text)


def test_headers_and_errors_name_no_versions(leader: Controller) -> None:
    """No header names the interpreter or the framework; an error page shows no traceback."""
    for request in (b"GET /healthz HTTP/1.1\r\n\r\n", b"BREW /pot HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\xff\r\n\r\n"):
        answer = exchange(leader, request)
        assert answer
        assert not re.search(rb"Python|BaseHTTP|Traceback|\.py", answer), answer


def check_silent(world: Servers, text: str) -> None:
    machine_words = ("secret-name", "i-0", "eni-", "10.0.", "dummy", "Bearer", "arn:", "AKIA", "password")
    for word in (*machine_words, world.aws.session().client("sts").get_caller_identity()["Account"]):
        assert word not in text, word


# --- clients that mean no good --------------------------------------------------------------------


def connect(leader: Controller) -> socket.socket:
    address = urlsplit(leader.url)
    return socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=REQUEST_SECONDS)


def exchange(leader: Controller, request: bytes) -> bytes:
    """All bytes of the answer until the server closes the connection."""
    with connect(leader) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(65536):
            answer += part
    return answer


def held(leader: Controller) -> tuple[int, int]:
    """Threads and descriptors of the process."""
    process = Path("/proc") / str(leader.pid)
    return len(list((process / "task").iterdir())), len(list((process / "fd").iterdir()))


OWN_WORK = 4
"""Threads and descriptors that come and go with the controller's own work meanwhile."""


def silent(client: socket.socket) -> None:
    """Send nothing."""


def slowloris(client: socket.socket) -> None:
    """Send headers without an end."""
    client.sendall(b"GET /metrics HTTP/1.1\r\nX-A: b\r\n")


def unread(client: socket.socket) -> None:
    """Send requests, and read no answer."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")


def huge_header(client: socket.socket) -> None:
    """Send a header line of a megabyte."""
    try:
        client.sendall(b"GET /metrics HTTP/1.1\r\nX-A: " + b"b" * (1 << 20))
    except OSError:
        return  # the server has closed the connection, as it should


def many_headers(client: socket.socket) -> None:
    """Send a thousand headers."""
    try:
        client.sendall(b"GET /metrics HTTP/1.1\r\n" + b"X-A: b\r\n" * 1000 + b"\r\n")
    except OSError:
        return


def rude(client: socket.socket) -> None:
    """Send a request, and reset the connection."""
    client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def smuggler(client: socket.socket) -> None:
    """Send an unsupported method that announces a body, and no body."""
    client.sendall(b"POST /metrics HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n")


@pytest.mark.parametrize("attack", [silent, slowloris, unread, huge_header, many_headers, rude, smuggler])
def test_probes_are_answered_whatever_others_do(
    world: Servers, leader: Controller, attack: Callable[[socket.socket], None]
) -> None:
    """With four times the maximum of hostile connections a probe is answered, threads stay few, and all is released."""
    at_rest = held(leader)
    clients = [connect(leader) for _ in range(4 * MAX_CONNECTIONS)]
    try:
        for client in clients:
            attack(client)
        assert leader.get("/healthz") == (200, "ok\n")
        eventually(
            lambda: held(leader)[0] <= at_rest[0] + MAX_CONNECTIONS + OWN_WORK,
            "the leader's connections are few again",
            seconds=REQUEST_SECONDS,
        )
    finally:
        for client in clients:
            client.close()
    eventually(
        lambda: all(now <= before + OWN_WORK for now, before in zip(held(leader), at_rest, strict=True)),
        "the leader's files and threads are few again",
        seconds=2 * REQUEST_SECONDS,
    )
    assert leader.runs
    assert "Traceback" not in leader.log.read_text()

"""Questions to `serve`: packets and connections, and the code of each failure."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cloudroute.types import Family
from tests.probe.net import ASKER, BLACKHOLE, FAR, REJECTED, SECOND, SILENT, Net

CLOSED_PORT = 9
WHO = socket.gethostname()[:63]


def test_a_packet_tells_the_address_and_the_hops(hosts: Net, family: Family) -> None:
    """64 at the sender, and one router both ways."""
    answer = hosts.one("udp", address=FAR[family], tries=3)
    assert answer.pop("rtt_ms") > 0
    assert answer == {"ok": True, "seen": ASKER[family], "who": WHO, "far_ttl": 63, "ttl": 63, "lost": 0}


def test_the_address_that_was_asked_answers(hosts: Net, family: Family) -> None:
    """A connected socket takes no answer from another one."""
    assert hosts.one("udp", address=SECOND[family])["ok"]


def test_a_packet_as_large_as_the_path_carries_passes_and_comes_back(hosts: Net, family: Family) -> None:
    assert hosts.one("udp", address=FAR[family], size=1400)["ok"]


def test_a_packet_larger_than_the_path_is_refused_by_the_router_each_time(hosts: Net, family: Family) -> None:
    """Even when the kernel knows the path's MTU: the packet is sent all the same."""
    with hosts.dropping("udp sport 9999"):  # nothing: counts how often the router sees a packet
        before = _router_refusals(hosts, family)
        for _ in range(2):
            answer = hosts.one("udp", address=FAR[family], size=1401)
            assert (answer["code"], answer["where"], answer["mtu"]) == ("too-big", "path", 1400)
        assert _router_refusals(hosts, family) - before == 2


def _router_refusals(hosts: Net, family: Family) -> int:
    """Packets that the router found too big."""
    name = "IpFragFails" if family == "ipv4" else "Ip6InTooBigErrors"
    return int(hosts.router.shell(f"nstat -asz {name} | tail -n 1").split()[1])


def test_a_packet_that_is_dropped_for_its_size_without_a_word_is_a_timeout(hosts: Net, family: Family) -> None:
    with hosts.dropping("meta length > 1399"):
        short, full = hosts.ask(
            {"kind": "udp", "address": FAR[family], "size": 1399},
            {"kind": "udp", "address": FAR[family], "size": 1400, "timeout": 0.3, "tries": 2},
        )
    assert short["ok"]
    assert full == {"ok": False, "error": "no answer in time", "code": "timeout"}


def test_a_packet_larger_than_the_device_is_not_sent(hosts: Net, family: Family) -> None:
    answer = hosts.one("udp", address=FAR[family], size=1501)
    assert (answer["code"], answer["where"]) == ("too-big", "device")


def test_tries_without_an_answer_are_counted(hosts: Net, family: Family) -> None:
    with hosts.dropping(f"{_match(family)} udp dport 8470 numgen inc mod 2 0"):
        answer = hosts.one("udp", address=FAR[family], tries=4, timeout=0.3)
    assert (answer["ok"], answer["lost"]) == (True, 2)


def _match(family: Family) -> str:
    return f"{'ip' if family == 'ipv4' else 'ip6'} daddr {FAR[family]}"


@pytest.mark.parametrize("kind", ["udp", "tcp", "connect"])
def test_failures_have_codes(hosts: Net, family: Family, kind: str) -> None:
    """By the far host, by a router, by silence, and by this machine's own route."""
    answers = hosts.ask(
        *(
            {"kind": kind, "address": address[family], "port": port, "timeout": 0.5}
            for address, port in ((FAR, CLOSED_PORT), (REJECTED, 8470), (SILENT, 8470), (BLACKHOLE, 8470))
        )
    )
    assert [answer["ok"] for answer in answers] == [False] * 4
    assert [answer["code"] for answer in answers] == ["refused", "unreachable", "timeout", "unreachable"]


@pytest.mark.parametrize("size", [1, 9000, 200_000])
def test_a_connection_carries_a_question_and_its_answer(hosts: Net, family: Family, size: int) -> None:
    """The segments fit the path: MSS 1348, or 1328, with TCP's timestamps; the handshake agreed on the far device's."""
    answer = hosts.one("tcp", address=FAR[family], size=size)
    assert answer.pop("rtt_ms") > 0
    assert answer == {"ok": True, "seen": ASKER[family], "who": WHO, "mss": {"ipv4": 1348, "ipv6": 1328}[family]}


def test_a_connection_is_enough(hosts: Net, family: Family) -> None:
    answer = hosts.one("connect", address=FAR[family], port=8470)
    assert answer.pop("rtt_ms") > 0
    assert answer == {"ok": True, "source": ASKER[family]}


def test_a_connection_that_the_far_side_ends_is_closed(hosts: Net, family: Family) -> None:
    with _closing(hosts, family) as port:
        answers = hosts.ask({"kind": "connect", "address": FAR[family], "port": port}, _tcp(family, port))
    assert answers[0]["ok"]
    assert answers[1]["code"] == "closed"


def _tcp(family: Family, port: int) -> dict[str, Any]:
    return {"kind": "tcp", "address": FAR[family], "port": port}


@contextmanager
def _closing(hosts: Net, family: Family) -> Iterator[int]:
    """A server at the far host that ends each of two connections at once; its port."""
    kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
    with hosts.far.inside():
        listener = socket.create_server((FAR[family], 0), family=kind)

    def serve() -> None:
        for _ in range(2):
            listener.accept()[0].close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join()
        listener.close()


def test_questions_are_answered_at_once_and_apart(hosts: Net) -> None:
    """A malformed one, an unknown kind and one that waits hold up no other; 40 are more than threads."""
    udp: dict[str, Any] = {"kind": "udp", "address": FAR["ipv4"]}
    wrong: list[dict[str, Any]] = [
        {"kind": "udp"},
        {"kind": "ping"},
        {},
        {"kind": "udp", "address": 7},
        {**udp, "address": SILENT["ipv4"]},
    ]
    answers = hosts.ask(*wrong, *[udp] * 40)
    assert [answer.get("code") for answer in answers[:5]] == ["other"] * 4 + ["timeout"]
    assert [answer["ok"] for answer in answers[5:]] == [True] * 40

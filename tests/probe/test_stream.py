"""Numbered packets for some time: each one's fate is counted."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cloudroute.types import Family
from tests.probe.net import ASKER, FAR, REJECTED, SILENT, Net

SHORT = {"seconds": 0.4, "interval_ms": 20}


def test_all_are_answered_while_nothing_is_wrong(hosts: Net, family: Family) -> None:
    answer = hosts.one("stream", address=FAR[family], size=1400, **SHORT)
    least, median, most = answer.pop("rtt_ms")
    assert 0 < least <= median <= most
    assert answer.pop("longest_gap_ms") > 0
    counts = {"sent": 20, "received": 20, "lost": 0, "duplicates": 0, "errors": {}}
    assert answer == {"ok": True, "sources": [ASKER[family]], "far_ttls": [63], "ttls": [63], **counts}


def test_lost_ones_are_counted(hosts: Net, family: Family) -> None:
    with hosts.dropping("udp dport 8470 numgen inc mod 4 0"):
        answer = hosts.one("stream", address=FAR[family], **SHORT)
    assert (answer["sent"], answer["received"], answer["lost"]) == (20, 15, 5)
    assert answer["longest_gap_ms"] > 20


def test_without_any_answer_the_reason_is_told(hosts: Net, family: Family) -> None:
    rejected, silent = hosts.ask(
        {"kind": "stream", "address": REJECTED[family], **SHORT},
        {"kind": "stream", "address": SILENT[family], **SHORT},
    )
    assert (rejected["code"], rejected["sent"], rejected["lost"]) == ("unreachable", 20, 20)
    assert list(rejected["errors"]) == [{"ipv4": "No route to host", "ipv6": "Network is unreachable"}[family]]
    assert (silent["code"], silent["sent"], silent["errors"]) == ("timeout", 20, {})


def test_larger_than_the_path_none_arrives(hosts: Net, family: Family) -> None:
    answer = hosts.one("stream", address=FAR[family], size=1401, **SHORT)
    assert (answer["code"], answer["lost"], list(answer["errors"])) == ("too-big", 20, ["Message too long"])


def test_a_second_answer_to_a_packet_is_a_duplicate(hosts: Net) -> None:
    with _answers_twice(hosts) as port:
        answer = hosts.one("stream", address=FAR["ipv4"], port=port, **SHORT)
    assert (answer["sent"], answer["received"], answer["duplicates"]) == (20, 20, 20)


@contextmanager
def _answers_twice(hosts: Net) -> Iterator[int]:
    with hosts.far.inside():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((FAR["ipv4"], 0))

    def serve() -> None:
        for _ in range(20):
            data, sender = server.recvfrom(65536)
            for _ in range(2):
                server.sendto(data[:8] + b'{"seen": "x", "ttl": 1, "who": "y", "dropped": 0}', sender)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        thread.join()
        server.close()

"""Packets of probes are counted where they pass, with the devices that they take; nothing stays behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cloudroute.probe.count import TABLE
from cloudroute.types import Family
from tests.probe.net import ASKER, FAR, Net, without_all_capabilities_but


@contextmanager
def counting(hosts: Net) -> Iterator[subprocess.Popen[str]]:
    """`count` on the router, with the one capability that an agent's container has."""
    before = ["ip", "netns", "exec", hosts.router.name, *without_all_capabilities_but("net_admin")]
    command = [*before, sys.executable, "-m", "cloudroute.probe", "count"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert read(process) == {"counting": True}
            yield process
        finally:
            assert process.stdin
            process.stdin.close()
            assert process.wait(10) == 0


def read(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout
    return dict(json.loads(process.stdout.readline()))


def passages(process: subprocess.Popen[str]) -> list[list[Any]]:
    assert process.stdin
    process.stdin.write('"read"\n')
    process.stdin.flush()
    return list(read(process)["passages"])


def test_each_packet_to_a_probe_is_counted_with_its_way(hosts: Net, family: Family) -> None:
    """And no answer, which goes to another port, nor a packet of anybody else."""
    with counting(hosts) as process:
        hosts.one("stream", address=FAR[family], seconds=0.4, interval_ms=20)
        hosts.one("udp", address=FAR[family], port=8479, timeout=0.2)
        assert passages(process) == [[ASKER[family], FAR[family], "near", "beyond", 20]]
        hosts.one("udp", address=FAR[family])
        assert passages(process) == [[ASKER[family], FAR[family], "near", "beyond", 21]]


def test_its_table_goes_with_it_and_what_a_killed_one_left_is_made_anew(hosts: Net) -> None:
    with counting(hosts):
        assert TABLE in hosts.router.run("nft", "list", "tables")
    assert TABLE not in hosts.router.run("nft", "list", "tables")
    hosts.router.run("nft", "add", "table", "inet", TABLE)
    with counting(hosts) as process:
        assert passages(process) == []
    assert TABLE not in hosts.router.run("nft", "list", "tables")

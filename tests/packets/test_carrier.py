"""The kernel takes nexthops and routes away with a device's carrier, without a word: they are back with it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packets.peers import back, kept, ready, with_peers
from tests.packets.solo import Solo

AWAY_SECONDS = 5.0
"""Duration without a carrier: by then the agent repeats its failed writes every four seconds."""
CARRIERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "eth0": (("vpc0", "down"), ("vpc0", "up")),
    "cr0": (("cr0", "protodown", "on"), ("cr0", "protodown", "off")),
}
"""Commands that take the carrier of a device away and bring it back."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Solo]:
    with with_peers(tmp_path) as host:
        yield host


@pytest.fixture
def host_v4(tmp_path: Path) -> Iterator[Solo]:
    with with_peers(tmp_path, families=1) as host:
        yield host


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("device", CARRIERS)
def test_a_short_loss_is_repaired_within_a_second(host_v4: Solo, device: str) -> None:
    """With IPv4 alone, where nothing but the flags of the device tells of it: of IPv6 routes the kernel tells."""
    lose, give = CARRIERS[device]
    with host_v4.agent():
        before = ready(host_v4)
        host_v4.namespace.run("ip", "link", "set", *lose)
        host_v4.namespace.run("ip", "link", "set", *give)
        back(host_v4, before)


@pytest.mark.parametrize("device", CARRIERS)
def test_a_long_loss_is_repaired_within_a_second_of_the_return(host: Solo, device: str) -> None:
    """Meanwhile the agent does not spin, and repairs what has a carrier."""
    lose, give = CARRIERS[device]
    other = "cr0" if device == "eth0" else "eth0"
    with host.agent() as agent:
        before = ready(host)
        host.namespace.run("ip", "link", "set", *lose)
        host.wait(lambda: host.status().get("reason") == "PeersFailed")
        assert f"dev {device}: Carrier for nexthop device is down" in host.status()["message"]
        of_other = [line for line in kept(host) if line.startswith("id ")]
        assert of_other
        assert all(f"dev {other}" in line for line in of_other)
        host.namespace.run("ip", "nexthop", "flush", "dev", other)
        host.wait(lambda: set(of_other) <= set(kept(host)))
        used = cpu_seconds(agent.pid)
        time.sleep(AWAY_SECONDS)
        assert cpu_seconds(agent.pid) - used < AWAY_SECONDS / 10
        host.namespace.run("ip", "link", "set", *give)
        back(host, before)
        host.wait(lambda: bool(host.status().get("ready")))

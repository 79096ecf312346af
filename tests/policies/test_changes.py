"""While paths change and agents start again, no packet that a policy allows is lost, and none that it denies passes.

Allowed traffic is TCP, where a lost packet is a segment sent twice. One-way UDP is never established to conntrack, so
the enforcer decides about each of its packets, and the load of the machine would count.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from cloudroute.lab.hosts.traffic import Flow, Protocol, Result, Traffic
from tests.packets.labs import OWN_ENTRIES, check_no_loss, settle, wait_for_agents, wait_for_paths
from tests.policies.lab import ROOM, PolicyLab

CLIENTS = ("a1", "a2", "b1", "b2")
"""Hosts on the server's own node, and by each path."""
UDP: Protocol = "udp"
TCP: Protocol = "tcp"


def flows(lab: PolicyLab, client: str, protocol: Protocol) -> list[Flow]:
    """From the pods of that name to the server that answers friends."""
    server = lab.hosts["a1"].pods["by-pod"]
    return [
        Flow(lab.hosts[host].pods[client].namespace.name, server.namespace.name, address, protocol)
        for host in CLIENTS
        for address in server.addresses
    ]


@contextmanager
def enforced(lab: PolicyLab) -> Iterator[None]:
    """Traffic for as long as the block lasts: all that friends send arrives, and nothing that strangers send."""
    with ExitStack() as stack:

        def sent(client: str, protocol: Protocol, interval_ms: float) -> Traffic:
            return stack.enter_context(Traffic(flows(lab, client, protocol), interval_ms))

        allowed = sent("friend", TCP, 5.0)
        denied = [sent("stranger", UDP, 20.0), sent("stranger", TCP, 20.0)]
        yield
        arrived = allowed.stop()
        check_no_loss(arrived)
        packets = 0
        for traffic in denied:
            check_nothing_passed(traffic.stop())
            packets += sum(result.sent for result in traffic.stop().values())
        octets = sum(result.received for result in arrived.values())
        sys.stdout.write(f"\n{octets} bytes of friends arrived, 0 of {packets} packets of strangers\n")


def check_nothing_passed(results: Mapping[Flow, Result]) -> None:
    """Packets were sent and connections attempted, and nothing arrived."""
    for flow, result in results.items():
        assert result.received == 0, f"{flow}: {result}"
        assert result.sent > 0 or result.broken == "not connected", f"{flow}: {result}"


def test_as_the_limit_falls_and_rises(lab: PolicyLab) -> None:
    """Native pairs become overlay ones and native again."""
    with enforced(lab):
        lab.set_route_limit(OWN_ENTRIES + 1)
        wait_for_paths(lab, lambda now: "native" not in now.values(), "the limit to bite")
        settle(lab)
        lab.set_route_limit(ROOM)
        wait_for_paths(lab, lambda now: "native" in now.values(), "native pairs")
        settle(lab)


def test_as_agents_are_killed_and_start_again(lab: PolicyLab) -> None:
    """The kernel forwards meanwhile, and the enforcer's table is its own."""
    with enforced(lab):
        for host in lab.hosts.values():
            host.kill_agent()
        time.sleep(1)
        for host in lab.hosts.values():
            host.start_agent()
        wait_for_agents(lab)
        settle(lab)

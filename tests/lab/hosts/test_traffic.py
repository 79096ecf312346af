"""Tests of the loss measurement: two hosts and a router between them, all in namespaces of the test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.hosts.traffic import Flow, Protocol, Result, Traffic
from cloudroute.lab.hosts.traffic_echo import Echo, reach
from cloudroute.lab.hosts.traffic_udp import GRACE_NS, Ledger
from cloudroute.types import Family
from tests.hosts import require_netns, require_nftables
from tests.waiting import eventually

MTU = 1400
NEAR: dict[Family, str] = {"ipv4": "10.77.1.2", "ipv6": "fd77:1::2"}
FAR: dict[Family, str] = {"ipv4": "10.77.2.2", "ipv6": "fd77:2::2"}
ROUTER: dict[Family, str] = {"ipv4": "10.77.2.1", "ipv6": "fd77:2::1"}
SECOND: dict[Family, str] = {"ipv4": "10.77.3.3", "ipv6": "fd77:3::3"}
"""Another address of the far host."""
FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")


class Wire:
    """near - router - far, with nftables rules that a test adds to the router."""

    def __init__(self, prefix: str) -> None:
        self.near, self.router, self.far = (Namespace(f"{prefix}-{name}") for name in ("near", "router", "far"))
        self.all = (self.near, self.router, self.far)

    def build(self) -> None:
        for namespace in self.all:
            namespace.create()
        for device, host in (("near", self.near), ("far", self.far)):
            self.router.run("ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            self.router.run("ip", "link", "set", device, "up", "mtu", str(MTU))
            host.run("ip", "link", "set", "eth0", "up", "mtu", str(MTU))
        for name, base in (("near", NEAR), ("far", FAR)):
            host = self.near if name == "near" else self.far
            for family, length in (("ipv4", 24), ("ipv6", 64)):
                address = base[family]  # type: ignore[index]
                router = address[:-1] + "1"
                self.router.run("ip", "addr", "add", f"{router}/{length}", "dev", name, *_nodad(address))
                host.run("ip", "addr", "add", f"{address}/{length}", "dev", "eth0", *_nodad(address))
                host.run("ip", "route", "add", "default", "via", router)
        for address in SECOND.values():
            self.far.run("ip", "addr", "add", address, "dev", "lo")
            self.router.run("ip", "route", "add", address, "via", FAR["ipv6" if ":" in address else "ipv4"])
        self.router.sysctl({"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"})
        # Addresses and neighbours of IPv6 need a moment.
        eventually(
            lambda: "1 received" in self.near.run("ping", "-c1", "-W1", FAR["ipv6"], check=False),
            "the far side answers over IPv6",
        )

    def rules(self, text: str) -> None:
        """Put a chain into the table of the test."""
        self.router.run("nft", "-f", "-", stdin=f"table inet test {{\n{text}\n}}\n")

    def clear(self) -> None:
        self.router.run("nft", "delete", "table", "inet", "test", check=False)

    def dropped(self) -> int:
        """Number of packets dropped by the rule with a counter."""
        listed = json.loads(self.router.run("nft", "-j", "list", "table", "inet", "test"))["nftables"]
        return sum(
            part["counter"]["packets"]
            for item in listed
            for part in item.get("rule", {}).get("expr", [])
            if "counter" in part
        )

    def flow(self, family: Family, protocol: Protocol = "udp") -> Flow:
        return Flow(self.near.name, self.far.name, FAR[family], protocol)

    def close(self) -> None:
        for namespace in self.all:
            namespace.delete()


def _nodad(address: str) -> tuple[str, ...]:
    return ("nodad",) if ":" in address else ()


@pytest.fixture(scope="module")
def built() -> Iterator[Wire]:
    require_netns()
    require_nftables()
    wire = Wire(f"crtr{os.getpid()}")
    try:
        wire.build()
        yield wire
    finally:
        wire.close()


@pytest.fixture
def wire(built: Wire) -> Iterator[Wire]:
    yield built
    built.clear()


CUT = "chain cut { type filter hook forward priority 0; meta l4proto udp counter drop; }"
NAT = "chain nat { type nat hook postrouting priority srcnat; oifname far masquerade; }"


def received(traffic: Traffic, more: int) -> Callable[[], bool]:
    """Whether every flow has received that many more packets (TCP: bytes) than at the call."""
    before = {flow: result.received for flow, result in traffic.snapshot().items()}
    return lambda: all(result.received >= before[flow] + more for flow, result in traffic.snapshot().items())


def test_on_a_good_wire_every_packet_arrives_once(wire: Wire) -> None:
    """Six flows of both families and directions, a packet each every millisecond: none is lost, none comes twice."""
    flows = [
        *(wire.flow(family) for family in FAMILIES),
        *(Flow(wire.far.name, wire.near.name, NEAR[family]) for family in FAMILIES),
        *(Flow(wire.near.name, wire.far.name, SECOND[family]) for family in FAMILIES),
    ]
    with Traffic(flows) as traffic:
        eventually(received(traffic, 500), "500 packets arrive")
        results = traffic.stop()
    for flow, result in results.items():
        assert result.received == result.sent >= 500
        assert (result.lost, result.duplicates, result.tool_lost, result.errors) == (0, 0, 0, {})
        near = flow.source == wire.near.name
        assert result.sources == {(NEAR if near else FAR)["ipv6" if ":" in flow.address else "ipv4"]}
        assert result.longest_gap_ms > 0


def test_a_cut_link_costs_exactly_the_packets_sent_meanwhile(wire: Wire) -> None:
    """As many are lost as the router says that it dropped, and the gap is as long as the cut."""
    with Traffic([wire.flow(family) for family in FAMILIES]) as traffic:
        eventually(received(traffic, 50), "50 packets arrive")
        wire.rules(CUT)
        started = time.monotonic()
        eventually(lambda: wire.dropped() >= 400, "400 packets are dropped")
        cut_ms = (time.monotonic() - started) * 1e3
        wire.router.run("nft", "insert", "rule", "inet", "test", "cut", "accept")
        dropped = wire.dropped()
        eventually(received(traffic, 50), "50 packets arrive")
        results = traffic.stop()
    assert sum(result.lost for result in results.values()) == dropped >= 400
    for result in results.values():
        assert result.lost == result.sent - result.received
        assert result.longest_gap_ms >= cut_ms


def test_losses_show_while_the_traffic_goes_on(wire: Wire) -> None:
    """Losses are counted half a second late, so that packets in flight don't count as lost."""
    with Traffic([wire.flow("ipv4")]) as traffic:
        eventually(received(traffic, 700), "700 packets arrive")
        assert next(iter(traffic.snapshot().values())).lost == 0
        wire.rules(CUT)
        eventually(lambda: next(iter(traffic.snapshot().values())).lost >= 100, "100 packets are lost")


@pytest.mark.parametrize("family", FAMILIES)
def test_nat_on_the_way_shows(wire: Wire, family: Family) -> None:
    """The source that arrives is the router's, for packets and for connections."""
    wire.rules(NAT)
    with Traffic([wire.flow(family), wire.flow(family, "tcp")]) as traffic:
        eventually(received(traffic, 100), "100 packets arrive")
        results = traffic.stop()
    assert [result.sources for result in results.values()] == [{ROUTER[family]}] * 2


@pytest.mark.parametrize(("family", "told"), [("ipv4", "ICMP 3/"), ("ipv6", "ICMPv6 1/")])
def test_icmp_errors_are_counted(wire: Wire, family: Family, told: str) -> None:
    """The router says that it can't reach the address: all is lost, and the errors name who said so."""
    wire.rules("chain no { type filter hook forward priority 0; reject; }")
    with Traffic([wire.flow(family)]) as traffic:
        eventually(lambda: next(iter(traffic.snapshot().values())).lost > 50, "more than 50 packets are lost")
        (result,) = traffic.stop().values()
    assert result.lost == result.sent
    (words,) = result.errors
    assert told in words
    assert "from " in words


def test_full_size_packets_are_not_fragmented(wire: Wire) -> None:
    """At the MTU they arrive in both families; one byte more, and the own kernel refuses each."""
    flows = [wire.flow(family) for family in FAMILIES]
    with Traffic(flows, size=MTU) as traffic:
        eventually(received(traffic, 50), "50 packets arrive")
        assert all(result.lost == 0 for result in traffic.stop().values())
    with Traffic(flows, size=MTU + 1) as traffic:
        eventually(
            lambda: all(result.lost > 50 for result in traffic.snapshot().values()),
            "each flow loses more than 50 packets",
        )
        results = traffic.stop()
    for result in results.values():
        assert result.errors == {"not sent: Message too long": result.sent}
        assert result.lost == result.sent


def test_a_connection_outlives_a_cut(wire: Wire) -> None:
    """All bytes arrive in the end; retransmitted segments are counted."""
    with Traffic([wire.flow(family, "tcp") for family in FAMILIES]) as traffic:
        eventually(received(traffic, 500), "500 packets arrive")
        wire.rules("chain cut { type filter hook forward priority 0; counter drop; }")
        eventually(
            lambda: all(result.retransmissions for result in traffic.snapshot().values()), "each flow retransmits"
        )
        wire.clear()
        eventually(received(traffic, 500), "500 packets arrive")
        results = traffic.stop()
    for result in results.values():
        assert result.received == result.sent
        assert result.retransmissions > 0
        assert result.broken == ""


def test_a_broken_connection_is_told(wire: Wire) -> None:
    """A reset connection and a refused one are reported as broken."""
    with Traffic([wire.flow(family, "tcp") for family in FAMILIES]) as traffic:
        eventually(received(traffic, 500), "500 packets arrive")
        wire.rules("chain no { type filter hook forward priority 0; meta l4proto tcp reject with tcp reset; }")
        eventually(lambda: all(result.broken for result in traffic.snapshot().values()), "each flow breaks")
        assert {result.broken for result in traffic.stop().values()} == {"Connection reset by peer"}
    with Traffic([wire.flow("ipv4", "tcp")]) as traffic:
        eventually(
            lambda: next(iter(traffic.snapshot().values())).broken == "Connection refused", "the connection is refused"
        )


def test_impossible_requests_are_refused_with_a_reason(wire: Wire) -> None:
    """A missing namespace, an empty list of flows and a killed process raise CloudrouteError."""
    with pytest.raises(CloudrouteError, match="no network namespace crtr-nowhere"), Traffic([_nowhere(wire)]):
        pass
    with pytest.raises(CloudrouteError, match="no network namespace crtr-nowhere"):
        reach("crtr-nowhere", FAR["ipv4"])
    with pytest.raises(CloudrouteError, match="crtr-nowhere"), Echo(["crtr-nowhere"]):
        pass
    with pytest.raises(CloudrouteError, match="no flows"):
        Traffic([])
    with Traffic([wire.flow("ipv4")]) as traffic:
        ours = ["pgrep", "-P", str(os.getpid()), "-f", "traffic_process"]
        os.kill(int(subprocess.run(ours, capture_output=True, text=True, check=True).stdout), signal.SIGKILL)
        with pytest.raises(CloudrouteError, match="the traffic process has ended with -9"):
            traffic.snapshot()


def _nowhere(wire: Wire) -> Flow:
    return Flow(wire.near.name, "crtr-nowhere", FAR["ipv4"])


# --- questions and answers ----------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_tells_the_address_it_saw(wire: Wire, family: Family, protocol: Protocol) -> None:
    """At full size, from each address of the far host, and with NAT on the way."""
    with Echo([wire.far.name, wire.router.name]):
        for address in (FAR[family], SECOND[family]):
            answer = reach(wire.near.name, address, protocol, size=MTU)
            assert (answer.ok, answer.seen_address) == (True, NEAR[family]), answer.error
        wire.rules(NAT)
        assert reach(wire.near.name, FAR[family], protocol).seen_address == ROUTER[family]


def test_no_answer_has_a_reason(wire: Wire) -> None:
    """The error tells apart a refused connection, a timeout and a packet that is too large."""
    far = FAR["ipv4"]
    assert reach(wire.near.name, far, "tcp").error == "Connection refused"
    assert reach(wire.near.name, far, "udp").error == "Connection refused"
    with Echo([wire.far.name]):
        assert reach(wire.near.name, far, size=MTU + 1).error == "Message too long"
        wire.rules(CUT)
        assert reach(wire.near.name, far, timeout=0.2).error == "no answer within 0.2 s"


# --- the ledger ---------------------------------------------------------------------------------

MS = 1_000_000


def ledger_of(sent: int) -> tuple[Ledger, int]:
    """A ledger of packets that were sent long ago, one a millisecond, and when the last one was."""
    start = time.time_ns() - 2 * GRACE_NS - sent * MS
    ledger = Ledger()
    for number in range(sent):
        assert ledger.send(start + number * MS) == number
    return ledger, start + (sent - 1) * MS


def counts(result: Result) -> Mapping[str, int]:
    return {"received": result.received, "lost": result.lost, "duplicates": result.duplicates}


def test_a_packet_twice_and_a_packet_of_somebody_else() -> None:
    """A packet received twice is a duplicate; one of another program is ignored."""
    ledger, now = ledger_of(3)
    for number in (0, 1, 1, 2, 3, 10**15):
        ledger.arrive(number, now)
    assert counts(ledger.result(0, final=True)) == {"received": 3, "lost": 0, "duplicates": 1}


def test_a_late_packet_is_no_longer_lost() -> None:
    """A late packet counts as lost only until it arrives."""
    ledger, now = ledger_of(100)
    for number in range(99):
        ledger.arrive(number, now)
    assert counts(ledger.result(0, final=True)) == {"received": 99, "lost": 1, "duplicates": 0}
    ledger.arrive(99, now + MS)
    assert counts(ledger.result(0, final=True)) == {"received": 100, "lost": 0, "duplicates": 0}


def test_a_gap_that_has_not_ended_counts() -> None:
    """Without an arrival since the tenth packet the gap lasts until the last packet sent."""
    ledger, now = ledger_of(100)
    for number in range(10):
        ledger.arrive(number, now - (99 - number) * MS)
    assert ledger.result(0, final=True).longest_gap_ms == 90

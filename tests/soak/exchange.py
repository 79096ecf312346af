"""Traffic of every pod to every other, and what of it was lost: by flow, and by the window of time that it was sent in.

Flows end with a host and begin with the one that takes its place. So that the others are measured without a gap, all
flows begin anew in a process of their own while the former ones still run; those are then stopped, and counted to the
last packet.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import permutations

from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.traffic import Flow, Result, Traffic
from cloudroute.types import Path, family_of
from tests.soak.losses import Loss

UDP_MS, TCP_MS = 10.0, 100.0
GRACE_SECONDS = 0.5
"""After which the traffic calls a packet lost."""
SLACK_SECONDS = 0.1
"""Tolerance of that: the traffic may notice a loss later by so much."""

Paths = Mapping[tuple[str, str], Path]
"""By ordered pair of hosts."""


@dataclass
class Stream:
    """Flows in a process; `ends` are the names of a flow's hosts."""

    traffic: Traffic
    ends: Mapping[Flow, tuple[str, str]]
    addresses: Mapping[Flow, frozenset[str]]
    """Source addresses that the flow's packets may have: those of its pod."""
    results: Mapping[Flow, Result] = field(default_factory=dict)
    looked: float = 0.0
    losses: dict[Flow, list[Loss]] = field(default_factory=dict)


class Exchange:
    """For one thread, but for `doom`."""

    def __init__(self) -> None:
        self.sent: Counter[tuple[str, str]] = Counter()
        """UDP packets, by family and path of their pair."""
        self.losses: list[Loss] = []
        self.at_death = Counter[str]()
        """Packets "sent" and "lost" by flows one end of which had died."""
        self.tcp_bytes = self.retransmissions = 0
        self.broken: list[str] = []
        """TCP connections that ended though both ends lived, in words."""
        self.translated: set[str] = set()
        """Sources of packets that are not an address of their pod: translated on the way."""
        self.errors: Counter[str] = Counter()
        """Errors that ICMP and kernels have reported to the senders."""
        self.tool_lost = 0
        """Packets that the measuring process was too slow for."""
        self._udp: Stream | None = None
        self._tcp: Stream | None = None
        self._doomed: set[str] = set()

    def renew(self, hosts: Iterable[LabHost], paths: Paths) -> None:
        """Begin all flows between the pods of these hosts, and end the former ones."""
        pods = [(host.name, pod) for host in hosts for pod in host.pods.values()]
        former = (self._udp, self._tcp)
        streams = []
        for protocol, interval in (("udp", UDP_MS), ("tcp", TCP_MS)):
            ends, addresses = {}, {}
            for (a, source), (b, target) in permutations(pods, 2):
                for address in target.addresses:
                    flow = Flow(source.namespace.name, target.namespace.name, address, protocol)  # type: ignore[arg-type]
                    ends[flow] = a, b
                    addresses[flow] = frozenset(source.addresses)
            traffic = Traffic(ends, interval).__enter__()
            streams.append(Stream(traffic, ends, addresses, looked=time.monotonic()))
        self._udp, self._tcp = streams
        self._end(*former, paths)
        self._doomed.clear()

    def doom(self, host: str) -> None:
        """It is about to die: what its flows send and lose from now on is nobody's fault."""
        self._doomed.add(host)

    def look(self, paths: Paths) -> None:
        """Count."""
        if self._udp:
            self.count(self._udp, self._udp.traffic.snapshot(), paths, GRACE_SECONDS)

    def close(self, paths: Paths) -> None:
        """Stop everything, and count it to the last packet."""
        udp, tcp, self._udp, self._tcp = self._udp, self._tcp, None, None
        self._end(udp, tcp, paths)

    def kill(self) -> None:
        """Stop everything, and do not count."""
        for stream in (self._udp, self._tcp):
            if stream:
                stream.traffic.__exit__()

    def _end(self, udp: Stream | None, tcp: Stream | None, paths: Paths) -> None:
        if udp:
            self.count(udp, udp.traffic.stop(), paths, 0.0)
            for flow, result in udp.results.items():
                if self._doomed.isdisjoint(udp.ends[flow]):
                    self.translated |= result.sources - udp.addresses[flow]
                    self.errors.update(result.errors)
                self.tool_lost = max(self.tool_lost, result.tool_lost)
        if tcp:
            for flow, result in tcp.traffic.stop().items():
                if self._doomed.isdisjoint(tcp.ends[flow]):
                    self.tcp_bytes += result.received
                    self.retransmissions += result.retransmissions
                    self.broken += [f"{' to '.join(tcp.ends[flow])}: {result.broken}"] if result.broken else []

    def count(self, stream: Stream, results: Mapping[Flow, Result], paths: Paths, grace: float) -> None:
        """Count the packets sent and lost since a stream's last results; those lost are older than `grace` s."""
        now = time.monotonic()
        for flow, result in results.items():
            former = stream.results.get(flow, Result())
            sent, lost = result.sent - former.sent, result.lost - former.lost
            ends = stream.ends[flow]
            if not self._doomed.isdisjoint(ends):
                self.at_death.update(sent=sent, lost=max(lost, 0))
                continue
            path = paths.get(ends, "overlay")
            family = family_of(flow.address)
            self.sent[family, path] += sent
            if lost > 0:
                since = stream.looked - GRACE_SECONDS - SLACK_SECONDS
                loss = Loss(*ends, family, path, since, now - grace, lost)
                stream.losses.setdefault(flow, []).append(loss)
                self.losses.append(loss)
            elif lost < 0:
                _late(stream.losses.get(flow, []), -lost)
        stream.results, stream.looked = results, now


def _late(losses: list[Loss], packets: int) -> None:
    """So many have come after all: the last of those that were thought lost."""
    for loss in reversed(losses):
        taken = min(packets, loss.packets)
        loss.packets -= taken
        packets -= taken

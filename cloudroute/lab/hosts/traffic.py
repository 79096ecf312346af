"""Traffic that measures loss exactly: numbered packets between namespaces, each accounted for.

    with Traffic([Flow("cr-lab-a-pod", "cr-lab-b-pod", "100.64.1.2")], interval_ms=1) as traffic:
        ...                          # break something
        traffic.snapshot()           # at any moment
        results = traffic.stop()     # waits half a second: a packet that has not arrived by then is lost

A separate process (`traffic_process`) opens sockets inside all the namespaces, sends and receives, so that no other
Python code delays it. Its own losses are measured too: `tool_lost`, and `longest_pause_ms` of the sender.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from cloudroute.errors import CloudrouteError

Protocol = Literal["udp", "tcp"]
STOP_SECONDS = 30.0
"""Time limit for the process to account for the packets still in its buffers."""


class Flow(NamedTuple):
    """Packets from a namespace to an address of another one; both named as `ip netns` lists them."""

    source: str
    target: str
    address: str
    protocol: Protocol = "udp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Counts of a flow: packets of a UDP flow, bytes of a TCP one."""

    sent: int = 0
    received: int = 0
    lost: int = 0
    """UDP: sent more than half a second ago, and not received. A packet that arrives later is no longer lost."""
    duplicates: int = 0
    longest_gap_ms: float = 0.0
    """Longest time between two arrivals, by the kernel's timestamps where it sets them (UDP)."""
    longest_pause_ms: float = 0.0
    """Longest time between two sends: the tool itself may cause a gap of this length."""
    sources: frozenset[str] = frozenset()
    """Source addresses of the received packets: any but the sender's own indicate NAT."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """ICMP errors and errors of the local kernel, as text; a packet that the kernel refused counts as sent."""
    tool_lost: int = 0
    """Dropped by the receiving socket, which several flows share, because the tool was too slow: part of `lost`."""
    retransmissions: int = 0
    """Retransmitted TCP segments."""
    broken: str = ""
    """Reason that the TCP connection ended or was never established; "" while it is healthy."""

    def as_json(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {**asdict(self), "sources": sorted(self.sources)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Result:
        """Convert from `as_json`."""
        return cls(**{**data, "sources": frozenset(data["sources"])})


class Traffic:
    """Flows that run from entering until `stop`.

    Each flow sends a packet (TCP: writes) every `interval_ms`, the flows one after another and not all at once. `size`
    is a whole IP packet's, headers included, with "don't fragment" set: the MTU makes full-size ones in both families.
    A namespace that is deleted meanwhile continues to exist, without a name, until its flows have ended. Raises
    CloudrouteError when a namespace is missing, and when the process has ended.
    """

    def __init__(self, flows: Iterable[Flow], interval_ms: float = 1.0, size: int = 64) -> None:
        self._flows = tuple(dict.fromkeys(flows))
        if not self._flows:
            raise CloudrouteError("no flows: there is no traffic to measure")
        self._interval_ms, self._size = interval_ms, size
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._final: Mapping[Flow, Result] | None = None

    def __enter__(self) -> Traffic:
        command = [sys.executable, "-m", "cloudroute.lab.hosts.traffic_process"]
        # Our own interpreter and module; it inherits stderr, so that a traceback is not lost.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
        try:
            self._ask({"flows": self._flows, "interval_ms": self._interval_ms, "size": self._size})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in filter(None, (process.stdin, process.stdout)):
            with contextlib.suppress(BrokenPipeError):  # for data that it never read; the pipe is closed nevertheless
                pipe.close()

    def snapshot(self) -> Mapping[Flow, Result]:
        """Return the results so far; after `stop`, the final ones."""
        with self._lock:
            return self._final if self._final is not None else self._results({"do": "snapshot"})

    def stop(self) -> Mapping[Flow, Result]:
        """Stop sending, wait for packets in flight, and return the final results."""
        with self._lock:
            if self._final is None:
                self._final = self._results({"do": "stop"})
                self.__exit__()
            return self._final

    def _results(self, request: object) -> Mapping[Flow, Result]:
        answered = self._ask(request)["results"]
        return {flow: Result.from_json(data) for flow, data in zip(self._flows, answered, strict=True)}

    def _ask(self, request: object) -> Any:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise CloudrouteError("the traffic is not under way: enter it first")
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; its output, if any, is still to be read
        line = process.stdout.readline()
        if not line:
            raise CloudrouteError(f"the traffic process has ended with {process.wait(STOP_SECONDS)}")
        answer = json.loads(line)
        if "error" in answer:
            raise CloudrouteError(answer["error"])
        return answer

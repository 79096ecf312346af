"""Traffic that measures loss exactly: numbered packets between namespaces, each accounted for.

    with Traffic([Flow("cr-lab-a-pod", "cr-lab-b-pod", "100.64.1.2")], interval_ms=1) as traffic:
        ...                          # break something
        traffic.snapshot()           # at any moment
        results = traffic.stop()     # half a second later: what has not come by then is lost

One process apart (`traffic_process`) opens sockets inside all the namespaces, sends and receives, so that nobody else's
Python holds it up. Whether it loses anything itself is measured too: `tool_lost`, and `longest_pause_ms` of the sender.
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
"""For the process to account for what is still in its buffers."""


class Flow(NamedTuple):
    """From a namespace to an address that another one has; both named as `ip netns` lists them."""

    source: str
    target: str
    address: str
    protocol: Protocol = "udp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a flow: packets of a UDP flow, bytes of a TCP one."""

    sent: int = 0
    received: int = 0
    lost: int = 0
    """UDP: sent more than half a second ago, and not there. A packet that comes later is no longer lost."""
    duplicates: int = 0
    longest_gap_ms: float = 0.0
    """The longest time between two arrivals, by the kernel's clock where it stamps them (UDP)."""
    longest_pause_ms: float = 0.0
    """The longest time between two sends: as much of a gap may be the tool's own."""
    sources: frozenset[str] = frozenset()
    """The addresses that the packets came from: more or others than the sender's own tell of NAT."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """ICMP errors and refusals of the own kernel, in words; a packet that the kernel refused counts as sent."""
    tool_lost: int = 0
    """Dropped by the receiving socket, which several flows share, because the tool was too slow: counted in `lost`."""
    retransmissions: int = 0
    """TCP segments that were sent again."""
    broken: str = ""
    """Why the TCP connection ended or never came to be; "" while it is well."""

    def as_json(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {**asdict(self), "sources": sorted(self.sources)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Result:
        """The way back."""
        return cls(**{**data, "sources": frozenset(data["sources"])})


class Traffic:
    """Flows under way between entering and `stop`.

    Each flow sends a packet (TCP: writes) every `interval_ms`, the flows one after another and not all at once. `size`
    is a whole IP packet's, headers included, with "don't fragment" set: the MTU makes full-size ones in both families.
    A namespace that is deleted meanwhile lives on, unseen, until its flows have ended. Raises CloudrouteError when a
    namespace is not there, and when the process has ended.
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
        # Our own interpreter and module; stderr is ours, so that a traceback is not lost.
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
            with contextlib.suppress(BrokenPipeError):  # of what it never read; the pipe is closed all the same
                pipe.close()

    def snapshot(self) -> Mapping[Flow, Result]:
        """How it stands now; after `stop`, how it ended."""
        with self._lock:
            return self._final if self._final is not None else self._results({"do": "snapshot"})

    def stop(self) -> Mapping[Flow, Result]:
        """Send no more, wait for what is under way, and count."""
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
            pass  # it has ended; what it said, if anything, is still to be read
        line = process.stdout.readline()
        if not line:
            raise CloudrouteError(f"the traffic process has ended with {process.wait(STOP_SECONDS)}")
        answer = json.loads(line)
        if "error" in answer:
            raise CloudrouteError(answer["error"])
        return answer

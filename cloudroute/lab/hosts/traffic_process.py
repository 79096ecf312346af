"""The process behind `traffic.Traffic`: one thread that sends on time and receives in between.

It reads JSON lines from stdin - first the flows, then requests - and answers each with one on stdout. The end of stdin
ends it, so it never outlives its parent.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.hosts.traffic import Flow, Result
from cloudroute.lab.hosts.traffic_tcp import TcpFlow
from cloudroute.lab.hosts.traffic_udp import GRACE_NS, Ledger, UdpReceiver, UdpSender
from cloudroute.types import Family, family_of

NAP_SECONDS = 0.001
"""Shortest sleep: sends due within it go out together, else a few flows would keep a core busy with waking up."""
NICE = -10


class Engine:
    """All sockets, and the loop over them."""

    def __init__(self, flows: Sequence[Flow], interval_ms: float, size: int) -> None:
        self._step = interval_ms * 1e6 / max(len(flows), 1)
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._ledgers = [Ledger() for _ in flows]
        self._receivers: dict[tuple[str, Family], UdpReceiver] = {}
        self._flows = [self._open(index, flow, size) for index, flow in enumerate(flows)]
        self._sends = [flow[0] for flow in self._flows]
        self._results = [flow[1] for flow in self._flows]
        self.stopping = False
        self._ended = False

    def watch(self, sock: socket.socket, handler: Callable[[], None]) -> None:
        """Call the handler when there is data to read."""
        self._handlers[sock.fileno()] = handler
        self._poll.register(sock.fileno(), select.EPOLLIN)

    def watch_stdin(self, handler: Callable[[], None]) -> None:
        """Call the handler when there is a request to read."""
        self._handlers[0] = handler
        self._poll.register(0, select.EPOLLIN)

    def _open(self, index: int, flow: Flow, size: int) -> tuple[Callable[[int], None], Callable[[], Result]]:
        """Return the functions that send on a flow and account for it."""
        if flow.protocol == "tcp":
            connection = TcpFlow(flow, size, self.watch)
            return connection.send, connection.result
        family = family_of(flow.address)
        receiver = self._receivers.get((flow.target, family))
        if receiver is None:
            receiver = self._receivers[flow.target, family] = UdpReceiver(flow.target, family, self._ledgers)
            self.watch(receiver.socket, receiver.drain)
        ledger = self._ledgers[index]
        sender = UdpSender(index, flow, size, receiver.port, ledger)

        def account() -> Result:
            sender.read_errors()
            return ledger.result(receiver.dropped, final=self._ended)

        return sender.send, account

    def run(self) -> None:
        """Send due packets, and receive until the next is due, until `stopping`; late packets are sent nevertheless."""
        count, number, start = len(self._sends), 0, time.monotonic_ns()
        while not self.stopping:
            due = int((time.monotonic_ns() - start) / self._step) + 1
            for _ in range(min(due - number, count)):
                self._sends[number % count](time.time_ns())
                number += 1
            ahead = (start + number * self._step - time.monotonic_ns()) / 1e9
            self._receive(0.0 if number < due else max(ahead, NAP_SECONDS))
        end = time.monotonic_ns() + GRACE_NS
        while time.monotonic_ns() < end:
            self._receive(0.05)
        while self._receive(0.0):
            pass
        self._ended = True

    def _receive(self, wait: float) -> bool:
        # select, because epoll's own wait takes whole milliseconds only.
        select.select([self._poll.fileno()], [], [], wait)
        ready = self._poll.poll(0)
        for fd, _ in ready:
            self._handlers[fd]()
        return any(fd for fd, _ in ready)

    def results(self) -> list[dict[str, Any]]:
        """Return the results in the order of the flows, final ones once `run` has returned."""
        return [result().as_json() for result in self._results]


def demand_namespaces(names: Collection[str]) -> None:
    """Raise CloudrouteError when a namespace is missing."""
    missing = [name for name in sorted(names) if not Namespace(name).exists]
    if missing:
        raise CloudrouteError(f"there is no network namespace {', '.join(missing)} (ip netns lists those that are)")


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run one `Traffic`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent process
    plan = json.loads(sys.stdin.readline())
    flows = [Flow(*flow) for flow in plan["flows"]]
    try:
        demand_namespaces({name for flow in flows for name in (flow.source, flow.target)})
        engine = Engine(flows, plan["interval_ms"], plan["size"])
    except (CloudrouteError, OSError) as error:
        _say({"error": f"the traffic can't begin: {error}"})
        return 1

    def answer() -> None:
        request = sys.stdin.readline()
        if request and json.loads(request)["do"] == "snapshot":
            _say({"results": engine.results()})
        else:
            engine.stopping = True

    engine.watch_stdin(answer)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    gc.disable()  # no code here makes reference cycles, and a collection would delay a packet
    _say({})
    engine.run()
    with contextlib.suppress(BrokenPipeError):
        _say({"results": engine.results()})
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The agent's work on the kernel beside raw netlink, and one peer's change of path.

DesiredStateBuilder, trackers and the real adapters work in the namespace that the thread is in, and the yardstick
(`netlink_baseline`) by turns with them. Nobody listens to the kernel meanwhile.
"""

from __future__ import annotations

import gc
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Any, NamedTuple

from cloudroute.adapters.kernel import HostKernel
from cloudroute.adapters.kube.project import agent_node_route
from cloudroute.agent.sync import Sync
from cloudroute.core.node.desired import AgentPolicy, DesiredStateBuilder
from cloudroute.core.node.startup import BASE, PEERS
from cloudroute.dataplane import VTEP, Kind
from cloudroute.types import Cidr, NodeRoute
from tests.bench.netlink_baseline import Listing, Place, RawNetlink
from tests.bench.nodes import GATEWAYS, NIC, OWN, POOLS, manifest
from tests.measure.rows import Row, say

ROUNDS, CHANGES = 9, 21
TARGET_RATIO, DECIDING_RATIO, TARGET_MS = 1.2, 2.5, 20.0


def measure(peers: int) -> Iterator[Row]:
    """In the present namespace, which is a bare host's."""
    say(f"{peers} peers into an empty kernel, {ROUNDS} times by the agent and by raw netlink")
    lists: tuple[list[Took], ...] = ([], [], [], [], [])
    put, composed, looked, raw_put, raw_looked = lists
    with Bench(peers) as bench, without_other_garbage():
        for _ in range(ROUNDS):
            bench.clear()
            raw_put.append(bench.by_raw_netlink())
            raw_looked.append(bench.listed_by_raw_netlink())
            bench.clear()
            composing, putting = bench.by_agent()
            composed.append(composing + putting)
            put.append(putting)
            looked.append(bench.looked_by_agent())
        bench.sync.run([*BASE, *PEERS])
        changes = [bench.change(f"node-{peers - number}") for number in range(CHANGES)]
    yield _ratio(f"{peers:,} peers into an empty kernel", put, raw_put)
    # From NodeRoutes to tables: once per start, and more work than writing them. Raw netlink decides nothing.
    yield _ratio(f"{peers:,} peers into an empty kernel, deciding included", composed, raw_put, DECIDING_RATIO)
    yield _ratio(f"{peers:,} peers read again, nothing changed", looked, raw_looked)
    wall, cpu = (median(getattr(took, clock) for took in changes) * 1000 for clock in ("wall", "cpu"))
    say(f"changes of path: {wall:.1f} ms, CPU {cpu:.1f} ms")
    yield Row(f"one peer's change of path among {peers:,}, to the kernel", wall, TARGET_MS, "ms")


class Took(NamedTuple):
    """Seconds on the wall, and of this thread's CPU: what tells a slow program from a busy machine."""

    wall: float
    cpu: float

    def __add__(self, other: object) -> Took:
        assert isinstance(other, Took)
        return Took(self.wall + other.wall, self.cpu + other.cpu)


@contextmanager
def _stopwatch(took: list[Took]) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.thread_time()
    yield
    took.append(Took(time.perf_counter() - wall, time.thread_time() - cpu))


def _ratio(what: str, agent: list[Took], raw: list[Took], target: float = TARGET_RATIO) -> Row:
    """Of the medians on the wall. They were taken by turns, so that what else the machine does strikes both."""
    for clock in ("wall", "cpu"):
        ours, theirs = (median(getattr(took, clock) for took in all_) * 1000 for all_ in (agent, raw))
        say(f"{what}, {clock}: agent {ours:.0f} ms, raw netlink {theirs:.0f} ms, {ours / theirs:.2f}")
    measured = median(took.wall for took in agent) / median(took.wall for took in raw)
    return Row(f"{what}, agent / raw netlink", measured, target)


class Bench:
    """The agent of node 0 and the yardstick, in the namespace that the thread is in. A context manager."""

    def __init__(self, peers: int) -> None:
        parse = agent_node_route(OWN)
        self.routes: Mapping[str, NodeRoute] = {
            route.name: route for route in (parse(manifest(number)) for number in range(peers + 1))
        }
        self._pools = tuple(map(Cidr.parse, POOLS))
        self._peers = [route.spec for name, route in self.routes.items() if name != OWN]
        self._folder = tempfile.TemporaryDirectory(prefix="cloudroute-bench-")
        self._kernel = HostKernel(self._folder.name)
        self.host = self._kernel.host(NIC)
        self.start()
        self.sync.run(BASE)
        self._raw = RawNetlink(
            Place(socket.if_nametoindex(VTEP), socket.if_nametoindex(NIC), {len(via): via for via in GATEWAYS})
        )

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()
        self._kernel.close()
        self._folder.cleanup()

    def start(self) -> None:
        """An agent that knows nothing yet."""
        self.builder = DesiredStateBuilder(AgentPolicy(self._pools, 1, 8472, masquerade=True, exceptions=()))
        self.sync = Sync(self._kernel)
        self.want()

    def want(self) -> None:
        """Compose."""
        self.sync.want(self.builder.compose(self.routes[OWN], self.routes, {}, self.host).tables)

    def be_gateway(self, *, on: bool) -> None:
        """Be told to be a gateway, or not to be one; an agent that starts after that knows it."""
        own = self.routes[OWN]
        self.routes = {**self.routes, OWN: replace(own, spec=replace(own.spec, gateway=on))}

    def clear(self) -> None:
        """Remove what leads to peers."""
        for kind in reversed(PEERS):
            table = self._kernel.tables[kind]
            failed = table.write({}, list(table.read(())))
            assert not failed, failed

    def by_agent(self) -> tuple[Took, Took]:
        """Time of a new agent to compose the tables, and then to put them into the kernel."""
        took: list[Took] = []
        with _stopwatch(took):
            self.start()
        with _stopwatch(took):
            self.sync.run(PEERS)
        assert not self.sync.failures(PEERS), self.sync.failures(PEERS)[:3]
        return took[0], took[1]

    def by_raw_netlink(self) -> Took:
        """Time of the yardstick for both."""
        took: list[Took] = []
        with _stopwatch(took):
            self._raw.program(self.routes[OWN].spec, self._peers, self._pools)
        return took[0]

    def looked_by_agent(self) -> Took:
        """Time to find that nothing has changed."""
        took: list[Took] = []
        self.sync.mark(PEERS)
        with _stopwatch(took):
            done = self.sync.run(PEERS)
        assert not str(done), f"nothing has changed, but the agent has {done}"
        return took[0]

    def listed_by_raw_netlink(self) -> Took:
        """Time to list all entries."""
        took: list[Took] = []
        with _stopwatch(took):
            listing = self.listing()
        assert len(listing.routes) == 2 * len(self._peers) + 2 * len(POOLS), len(listing.routes)
        return took[0]

    def listing(self) -> Listing:
        """Entries of peers, as the yardstick reads them."""
        return self._raw.listing()

    def change(self, name: str) -> Took:
        """Time from a NodeRoute whose path has changed to the kernel."""
        spec = self.routes[name].spec
        there = () if spec.native_in else self.routes[OWN].spec.native_in
        self.routes = {**self.routes, name: replace(self.routes[name], spec=replace(spec, native_in=there))}
        took: list[Took] = []
        with _stopwatch(took):
            self.want()
            done = self.sync.run([*BASE, *PEERS])
        assert str(done) == "put 2 nexthops", str(done)
        return took[0]

    def tables(self) -> dict[Kind, dict[Any, Any]]:
        """Entries of peers, as the agent reads them."""
        return {kind: self._kernel.tables[kind].read(()) for kind in PEERS}


@contextmanager
def without_other_garbage() -> Iterator[None]:
    """Keep objects of the rest of this process out of an agent's garbage collections."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()

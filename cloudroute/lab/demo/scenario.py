"""The scenario of the demo. Each phase ends in the expected state, and reports the time it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.live import Live

from cloudroute.adapters.kube import project
from cloudroute.core.paths import explain
from cloudroute.errors import CloudrouteError
from cloudroute.lab.demo import figures as world
from cloudroute.lab.demo.screen import WIDTH, Picture, record
from cloudroute.lab.demo.stage import LIMIT, RESERVE, Stage
from cloudroute.lab.replica import LEASE_SECONDS, RETRY_SECONDS, Replica
from cloudroute.lab.waiting import wait_for
from cloudroute.types import RouteTableObject

NODES = 120
BATCH = 4
FOREIGN = "100.64.200.0/24"
DEAD = 6
PATIENCE_SECONDS = 90
LOOK_SECONDS = 0.25


class Scenario:
    """The running demo: the environment, and its picture."""

    def __init__(self, stage: Stage, picture: Picture, refresh: Callable[[], None]) -> None:
        self._stage, self._picture, self._refresh = stage, picture, refresh
        self._started = time.monotonic()

    def run(self) -> None:
        """Run all phases. Raises CloudrouteError when an expected state does not come."""
        self.await_leader()
        self.join()
        self.overflow()
        self.kill()
        self.change()
        self.sum_up()

    # --- acts -------------------------------------------------------------------------------

    def await_leader(self) -> None:
        """Wait until one of the two controllers acquires the lease."""
        kind = "a real kube-apiserver" if self._stage.real else "the embedded Kubernetes API"
        self._tell(f"Strict EC2 and {kind} are up; two controllers start.")
        self._until(lambda: self._stage.leader() is not None, "one of them to lead")
        if leader := self._stage.leader():
            self._tell(f"{leader.name} leads, and shows the cluster at {leader.page}")

    def join(self) -> None:
        """Add nodes until the tables overflow."""
        start = time.monotonic()
        self._picture.target = NODES
        zones = self._stage.vpc.zones
        while len(self._stage.nodes) < NODES:
            self._stage.join(zones[len(self._stage.nodes) // BATCH % len(zones)], BATCH)
            self._look()
            time.sleep(LOOK_SECONDS)
        self._tell(f"{NODES} nodes joined in {time.monotonic() - start:.1f} s, {LIMIT} entries a table for all.")
        self._until(self._ready, "every node to be ready")
        self._ready_after = time.monotonic() - start
        self._until(self._right, "all paths to settle")
        self._settled_after = time.monotonic() - start
        self._joined = self._figures.calls.copy()

    def overflow(self) -> None:
        """List nodes on the overlay, and explain the path of one pair."""
        specs = {name: route.spec for name, route in self._figures.routes.items()}
        tables = {r.id: r for r in self._reports()}
        names = sorted(specs)
        far = next((n for n in reversed(names) if specs[n].route_table_id != specs[names[0]].route_table_id), names[-1])
        told = explain(names[0], far, specs, tables)
        overlay = self._figures.overlay
        some = ", ".join(overlay[:3])
        self._tell(f"{len(overlay)} nodes ({some}, ...) have no entry in some table and are healthy all the same.")
        self._tell(f"  {names[0]} to {far} goes by {told.path}, because it is {told.reason}.")

    def kill(self) -> None:
        """Kill the leader with SIGKILL, and terminate routed nodes meanwhile."""
        leader = self._stage.leader()
        if leader is None:
            raise CloudrouteError("no controller leads")
        victims = sorted(self._stage.nodes)[:: NODES // DEAD][:DEAD]
        killed = self._stage.kill(leader)
        self._stage.terminate(victims)
        self._gone = time.monotonic()
        self._tell(f"{leader.name} is killed (SIGKILL); while nobody leads, {DEAD} routed instances are terminated.")
        self._until(lambda: self._stage.leader() is not None, "the other to lead")
        successor = self._stage.leader()
        self._takeover = _acquired(successor) - killed if successor else 0.0
        if successor:
            self._tell(
                f"{successor.name} leads after {self._takeover:.1f} s, and shows the cluster at {successor.page}"
            )

    def change(self) -> None:
        """Add a foreign route to a table, and wait until every table is as full as possible again."""
        self._gateway = self._stage.add_foreign_route(FOREIGN)
        self._tell(f"Somebody routes {FOREIGN}, a part of the cluster CIDR, to an internet gateway by hand.")
        self._picture.target = NODES - DEAD
        self._until(lambda: self._right() and self._seen_foreign(), "the world to come right again")
        self._healed = time.monotonic() - self._gone

    def sum_up(self) -> None:
        """Show every figure as it was measured."""
        figures = self._figures
        kept = self._stage.aws.scene.routes(self._stage.vpc.zones[0].route_table_id).get(FOREIGN, {})
        if kept.get("GatewayId") != self._gateway:
            raise CloudrouteError(f"the foreign route {FOREIGN} was touched: {kept}")
        paths = figures.paths
        calls = self._joined
        self._picture.summary = [
            ("pairs of nodes with one working path", f"{sum(paths.values())} ({_listed(paths)})"),
            ("entries a table ever held, limit 50", ", ".join(str(fill.highest) for fill in figures.fills)),
            (f"{NODES} nodes ready / all paths settled", f"{self._ready_after:.1f} s / {self._settled_after:.1f} s"),
            ("EC2 calls for that", f"{sum(calls.values())} ({_listed(calls)})"),
            ("throttled calls, AWS's buckets enforced", str(figures.throttled)),
            ("takeover after SIGKILL", f"{self._takeover:.1f} s (lease {LEASE_SECONDS} s, retry {RETRY_SECONDS} s)"),
            (f"{DEAD} dead nodes' entries given on", f"{self._healed:.1f} s after they died"),
            ("the foreign route", "untouched, counted, and no node gets its addresses"),
            ("the whole demo", f"{time.monotonic() - self._started:.1f} s"),
        ]

    # --- display ----------------------------------------------------------------------------

    def _tell(self, line: str) -> None:
        self._picture.tell(line)
        self._refresh()

    def _look(self) -> None:
        self._figures = world.look(self._stage)
        leader = self._stage.leader()
        self._picture.figures, self._picture.leader = self._figures, leader.name if leader else ""
        self._refresh()

    def _until(self, true: Callable[[], bool], what: str) -> None:
        def so() -> bool:
            self._look()
            self._stage.check()
            return true()

        wait_for(so, what, PATIENCE_SECONDS, LOOK_SECONDS, lambda: world.faults(self._stage, self._figures)[:10])

    def _ready(self) -> bool:
        return self._figures.conditions[""] == 0 and self._figures.nodes == len(self._stage.nodes)

    def _right(self) -> bool:
        """Whether all nodes are ready, nothing is wrong, and every table is as full as possible."""
        full = all(fill.ours + fill.foreign >= LIMIT - RESERVE for fill in self._figures.fills)
        native = all(len(route.spec.native_in) > 0 or route.spec.subnet_id for route in self._figures.routes.values())
        granted = sum(len(route.spec.native_in) for route in self._figures.routes.values())
        published = granted == sum(fill.ours for fill in self._figures.fills)
        return full and native and published and self._ready() and not world.faults(self._stage, self._figures)

    def _seen_foreign(self) -> bool:
        """Whether the leader counts the foreign route: the first of the two counted is `local`."""
        first = self._stage.vpc.zones[0].route_table_id
        return any(r.id == first and r.families["ipv4"].foreign == 2 for r in self._reports())

    def _reports(self) -> Iterator[RouteTableObject]:
        return (project.route_table_object(item) for item in self._stage.kube.list("routetables"))


def _acquired(replica: Replica) -> float:
    """Return the time when a replica began to lead, in seconds since the epoch."""
    stamp = next(line["timestamp"] for line in replica.lines() if line.get("did") == "acquired")
    return datetime.fromisoformat(stamp).timestamp()


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in sorted(counts.items(), key=lambda item: -item[1]))


@contextmanager
def shown(picture: Picture) -> Iterator[Callable[[], None]]:
    """Redraw the picture on a terminal; elsewhere print each new line at once, and the picture at the end."""
    if sys.stdout.isatty():
        with Live(picture, console=Console(), auto_refresh=False, screen=False) as live:
            yield live.refresh
        return
    console = Console(width=WIDTH)
    told = 0

    def refresh() -> None:
        nonlocal told
        for line in picture.told[told:]:
            console.print(line, highlight=False, markup=False)
        told = len(picture.told)

    yield refresh
    console.print(picture)


def play(record_to: str = "") -> None:
    """Run the demo; save its last picture as SVG if a path is given. Raises CloudrouteError."""
    picture = Picture(f"cloudroute: {NODES} nodes, three zones, a route table each, {LIMIT} entries a table")
    with Stage() as stage, shown(picture) as refresh:
        Scenario(stage, picture, refresh).run()
        refresh()
    if record_to:
        record(picture, record_to)

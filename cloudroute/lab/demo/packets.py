"""The scenario of the packet demo: six hosts, every pod sends to every other, and no packet may be lost.

Paths change under the traffic: the limit falls and rises, an instance is terminated and replaced, an agent is killed.
Receivers count the packets (`packets_count`), independent of the code that changes the paths.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cloudroute.errors import CloudrouteError
from cloudroute.lab.demo.packets_count import INTERVAL_MS, Exchange, Tally
from cloudroute.lab.demo.packets_screen import Fill, PacketPicture
from cloudroute.lab.demo.scenario import shown
from cloudroute.lab.demo.screen import record
from cloudroute.lab.hosts.ending import demand_nothing_left
from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.waiting import wait_for

NAME = "demo"
HOSTS, ZONES = 6, 3
HIGH, LOW = 50, 5
"""Limits of entries per route table: `local` and the default route are two of them in each family."""
LOOK_SECONDS = 0.25
HOLD_SECONDS = 3.0
"""Seconds that a phase continues after its last change: losses are known half a second late."""
PATIENCE_SECONDS = 60.0
AGENT_AWAY_SECONDS = 2.0


class Scenario:
    """The running demo."""

    def __init__(self, lab: HostLab, picture: PacketPicture, refresh: Callable[[], None]) -> None:
        self._lab, self._picture, self._refresh = lab, picture, refresh
        self._exchange = Exchange(lab)
        self._pool = ThreadPoolExecutor(1)
        self._phase = Tally()
        self._limit = HIGH
        self._started = time.monotonic()

    def run(self) -> None:
        """Run all phases. Raises CloudrouteError when an expected state does not come."""
        try:
            self.build()
            self.begin()
            self.overflow()
            self.recover()
            self.die()
            self.kill_agent()
            self.sum_up()
        finally:
            self._exchange.kill()
            self._pool.shutdown()

    # --- acts -------------------------------------------------------------------------------

    def build(self) -> None:
        """Add the hosts, each with one pod."""
        for zone in range(ZONES):
            self._during(lambda zone=zone: self._lab.join(zone, HOSTS // ZONES))  # type: ignore[misc]
        self._during(self._lab.wait_ready)
        self._during(lambda: [host.add_pod("a") for host in self._hosts])
        self._picture.hosts = [(host.name, self._lab.vpc.zones[host.zone].name) for host in self._hosts]
        self._until(lambda: self._paths()["overlay"] == 0, "every pair to be native or direct")
        self._victim, self._orphan = self._hosts[1], self._hosts[2]

    def begin(self) -> None:
        """Start traffic from every pod to every other. Flows of the host to be terminated are kept apart."""
        others = [host for host in self._hosts if host is not self._victim]
        self._exchange.start(others, others)
        self._exchange.start([self._victim], others)
        self._exchange.switches = 0
        self._picture.exchange = self._exchange
        each = f"{1000 / INTERVAL_MS:g} packets a second"
        self._tell(f"{HOSTS} hosts, a pod each; every pod sends {each} to every other, in IPv4 and in IPv6.")
        self._hold()
        self._end_phase("all native")

    def overflow(self) -> None:
        """Lower the limit: some nodes use the overlay."""
        self._set_limit(LOW)
        self._until(lambda: self._paths()["overlay"] > 0 and self._fits(), "the tables to shrink")
        self._during(self._lab.wait_ready)
        self._tell(f"The limit falls to {LOW} entries: {self._paths()['overlay']} pairs go to the overlay.")
        self._hold()
        self._end_phase("the limit falls")

    def recover(self) -> None:
        """Raise the limit again: all pairs become native."""
        self._set_limit(HIGH)
        self._until(lambda: self._paths()["overlay"] == 0, "every pair to be native again")
        self._during(self._lab.wait_ready)
        self._tell(f"The limit rises to {HIGH} again: {self._paths()['native']} pairs are native.")
        self._hold()
        self._end_phase("it rises again")

    def die(self) -> None:
        """Terminate an instance under traffic, and start another in its place and under its name."""
        name, zone = self._victim.name, self._victim.zone
        self._exchange.expect_termination()
        self._during(lambda: self._lab.terminate(name))
        self._exchange.end_terminated()
        self._tell(f"The instance of {name} is terminated; its flows end.")
        self._until(lambda: all(name not in pair for pair in self._exchange.paths), "its routes to go")
        (self._victim,) = self._during(lambda: self._lab.join(zone, name=name))
        self._during(self._lab.wait_ready)
        self._during(lambda: self._victim.add_pod("a"))
        self._until(lambda: self._paths()["overlay"] == 0, "the new host to be native")
        self._exchange.start([self._victim], [host for host in self._hosts if host is not self._victim])
        self._tell(f"Another instance has joined as {name}, with a new pod that sends and receives like the first.")
        self._hold()
        self._end_phase("a host dies and is replaced")

    def kill_agent(self) -> None:
        """Kill an agent with SIGKILL, and start it again."""
        name = self._orphan.name
        self._orphan.kill_agent()
        self._tell(f"The agent of {name} is killed (SIGKILL): its kernel keeps what was programmed.")
        self._hold(AGENT_AWAY_SECONDS)
        self._orphan.start_agent()
        self._tell(f"It is started again, finds its own, and changes nothing that is right ({name}).")
        self._hold()
        self._end_phase("an agent is killed and restarted")

    def sum_up(self) -> None:
        """Show every figure as it was measured."""
        self._exchange.close()
        exchange = self._exchange
        self._end_phase("the last packets")
        if exchange.unknown_sources:
            raise CloudrouteError(
                f"packets came from addresses of no pod: {', '.join(sorted(exchange.unknown_sources))}"
            )
        total = exchange.total
        self._picture.summary = [
            ("packets sent between living pods", f"{total.sent:,} ({_listed(exchange.by_path)})"),
            ("of them lost", f"{total.lost:,}"),
            ("of them dropped by the measuring process", f"{exchange.tool_lost:,}"),
            ("changes of a pair's path under traffic", str(exchange.switches)),
            (
                "lost with the host that died",
                f"{exchange.after_termination.lost:,} of {exchange.after_termination.sent:,} sent after it",
            ),
            ("their source addresses", "the pods' own, on every path"),
            ("the whole demo", f"{time.monotonic() - self._started:.1f} s"),
        ]

    # --- display ----------------------------------------------------------------------------

    @property
    def _hosts(self) -> list[LabHost]:
        return sorted(self._lab.hosts.values(), key=lambda host: host.name)

    def _paths(self) -> Counter[str]:
        return Counter(self._exchange.paths.values())

    def _fits(self) -> bool:
        return all(fill.entries <= fill.limit for fill in self._picture.fills)

    def _set_limit(self, entries: int) -> None:
        self._limit = entries
        self._during(lambda: self._lab.set_route_limit(entries))

    def _tell(self, line: str) -> None:
        self._picture.tell(line)
        self._refresh()

    def _look(self) -> None:
        self._exchange.look()
        self._picture.fills = [self._fill(zone.name, zone.route_table_id) for zone in self._lab.vpc.zones]
        self._refresh()

    def _fill(self, zone: str, table_id: str) -> Fill:
        entries = self._lab.aws.scene.routes(table_id)
        v6 = sum(1 for destination in entries if ":" in destination)
        return Fill(zone, max(v6, len(entries) - v6), self._limit)

    def _during(self, action: Callable[[], Any]) -> Any:
        """Run a function in a thread, and update the display meanwhile."""
        doing = self._pool.submit(action)
        while not doing.done():
            self._look()
            time.sleep(LOOK_SECONDS)
        return doing.result()

    def _until(self, true: Callable[[], bool], what: str) -> None:
        def so() -> bool:
            self._look()
            return true()

        wait_for(so, what, PATIENCE_SECONDS, LOOK_SECONDS, list)

    def _hold(self, seconds: float = HOLD_SECONDS) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._look()
            time.sleep(LOOK_SECONDS)

    def _end_phase(self, name: str) -> None:
        total = self._exchange.total
        self._picture.phases.append((name, total.minus(self._phase)))
        self._phase = total
        self._refresh()


def _listed(counts: Counter[Any]) -> str:
    return ", ".join(f"{number:,} {what}" for what, number in counts.most_common())


def play(record_to: str = "") -> None:
    """Run the demo; save its last picture as SVG if a path is given. Raises CloudrouteError."""
    demand_nothing_left(NAME)
    picture = PacketPicture(f"cloudroute: {HOSTS} hosts with real packets, {ZONES} zones, a route table each")
    with shown(picture) as refresh:
        picture.tell("Hosts as network namespaces, strict EC2, a router that obeys it, two controllers, agents, CNI.")
        refresh()
        with HostLab(NAME, zones=ZONES, route_limit=HIGH) as lab:
            Scenario(lab, picture, refresh).run()
        refresh()
    if record_to:
        record(picture, record_to)

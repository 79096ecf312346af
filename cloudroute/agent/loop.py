"""One turn of the agent: read the kernel, compute the desired state, write the difference, report the result.

Level-triggered like the controller: a watch event or a kernel message only marks kinds to read. A turn reads the marked
kinds. The next turn starts when something is marked, when a failure is due for a retry, or at the resync, which reads
everything in case a message was missed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from functools import lru_cache
from random import Random
from typing import NamedTuple

import structlog

from cloudroute.agent.gateway import Heartbeat
from cloudroute.agent.report import NO_POOL, Report, Reporter
from cloudroute.agent.sync import Done, Sync
from cloudroute.config import AgentSettings
from cloudroute.core.node.conflist import conflist
from cloudroute.core.node.desired import AgentPolicy, DesiredState, DesiredStateBuilder
from cloudroute.core.node.peers import NodeUnusable
from cloudroute.core.node.startup import BASE, AgentState, Obstacle, pods_obstacle
from cloudroute.dataplane import CONFLIST, KINDS, MAIN, TAKEN, VTEP6, Host, Kind, network
from cloudroute.errors import ApiError, KernelError
from cloudroute.ports import Agents, Clock, Kernel
from cloudroute.telemetry import AgentTelemetry, ChangeLog
from cloudroute.types import NodeRoute

log = structlog.get_logger()
_chance = Random()
_conflist = lru_cache(maxsize=8)(conflist)
"""Cached: the input is nearly always the same, and serializing it takes a tenth of a turn."""

RESYNC_SECONDS = 300.0
"""Seconds between two full reads. The kernel announces changes as they happen; this covers lost messages."""
GATHER_SECONDS = 0.002
"""Seconds for which changes of the cluster are gathered before a turn."""
DEBOUNCE_SECONDS = 0.02
"""The same for kernel messages: the removal of a device removes hundreds of entries with it."""
REVERTED_SECONDS = 0.5
"""The same right after a repair: another program keeps reverting our entries, so repairs slow down."""
FIRST_RETRY, LAST_RETRY = 0.5, 30.0
LATE_SECONDS = 60.0
"""Seconds for which a turn may last or be overdue before the loop counts as hanging."""


class Turn(NamedTuple):
    """Result of a turn. `due`: latest start of the next one, in monotonic seconds."""

    report: Report
    due: float


class Loop:
    """Only one thread may call `run` and `turn`; any thread may call `wake`."""

    def __init__(
        self,
        settings: AgentSettings,
        agents: Agents,
        kernel: Kernel,
        clock: Clock,
        telemetry: AgentTelemetry,
        reporter: Reporter,
        heartbeat: Heartbeat,
    ) -> None:
        self._settings, self._agents, self._kernel = settings, agents, kernel
        self._clock, self._telemetry, self._reporter, self._heartbeat = clock, telemetry, reporter, heartbeat
        self._builder = DesiredStateBuilder(
            AgentPolicy(
                pools=settings.cluster_cidr,
                vni=settings.vni,
                port=settings.vxlan_port,
                masquerade=settings.masquerade,
                exceptions=settings.masquerade_except,
                always=settings.masquerade_always,
                mtu=None if settings.mtu == "auto" else settings.mtu,
                gateway_keeps_source=settings.gateway_keeps_source,
            )
        )
        self.sync = Sync(kernel)
        self._host: Host | None = None
        self._host_stale = True
        self._adopted = False
        self._served = False
        """Whether a turn of this process has reached AgentState.SERVING."""
        self._failures = 0
        self._resync_due = clock.monotonic()
        self._retry_due = float("inf")
        """Time of the full read after a failure. Any earlier turn retries the failed entries, too."""
        self._repaired = float("-inf")
        self._wake = threading.Event()
        self._foreign = threading.Event()
        """Set when another program has changed the kernel since the last turn."""
        self._changes = ChangeLog()
        self._conflist = f"{settings.cni_conf_dir.rstrip('/')}/{CONFLIST}"

    def wake(self, kinds: Collection[Kind] = ()) -> None:
        """Request a turn soon; `kinds` are the kinds that other programs have changed in the kernel."""
        if kinds:
            self.sync.mark(kinds)
            if "links" in kinds:  # never set back here: several threads call this
                self._host_stale = True
            self._foreign.set()
        self._wake.set()

    def run(self, stop: threading.Event, ended: Callable[[Turn], bool] = lambda _: False) -> Turn:
        """Take turns until `stop` is set or `ended` is true of a turn; return the last turn."""
        while True:
            self._wake.clear()
            turn = self.turn()
            if stop.is_set() or ended(turn):
                return turn
            pause = turn.due - self._clock.monotonic()
            self._telemetry.beat("loop", max(pause, 0) + LATE_SECONDS)
            self._wake.wait(max(pause, 0))
            if not stop.is_set():
                stop.wait(self._debounce())

    def _debounce(self) -> float:
        if not self._foreign.is_set():
            return GATHER_SECONDS
        reverted = self._clock.monotonic() - self._repaired < REVERTED_SECONDS
        return REVERTED_SECONDS if reverted else DEBOUNCE_SECONDS

    # --- a turn -----------------------------------------------------------------------------

    def turn(self) -> Turn:
        """Read the marked kinds, write the differences, and report."""
        start = self._clock.monotonic()
        self._heartbeat.expect(start + LATE_SECONDS)
        if start >= min(self._resync_due, self._retry_due):
            self.sync.mark(KINDS)
            self._host_stale = True
            self._retry_due = float("inf")
            self._resync_due = start + RESYNC_SECONDS * _chance.uniform(1, 1.1)
        foreign = self._foreign.is_set()
        self._foreign.clear()
        report, done = self._work()
        self._reporter.say(report)
        now = self._clock.monotonic()
        if done.put or done.dropped:
            self._telemetry.synced(now - start, done.put + done.dropped, repair=foreign)
            log.info("sync", did=str(done), repair=foreign, seconds=round(now - start, 4))
            if foreign:
                self._repaired = now
        due = self._next(report, now)
        self._heartbeat.say(report.own if report.transit else None, max(due, now) + LATE_SECONDS)
        return Turn(report, due)

    def _work(self) -> tuple[Report, Done]:
        """Pass through the states of `core.node.startup`, up to the first that can't be left."""
        done = self._remove_stale_conflist()
        if not (self._agents.node_routes.wait_synced(0) and self._agents.route_table_objects.wait_synced(0)):
            return Report(AgentState.LISTING, None), done
        routes = self._agents.node_routes.items()
        own = routes.get(self._settings.node_name)
        if own is None:
            words = (
                f"there is no NodeRoute {self._settings.node_name}: the controller makes one once the Node is known, "
                "unless its --node-selector leaves it out"
            )
            return Report(AgentState.IDENTIFYING, None, "NoNodeRoute", words), done
        if words := self._stale_owner(own):
            return Report(AgentState.IDENTIFYING, None, "NoNodeRoute", words), done
        try:
            host = self._look_at_host()
            self._adopt()
            wanted = self._builder.compose(own, routes, self._agents.route_table_objects.items(), host)
        except KernelError as error:
            return Report(AgentState.PREPARING, own, "Interface", str(error)), done
        except NodeUnusable as error:
            return Report(AgentState.PREPARING, own, error.reason, str(error)), done
        return self._program(own, wanted, done)

    def _first_since_boot(self) -> bool:
        """Whether no agent has programmed this kernel since it booted."""
        return not self._served and not self.sync.programmed()

    def _remove_stale_conflist(self) -> Done:
        """Remove a conflist from before the boot, so that no pod starts before an agent has programmed this kernel."""
        if not self._first_since_boot():
            return Done()
        self.sync.want({"files": {}})
        return self.sync.run(AgentState.LISTING.writes)

    def _stale_owner(self, own: NodeRoute) -> str:
        """Return why this NodeRoute may belong to an earlier machine of the same name; "" if it does not.

        EC2 reuses addresses, and nodes are named after them. A pod that starts with the earlier machine's NodeRoute
        keeps an address that nothing routes to. The NodeRoute can be the earlier machine's only if an agent has
        written its status, and no agent has programmed this kernel since it booted.
        """
        if not own.status or not self._first_since_boot():
            return ""
        try:
            present = self._agents.instance_id()
        except ApiError as error:
            return f"whether NodeRoute {own.name} is this machine's is not known: {error}"
        if present in ("", own.spec.instance_id):
            return ""
        return (
            f"NodeRoute {own.name} is of {own.spec.instance_id}, and this is {present}: the controller will replace it"
        )

    def _look_at_host(self) -> Host:
        """Return the NIC and its addresses, read again when a link or an address may have changed."""
        if self._host is None or self._host_stale:
            self._host_stale = False  # before the read, so that a change during it marks it again
            self._host = None
            self._host = self._kernel.host(self._settings.interface)
        return self._host

    def _adopt(self) -> None:
        """Once: take over the nexthop ids that an earlier process has assigned."""
        if not self._adopted:
            routes = self.sync.read("routes").actual
            self._builder.adopt(
                {
                    network(key.destination, key.length): to.nexthop
                    for key, to in routes.items()
                    if to.nexthop and key.table == MAIN
                }
            )
            self._adopted = True

    def _program(self, own: NodeRoute, wanted: DesiredState, done: Done) -> tuple[Report, Done]:
        self.sync.want(wanted.tables)
        done += self.sync.run(AgentState.PROGRAMMING.writes)
        if taken := [id_ for id_, why in self.sync.trackers["nexthops"].failed.items() if why.startswith(TAKEN)]:
            self._builder.avoid(taken)
        plugins, searched = self._kernel.plugins()
        obstacle = pods_obstacle(
            wanted.pod_cidrs,
            failures=self.sync.failures(BASE, but=VTEP6),
            plugins=plugins,
            searched=searched,
            leases=self._kernel.leases_of_others(),
        )
        failures = self.sync.failures(AgentState.PROGRAMMING.writes)
        if obstacle is None:
            self._served = True
            obstacle = Obstacle("PeersFailed", failures) if failures else self._gateway_obstacle(own)
        state = AgentState.PROGRAMMING
        if self._served:
            state = AgentState.SERVING
            self.sync.want({"files": {self._conflist: _conflist(wanted.pod_cidrs, wanted.mtu, plugins)}})
            done += self.sync.run(AgentState.SERVING.writes)
            if words := self.sync.failures(AgentState.SERVING.writes):
                obstacle = Obstacle("ConflistFailed", words)
        self._log_problems(wanted)
        return Report.of(state, own, wanted, obstacle, transit=self._forwards(wanted)), done

    def _forwards(self, wanted: DesiredState) -> bool:
        """Return whether this is a gateway whose rules are in place.

        They are put once all peers have their entries. A peer whose entries fail later silences no gateway: the path to
        all others works, and the cause may be the same on all gateways.
        """
        rules = self.sync.trackers["rules"]
        whole = not self.sync.broken and not self.sync.failures((*BASE, "rules"), but=VTEP6)
        return bool(wanted.tables["rules"]) and whole and not rules.puts()

    def _gateway_obstacle(self, own: NodeRoute) -> Obstacle | None:
        if not own.spec.gateway or self._settings.cluster_cidr:
            return None
        words = (
            "this gateway forwards nothing, since it does not know the pools: give it the controller's --cluster-cidr"
        )
        return Obstacle(NO_POOL, [words])

    # --- logs and metrics -------------------------------------------------------------------

    def _log_problems(self, wanted: DesiredState) -> None:
        self._telemetry.set_gauges(wanted, {kind: len(self.sync.failures((kind,))) for kind in KINDS})
        for name, words in wanted.problems.items():
            self._changes.say(("peer", name), "peer", warning=True, node=name, problem=words)
        for other in self._kernel.shadowing():
            words = "the container runtime takes it before ours: remove it once its network is gone"
            self._changes.say(("conflist", other), "conflist", warning=True, file=other, problem=words)

    def _next(self, report: Report, now: float) -> float:
        if report.state is AgentState.LISTING:
            return self._resync_due
        if report.ready:
            if report.message:
                self._changes.say("report", "ready", warning=True, reason=report.reason, problem=report.message)
            else:
                self._changes.say("report", "ready", path=report.path, mtu=report.mtu)
            self._telemetry.ready()
            self._failures, self._retry_due = 0, float("inf")
            return self._resync_due
        self._changes.say("report", "not ready", warning=True, reason=report.reason, problem=report.message)
        self._telemetry.not_ready(report.why)
        if self._retry_due == float("inf"):
            self._retry_due = now + min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(self._failures, 10))
            self._failures += 1
        return min(self._resync_due, self._retry_due)

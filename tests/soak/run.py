"""One soak from beginning to end: what happened, as figures; nothing is judged here."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cloudroute.agent.report import LASTS_SECONDS
from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.teardown import tear_down
from tests.soak import kernels
from tests.soak.faults import inject
from tests.soak.flapping import Bill, ec2_most, node_routes_most
from tests.soak.leaks import Sample
from tests.soak.live_lab import LiveLab, Look
from tests.soak.losses import Incident
from tests.soak.samples import Sampler
from tests.soak.schedule import LIMIT, ZONES, Episode, Fault, episodes
from tests.soak.writes import ec2_writes

LOOK_SECONDS = 0.3
QUIET_SECONDS = LASTS_SECONDS + 0.5
"""Time without a change before the plan is asked whether that is all: longer than routes settle, and than
agents wait before they tell of a path."""
PATIENCE_SECONDS = 90.0
CALM_SECONDS = 10.0
"""Before the first fault and after the last: samples of the same state."""
FEWEST = 3
"""Episodes of the shortest soak: on a loaded machine half a minute may be over before the second."""
THE_END = "the limit rises, foreign routes go"

Say = Callable[[str], None]


@dataclass
class Record:
    """All that was seen. Times are monotonic seconds."""

    seed: int
    minutes: float
    began: float = 0.0
    seconds: float = 0.0
    """Under traffic."""
    interrupted: bool = False
    trouble: str = ""
    """Reason why the soak could not go on, in words."""
    incidents: list[Incident] = field(default_factory=list)
    bills: list[tuple[str, Bill]] = field(default_factory=list)
    """With the episode."""
    in_calm: Counter[str] = field(default_factory=Counter)
    """Writes to EC2 and of NodeRoutes and RouteTables while nothing was to do."""
    ec2_writes: Counter[str] = field(default_factory=Counter)
    kube_writes: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    left_in_kernels: list[str] | None = None
    """None: it did not come to that."""
    drift: list[str] | None = None
    last_plan: str | None = None
    left_on_machine: list[str] = field(default_factory=list)
    restarts: int = 0
    path_changes: int = 0
    logs: dict[str, str] = field(default_factory=dict)
    """Of controllers and agents, by file."""


class Soak:
    """`run` returns when the time is over, when something went wrong that nothing can go on from, or on Ctrl-C."""

    def __init__(self, name: str, seed: int, minutes: float, say: Say) -> None:
        self.record = Record(seed, minutes)
        self.live = LiveLab(name)
        self._say = say
        self._pool = ThreadPoolExecutor(3, "fault")
        self._sampler = Sampler(self.live.lab, lambda: self._calm)
        self._calm = False
        self._endpoint = ""
        self._inventory: Mapping[str, kernels.Counts] = {}

    def run(self) -> Record:
        """Raises CloudrouteError when the lab can't be built."""
        machine = {"the machine": kernels.counts(None)}
        try:
            with self.live.lab as lab, lab.aws.serve() as server:
                self._endpoint = server.url
                try:
                    self._live()
                except CloudrouteError as error:
                    self.record.trouble = str(error)
                except KeyboardInterrupt:
                    self.record.interrupted = True
                finally:
                    self._end()
        except KeyboardInterrupt:
            self.record.interrupted = True
        after = {"the machine": kernels.counts(None)}
        self.record.left_on_machine = [*kernels.compared(machine, after), *tear_down(self.live.lab.name)]
        return self.record

    def _live(self) -> None:
        self._build()
        for episode in episodes(self.record.seed):
            if episode.number > FEWEST and time.monotonic() > self.record.began + self.record.minutes * 60:
                break
            self._say(f"{time.monotonic() - self.record.began:6.1f} s  {episode.number:3}  {episode}")
            self._episode(episode)
        self._mend()
        self._look_back()

    def _end(self) -> None:
        """Everything stands still, and is counted."""
        self._calm = False
        self.live.end()
        self._pool.shutdown(cancel_futures=True)
        self._sampler.close()
        record = self.record
        if record.began:
            record.seconds = time.monotonic() - record.began
        try:
            self.live.exchange.close(self.live.now.paths)
        finally:
            self.live.exchange.kill()
        record.samples, record.restarts = self._sampler.samples, self.live.restarts
        record.ec2_writes = ec2_writes(self.live.lab.aws)
        folder = self.live.lab.folder
        record.logs = {str(file.relative_to(folder)): _text(file) for file in sorted(folder.rglob("*.log"))}

    # --- acts -------------------------------------------------------------------------------

    def _build(self) -> None:
        live, lab = self.live, self.live.lab
        live.open()
        lab.aws.set_route_quota(2 * LIMIT)  # foreign routes come whatever our own limit is
        for zone, count in enumerate(ZONES):
            lab.join(zone, count)
        lab.wait_ready()
        for host in lab.hosts.values():
            host.add_pod("a")
        self._converge()
        self.live.exchange.renew(lab.hosts.values(), live.now.paths)
        self.record.began = time.monotonic()
        self._sampler.start()
        self._rest(CALM_SECONDS)
        self._inventory = kernels.inventory(lab)

    def _episode(self, episode: Episode) -> None:
        faults = [(fault, index * episode.lag) for index, fault in enumerate(episode.faults)]
        self._fault(episode.number, str(episode), faults)
        self._rest(episode.rest)

    def _mend(self) -> None:
        """The state of before the first fault."""
        fault = Fault("limit", "", 0, 0.0, LIMIT, "")
        foreign = [Fault("foreign routes", "", zone, 0.0, 0, "") for zone in range(len(ZONES))]
        self._fault(0, THE_END, [(one, 0.0) for one in (*foreign, fault)])
        self._rest(CALM_SECONDS)

    def _look_back(self) -> None:
        lab, record = self.live.lab, self.record
        self.live.exchange.close(self.live.now.paths)
        record.left_in_kernels = kernels.compared(self._inventory, kernels.inventory(lab))
        record.drift = kernels.drift(lab)
        record.last_plan = self.live.plan(self._endpoint)
        record.kube_writes = self.live.writes.total()

    # --- a fault ----------------------------------------------------------------------------

    def _fault(self, number: int, name: str, faults: Sequence[tuple[Fault, float]]) -> None:
        live = self.live
        before, ec2, kube = live.now, ec2_writes(live.lab.aws), live.writes.total()
        working = [self._pool.submit(self._inject, number, fault, lag) for fault, lag in faults]
        while not all(one.done() for one in working):
            self._look()
        for one in working:
            one.result()
        converged = self._converge()
        for incident in self.record.incidents:
            if incident.episode == number:
                incident.converged = max(converged, incident.ended)
        bill = self._bill([fault for fault, _ in faults], before, ec2, kube)
        self.record.bills.append((name, bill))
        if live.renewal_due:
            live.renewal_due = False
            self.live.exchange.renew(list(live.lab.hosts.values()), live.now.paths)

    def _inject(self, number: int, fault: Fault, lag: float) -> None:
        self.live.sleep(lag)
        sabotaged = fault.host if fault.kind == "sabotage" else ""
        incident = Incident(number, str(fault), time.monotonic(), sabotaged)
        self.record.incidents.append(incident)
        try:
            inject(self.live, fault)
        finally:
            incident.ended = time.monotonic()

    def _bill(self, faults: Sequence[Fault], before: Look, ec2: Counter[str], kube: Counter[str]) -> Bill:
        now = self.live.now
        changed = sum(before.specs.get(name) != now.specs.get(name) for name in before.specs.keys() | now.specs.keys())
        made = self.live.writes.total()
        return Bill(
            (ec2_writes(self.live.lab.aws) - ec2).total(),
            ec2_most(faults, before.tables, now.tables),
            made["noderoutes"] - kube["noderoutes"],
            node_routes_most(faults, changed),
        )

    # --- time passes ------------------------------------------------------------------------

    def _look(self) -> None:
        before = self.live.now.paths
        self.live.look()
        now = self.live.now.paths
        self.record.path_changes += sum(now[pair] != path for pair, path in before.items() if pair in now) // 2
        time.sleep(LOOK_SECONDS)

    def _converge(self) -> float:
        """Until all is ready, nothing changes, and the plan has nothing to do; when the last change was."""
        live = self.live
        deadline = time.monotonic() + PATIENCE_SECONDS
        plan: Future[str] | None = None
        well_since, left = 0.0, "nobody has asked the plan"
        while True:
            self._look()
            now = time.monotonic()
            well_since = 0.0 if live.unwell else well_since or now
            if plan and plan.done():
                left, plan = plan.result(), None
                if not left and well_since:
                    live.lab.wait_ready()
                    return max(live.since, well_since)
            quiet = well_since and now - max(well_since, live.since) > QUIET_SECONDS
            if quiet and plan is None:
                plan = self._pool.submit(live.plan, self._endpoint)
            if now > deadline:
                words = f"after {PATIENCE_SECONDS:g} s it is still not well: {live.unwell or left}"
                raise CloudrouteError(f"{words}\n{live.explain()}", *live.lab.diagnosis())

    def _rest(self, seconds: float) -> None:
        """Nothing is to do, and so nothing may be done."""
        live = self.live
        ec2, kube = ec2_writes(live.lab.aws), live.writes.total()
        self._calm = True
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._look()
        self._calm = False
        self.record.in_calm += ec2_writes(live.lab.aws) - ec2
        more = live.writes.total() - kube
        self.record.in_calm += Counter({k: n for k, n in more.items() if k.startswith(("noderoutes", "routetables"))})


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")

"""The lab as it runs: what is looked at all the time; a controller that ends is started again, as a kubelet would."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cloudroute.adapters.kube import project
from cloudroute.core.paths import Class, pair_path
from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.nodes import TROUBLE
from cloudroute.lab.kube.real import RealKubeApi
from cloudroute.lab.replica import aws_environment, clean_environment, flatten
from cloudroute.types import Cidr, Path
from tests.soak.exchange import Exchange
from tests.soak.flapping import Tables
from tests.soak.schedule import LIMIT
from tests.soak.writes import KubeWrites
from tests.waiting import eventually

FLAGS = {"--settle-seconds": "1", "--drain-seconds": "5", "--resync-seconds": "5"}
"""Half the default's drain, so that a minute holds several faults; still what an agent needs many times over."""
RESTART_SECONDS = 2.0
"""Between two starts of a controller that has ended."""


@dataclass(frozen=True)
class Look:
    """State of the lab: NodeRoutes' specs and readiness, our routes in each table, the path of each ordered pair."""

    specs: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    ready: Mapping[str, bool] = field(default_factory=dict)
    """By host: its agent has done all that the present NodeRoute of its present instance says."""
    tables: Tables = field(default_factory=dict)
    paths: Mapping[tuple[str, str], Path] = field(default_factory=dict)


class LiveLab:
    """The lab that faults act on. `look` belongs to one thread, the rest to any."""

    def __init__(self, name: str) -> None:
        self.lab = HostLab(name, zones=3, route_limit=LIMIT, real_kube=True, controller_flags=FLAGS)
        self.exchange = Exchange()
        self.now = Look()
        self.since = 0.0
        """Time of the last difference in `now`."""
        self.unwell = "nothing was looked at yet"
        """Reason why the lab is not in its expected state; "" while it is."""
        self.restarts = 0
        """Of controllers that ended by themselves."""
        self.renewal_due = False
        """Whether a host has been replaced, which has no traffic yet."""
        self.writes: KubeWrites
        self._stop = threading.Event()
        self._held = 0
        self._lock = threading.Lock()
        self._restarted = 0.0

    def open(self) -> None:
        """Once the lab is there."""
        api = self.lab.api.objects
        if not isinstance(api, RealKubeApi):
            raise CloudrouteError("the soak needs a real kube-apiserver")
        self.writes = KubeWrites(api)

    # --- for faults ---------------------------------------------------------------------------

    def sleep(self, seconds: float) -> None:
        """Until then, or until the run is ended."""
        self._stop.wait(seconds)

    def wait(self, until: Any, what: str, seconds: float = 30.0) -> None:
        """Raises CloudrouteError when it does not come; gives up when the run is ended."""
        eventually(lambda: until() or self._stop.is_set(), what, seconds, self.lab.controllers.says, 0.1)

    @contextmanager
    def controllers_held(self) -> Iterator[None]:
        """Nobody else restarts controllers meanwhile."""
        with self._lock:
            self._held += 1
        try:
            yield
        finally:
            with self._lock:
                self._held -= 1

    def end(self) -> None:
        """Have all sleeps and waits end."""
        self._stop.set()

    # --- looking ------------------------------------------------------------------------------

    def look(self) -> None:
        """Bring everything up to date."""
        self._supervise()
        found = self._look_at_cluster()
        if found != self.now:
            self.now, self.since = found, time.monotonic()
        self.exchange.look(self.now.paths)

    def _look_at_cluster(self) -> Look:
        routes = self._routes()
        if not routes:
            self.unwell = "the API server does not answer, or has no NodeRoutes"
            return self.now
        hosts = dict(self.lab.hosts)
        specs = {name: project.node_route(raw).spec for name, raw in routes.items()}
        ready = {name: _is_ready(routes.get(name, {}), host.machine.id) for name, host in hosts.items()}
        classes = {name: Class.of(spec) for name, spec in specs.items()}
        found = Look(
            {name: (raw["metadata"]["uid"], raw["spec"]) for name, raw in routes.items()},
            ready,
            {table: self._ours(table) for table in self.lab.vpc.route_table_ids},
            {(a, b): pair_path(classes[a], classes[b]) for a in classes for b in classes if a != b},
        )
        self.unwell = self._trouble(found)
        return found

    def _routes(self) -> Mapping[str, Mapping[str, Any]]:
        """The NodeRoutes by name; none while the API server is away."""
        try:
            return {raw["metadata"]["name"]: raw for raw in self.lab.node_routes()}
        except TROUBLE:
            return {}

    def _ours(self, table: str) -> dict[str, str]:
        pools = [Cidr.parse(pool) for pool in self.lab.pools]
        return {
            destination: str(route.get("NetworkInterfaceId"))
            for destination, route in self.lab.aws.scene.routes(table).items()
            if any(pool.covers(Cidr.parse(destination)) for pool in pools)
        }

    def _trouble(self, found: Look) -> str:
        lab = self.lab
        if waiting := [name for name, ready in found.ready.items() if not ready]:
            return f"not ready: {', '.join(waiting)}"
        if more := found.specs.keys() - lab.hosts.keys():
            return f"NodeRoutes of nobody: {', '.join(more)}"
        if away := [host.name for host in list(lab.hosts.values()) if not host.agent_alive]:
            return f"no agent on {', '.join(away)}"
        if len(lab.controllers.replicas) < 2 or not lab.leader():
            return "two controllers do not run, or nobody leads"
        return lab.net.trouble

    def explain(self) -> str:
        """Return the NodeRoutes and the logs' ends of agents that are not ready."""
        routes = self._routes()
        return "\n".join(
            f"--- {name}: {json.dumps(routes.get(name))}\n{self.lab.hosts[name].agent_says()}"
            for name, ready in self.now.ready.items()
            if not ready and name in self.lab.hosts
        )

    def _supervise(self) -> None:
        with self._lock:
            due = not self._held and time.monotonic() > self._restarted + RESTART_SECONDS
            if due and len(self.lab.controllers.replicas) < 2:
                self.restarts += 1
                self._restarted = time.monotonic()
                self.lab.start_controller()

    # --- the plan -----------------------------------------------------------------------------

    def plan(self, endpoint: str) -> str:
        """Return what `cloudroute plan` would still do or wait for; "" if that is nothing."""
        own = {"--lease-duration", "--renew-deadline", "--retry-period"}
        flags = {flag: value for flag, value in self.lab.controllers.flags.items() if flag not in own}
        environment = {**clean_environment(), **aws_environment(endpoint, self.lab.aws.region)}
        argv = [sys.executable, "-m", "cloudroute", "plan", *flatten(flags), "-o", "json"]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode not in (0, 3):
            return f"plan failed with {done.returncode}: {done.stderr[-500:]}"
        said = json.loads(done.stdout)
        return "; ".join([*(f"{step['action']} {step['object']}" for step in said["steps"]), *said["waits"]])


def _is_ready(route: Mapping[str, Any], instance: str) -> bool:
    if route.get("spec", {}).get("instanceID") != instance:
        return False
    status = route.get("status", {})
    return status.get("ready") is True and status.get("observedGeneration") == route["metadata"]["generation"]

"""A lab that stays up: the process that holds it, started by `lab up` and ended by `lab down`."""

from __future__ import annotations

import json
import os
import signal
import string
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from cloudroute.core.words import one_line
from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts import breaks, channel
from cloudroute.lab.hosts.cluster import ClusterLab
from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.survey import path, survey

BUILDERS = 4
"""Number of hosts whose pods are started at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Size and kind of the lab. `real`: nodes with kubelets, and scheduled pods."""

    name: str
    nodes: int
    zones: int
    route_limit: int
    pods: int
    ipv6: bool
    real: bool

    def as_json(self) -> str:
        """Return it as the daemon's argument."""
        return json.dumps(asdict(self))


class Daemon:
    """Builds the lab, and answers requests during and after the build."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._words = "The lab starts."
        self._lab: HostLab | None = None
        self._one_at_a_time = threading.Lock()
        self._interruptible = False
        self._ending, self._ended = threading.Event(), threading.Event()

    def run(self) -> None:
        """Build the lab and hold it until it is told to end. Raises CloudrouteError when it can't be built."""
        plan = self._plan
        server = channel.Server(plan.name, self.answer)
        thread = threading.Thread(target=server.serve_forever, name="channel", daemon=True)
        thread.start()
        make: type[HostLab] = ClusterLab if plan.real else HostLab
        lab = make(plan.name, zones=plan.zones, route_limit=plan.route_limit, ipv6=plan.ipv6, on_progress=self._say)
        try:
            self._interruptible = True
            with lab:
                self._fill(lab)
                self._interruptible = False
                self._lab = lab
                self._ending.wait()
                self._lab = None
        finally:
            server.shutdown()
            self._ended.set()
            server.server_close()

    def end(self, *_: object) -> None:
        """Handle the signal to end: an unfinished build is undone at once. Only the main thread may call this."""
        self._ending.set()
        if self._interruptible:
            self._interruptible = False
            raise CloudrouteError("told to end before all was built")

    def _say(self, words: str) -> None:
        self._words = words

    def _fill(self, lab: HostLab) -> None:
        plan = self._plan
        self._say(f"{plan.nodes} hosts join, an agent on each.")
        for zone in range(plan.zones):
            if count := plan.nodes // plan.zones + (zone < plan.nodes % plan.zones):
                lab.join(zone, count)
        self._say("The controller gives them routes, their agents program them.")
        lab.wait_ready()
        self._say(f"{plan.pods} pods start on each.")
        with ThreadPoolExecutor(BUILDERS) as pool:
            list(pool.map(self._add_pods, lab.hosts.values()))
        lab.settle()

    def _add_pods(self, host: LabHost) -> None:
        for name in string.ascii_lowercase[: self._plan.pods]:
            host.add_pod(name)

    # --- requests ---------------------------------------------------------------------------------

    def answer(self, request: channel.Request) -> Any:
        """Answer one request. Raises CloudrouteError, with a sentence, for one that can't be done."""
        match request:
            case {"do": "progress"}:
                return {"words": self._words, "ready": self._lab is not None}
            case {"do": "down"}:
                os.kill(os.getpid(), signal.SIGTERM)
                self._ended.wait()
                return "down"
            case {"do": "status"}:
                return survey(self._ready())
            case {"do": "path", "source": str(source), "target": str(target)}:
                return path(self._ready(), source, target)
            case {"do": "break", "what": str(what), "word": str(word)}:
                with self._one_at_a_time:
                    self._break(self._ready(), what, word)
                return "done"
        raise CloudrouteError(f"the lab does not know what to do with {json.dumps(dict(request))[:200]}")

    def _break(self, lab: HostLab, what: str, word: str) -> None:
        pods = list(lab.hosts[word].pods) if what == "replace" and word in lab.hosts else []
        breaks.apply(lab, what, word)
        if pods:  # as a scheduler does once the Node is ready
            lab.wait_ready()
        for name in pods:
            lab.hosts[word].add_pod(name)

    def _ready(self) -> HostLab:
        if self._lab is None:
            raise CloudrouteError(f"the lab {self._plan.name} is not ready: {self._words}")
        return self._lab


def main() -> int:
    """Run one lab: the argument is its Plan."""
    daemon = Daemon(Plan(**json.loads(sys.argv[1])))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, daemon.end)
    try:
        daemon.run()
    except CloudrouteError as error:
        sys.stderr.writelines(f"{one_line(line)}\n" for line in error.lines)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

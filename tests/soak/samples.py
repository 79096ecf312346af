"""Memory, descriptors and threads of the processes, every few seconds, as /proc has them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.lab import HostLab
from tests.measure.process import descriptors, memory_mb, threads
from tests.soak.leaks import Sample

SECONDS = 2.0


class Sampler:
    """A thread that looks at the processes of a lab between `start` and `close`. `calm` says whether all is well."""

    def __init__(self, lab: HostLab, calm: Callable[[], bool]) -> None:
        self.samples: list[Sample] = []
        self._lab, self._calm = lab, calm
        self._since: dict[str, float] = {}
        """First sight of each process in its role: a standby that takes over grows as a new process does."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="samples", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._stop.set()
        if self._thread.ident:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SECONDS):
            calm = self._calm()
            for role, name, pid in processes(self._lab):
                process, now = f"{role} {name}/{pid}", time.monotonic()
                age = now - self._since.setdefault(process, now)
                try:
                    self.samples.append(_sample(role, process, pid, age, calm=calm))
                except (OSError, ValueError):
                    continue  # it has just ended


def processes(lab: HostLab) -> Iterable[tuple[str, str, int]]:
    """Role, name and id of each that runs."""
    for replica in lab.controllers.replicas:
        yield "leader" if replica.leads else "standby", replica.name, replica.process.pid
    for host in list(lab.hosts.values()):
        try:
            yield "agent", host.name, host.agent_pid
        except CloudrouteError:
            continue  # it is away


def _sample(role: str, process: str, pid: int, age: float, *, calm: bool) -> Sample:
    return Sample(role, process, age, calm, memory_mb(pid, "VmRSS"), descriptors(pid), threads(pid))

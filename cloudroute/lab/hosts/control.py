"""The lab's controllers: replicas as processes of their own, connected to EC2 and Kubernetes only by their APIs."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.processes import remember
from cloudroute.lab.replica import NAMES, Replica
from cloudroute.lab.waiting import wait_for

READY_SECONDS = 30.0
STOP_SECONDS = 15.0


class Controllers:
    """The replicas. `flags` are theirs; `folder` receives their logs."""

    def __init__(self, folder: Path, environment: Mapping[str, str], flags: dict[str, str | Sequence[str]]) -> None:
        self.flags = flags
        self._folder = folder
        self._environment = environment
        self._replicas: dict[str, Replica] = {}
        self._count = 0

    @property
    def replicas(self) -> list[Replica]:
        """Running replicas."""
        return [replica for replica in self._replicas.values() if replica.alive]

    @property
    def leader(self) -> Replica | None:
        """The replica that leads, or None."""
        return next((replica for replica in self.replicas if replica.leads), None)

    def start(self) -> None:
        """Start the replicas that do not run."""
        for name in NAMES:
            if name not in self._replicas or not self._replicas[name].alive:
                self._replicas[name] = self._spawn(name)

    def stop(self) -> None:
        """Send SIGTERM to all, the standby first, and wait: the lease is released."""
        for replica in sorted(self.replicas, key=lambda replica: replica.leads):
            self._stop(replica)

    def kill(self) -> None:
        """Send SIGKILL to all: the lease stays held until it expires."""
        for replica in self.replicas:
            replica.process.kill()
            replica.process.wait()

    def roll(self) -> None:
        """Replace all by new ones with the present flags, one by one, as a Deployment does.

        Raises CloudrouteError when one does not become ready.
        """
        for replica in sorted(self.replicas, key=lambda replica: replica.leads):
            self._stop(replica)
            new = self._replicas[replica.name] = self._spawn(replica.name)
            wait_for(partial(_started, new), "a controller to be ready", READY_SECONDS, 0.05, list)
            if not new.alive:
                raise CloudrouteError(f"{new.name} ended:", *new.says().split("\n"))

    def says(self) -> str:
        """Return the ends of their logs."""
        return "\n".join(f"--- {replica.name}\n{replica.says()}" for replica in self._replicas.values())

    def _spawn(self, name: str) -> Replica:
        self._count += 1
        # A log file of its own: an earlier process of that name must not be taken for this one.
        replica = Replica.start(name, self._folder / f"{name}-{self._count}.log", self.flags, self._environment)
        remember(self._folder, replica.process.pid)
        return replica

    @staticmethod
    def _stop(replica: Replica) -> None:
        replica.process.send_signal(signal.SIGTERM)
        replica.process.send_signal(signal.SIGCONT)
        try:
            replica.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            replica.process.kill()
            replica.process.wait()
            raise CloudrouteError(f"{replica.name} did not end on SIGTERM:", *replica.says().split("\n")) from error


def _started(replica: Replica) -> bool:
    return replica.ready or not replica.alive

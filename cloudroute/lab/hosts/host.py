"""Hosts: a namespace with an ENI; a node also has an agent and pods."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudroute.errors import CloudrouteError
from cloudroute.lab.aws import Machine
from cloudroute.lab.hosts.cni import Attachment, Runtime
from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.hosts.program import ROUTER, port_of
from cloudroute.lab.replica import clean_environment

STOP_SECONDS = 10.0
LOOK_SECONDS = 0.02

_SYSCTLS = {
    # Defaults of distributions: the agent sets the rest that pods need.
    "net/ipv4/ip_forward": "0",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "1",
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "1",
}


class Vm:
    """An instance in the VPC without node software: a database, a bastion. `zone` is the index of its zone."""

    def __init__(self, name: str, zone: int, machine: Machine, prefix: str) -> None:
        self.name = name
        self.zone = zone
        self.machine = machine
        self.prefix = prefix
        self.namespace = Namespace(prefix + name)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Addresses of its primary ENI: IPv4, then IPv6."""
        return self.machine.addresses

    def run(self, *argv: str) -> str:
        """Run a command on the host and return its output. Raises CloudrouteError when it fails."""
        return self.namespace.run(*argv)

    def create(self) -> None:
        """Create the namespace; the VPC attaches eth0."""
        self.namespace.create()
        self.namespace.sysctl(_SYSCTLS)

    def set_carrier(self, *, on: bool) -> None:
        """Set or clear the carrier of eth0, which drops for a moment when an ENA device resets itself."""
        port = port_of(self.machine.interface_id)
        Namespace(self.prefix + ROUTER).run("ip", "link", "set", port, "up" if on else "down")

    def delete(self) -> None:
        """Delete the namespace, without any shutdown."""
        self.namespace.delete()


@dataclass(frozen=True)
class LabPod:
    """A pod: a namespace that the CNI plugins have connected. `addresses`: IPv4, then IPv6."""

    name: str
    namespace: Namespace
    addresses: tuple[str, ...]
    host: LabHost
    attachment: Attachment | None
    """None where a container runtime ran the plugins."""


class LabHost(Vm):
    """A node. `agent_flags` are those of every node of its lab.

    `folder` holds its agent's log, its /var/lib and its CNI configurations (`conf_dir`).
    """

    def __init__(
        self, name: str, zone: int, machine: Machine, prefix: str, folder: Path, agent_flags: Sequence[str]
    ) -> None:
        super().__init__(name, zone, machine, prefix)
        self.folder = folder
        self.conf_dir = folder / "net.d"
        self.agent_log = folder / "agent.log"
        self.pods: dict[str, LabPod] = {}
        self.pod_cidrs: tuple[str, ...] = ()
        self.labels: dict[str, str] = {}
        """Pod CIDRs that its Node is registered with; () where the controller assigns them."""
        self._agent_flags = agent_flags
        self._agent: subprocess.Popen[bytes] | None = None
        self.conf_dir.mkdir(parents=True, exist_ok=True)
        self.runtime = Runtime(self.namespace, self.conf_dir, folder / "var-lib")

    def delete(self) -> None:
        if self._agent is not None:
            self._agent.kill()  # it may be entering the namespace
            self._agent.wait()
        for pod in self.pods.values():
            pod.namespace.delete()
        self.pods.clear()
        super().delete()

    # --- the agent --------------------------------------------------------------------------------

    @property
    def agent_alive(self) -> bool:
        """Whether the agent's process runs; a frozen one counts."""
        return self._agent is not None and self._agent.poll() is None

    @property
    def agent_pid(self) -> int:
        """The agent's process id. Raises CloudrouteError when none runs."""
        return self._running().pid

    def start_agent(self, extra_flags: Sequence[str] = ()) -> None:
        """Start the agent, which appends to the earlier log. Raises CloudrouteError when one runs already."""
        if self.agent_alive:
            raise CloudrouteError(f"an agent runs on {self.name} already: stop or kill it first")
        own = ("--node-name", self.name, "--cni-conf-dir", str(self.conf_dir))
        # `ip netns exec` has made the mounts private: it sees the leases of its own host only.
        there = ["sh", "-c", 'mount --bind "$0" /var/lib && exec "$@"', str(self.runtime.var_lib)]
        command = [*there, sys.executable, "-m", "cloudroute", "agent", *own, *self._agent_flags, *extra_flags]
        with self.agent_log.open("ab") as output:
            self._agent = self.namespace.popen(command, env=clean_environment(), stdout=output, stderr=output)

    def kill_agent(self) -> None:
        """Send SIGKILL to the agent: nothing is cleaned up, and all that it has programmed stays."""
        agent = self._running()
        agent.kill()
        agent.wait()

    def stop_agent(self) -> None:
        """Send SIGTERM and wait. Raises CloudrouteError, with the log's end, when it does not end in ten seconds."""
        agent = self._running()
        agent.terminate()
        agent.send_signal(signal.SIGCONT)
        try:
            agent.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            self.kill_agent()
            said = f"the agent of {self.name} did not end on SIGTERM"
            raise CloudrouteError(f"{said}:", *self.agent_says().split("\n")) from error

    def freeze_agent(self) -> None:
        """Send SIGSTOP: the agent exists and does nothing."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw_agent(self) -> None:
        """Send SIGCONT."""
        self._running().send_signal(signal.SIGCONT)

    def agent_says(self) -> str:
        """Return the end of its log."""
        return self.agent_log.read_text(encoding="utf-8", errors="replace")[-2000:] if self.agent_log.exists() else ""

    def _running(self) -> subprocess.Popen[bytes]:
        if self._agent is None or self._agent.poll() is not None:
            raise CloudrouteError(f"no agent runs on {self.name}:", *self.agent_says().split("\n"))
        return self._agent

    # --- pods -------------------------------------------------------------------------------------

    def add_pod(self, name: str, timeout: float = 30.0) -> LabPod:
        """Start a pod as kubelet and runtime do: wait for a CNI configuration, and retry when a plugin fails.

        Raises CloudrouteError, with the last plugin's message, when it has no network after `timeout` seconds.
        """
        if name in self.pods:
            raise CloudrouteError(f"{self.name} has a pod {name} already")
        namespace = Namespace(f"{self.prefix}{self.name}-{name}")
        namespace.create()
        deadline = time.monotonic() + timeout
        while True:
            try:
                attachment = self.runtime.add(namespace)
            except CloudrouteError as error:
                if time.monotonic() > deadline:
                    namespace.delete()
                    raise CloudrouteError(f"pod {name} on {self.name}: {error}") from error
                time.sleep(LOOK_SECONDS)
            else:
                break
        self.pods[name] = LabPod(name, namespace, attachment.addresses, self, attachment)
        return self.pods[name]

    def remove_pod(self, pod: LabPod) -> None:
        """Remove the pod: its addresses are released."""
        self.pods.pop(pod.name, None)
        with contextlib.ExitStack() as end:
            end.callback(pod.namespace.delete)
            if pod.attachment is not None:
                self.runtime.delete(pod.attachment)

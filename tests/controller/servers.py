"""Real controller processes against EC2 and Kubernetes over HTTP."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloudroute.crds import manifests
from cloudroute.lab.aws import Aws
from cloudroute.lab.aws.scene import Machine
from cloudroute.lab.kube import KubeApi
from cloudroute.lab.replica import aws_environment, clean_environment
from tests.controller.lab import POOL
from tests.waiting import eventually

DURATION, DEADLINE, PERIOD = 4, 2.0, 0.5
"""Seconds, of the lease."""


class Controller:
    """One process: the controller, or a `command` that takes the lead as it does."""

    def __init__(self, servers: Servers, log: Path, *flags: str, command: str = "controller") -> None:
        self.log = log
        pools = [] if any(flag.startswith("--cluster-cidr") for flag in flags) else [f"--cluster-cidr={POOL}"]
        line = [
            sys.executable, "-m", "cloudroute", command, "--cluster-name=test", *pools,
            f"--kubeconfig={servers.kubeconfig}", "--listen=127.0.0.1:0", "--settle-seconds=0.1",
            f"--lease-duration={DURATION}", f"--renew-deadline={DEADLINE}", f"--retry-period={PERIOD}", *flags,
        ]  # fmt: skip
        with log.open("w") as said:
            self._process = subprocess.Popen(line, stdout=said, stderr=said, env=servers.environment)
        self.pid = self._process.pid

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def exit_code(self, within: float) -> int:
        """Of the process, which must end in so many seconds."""
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within} s: {self.log.read_text()}") from None

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    @property
    def url(self) -> str:
        """Address that the server has printed; "" before that."""
        found = re.search(r" listening .*port=(\d+)", self.log.read_text())
        return f"http://127.0.0.1:{found[1]}" if found else ""

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a probe; (0, "") while nobody listens."""
        if not self.url:
            return 0, ""
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    @property
    def leads(self) -> bool:
        return "\ncloudroute_leader 1.0" in self.get("/metrics")[1]

    def close(self) -> None:
        if self.runs:
            self._process.kill()
        self._process.wait()


class Servers:
    """A VPC of two zones and an empty cluster, both over HTTP, and the controllers that a test starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.aws = Aws()
        self.vpc = self.aws.scene.vpc(zones=2, tags={"kubernetes.io/cluster/test": "owned"})
        self.kube = KubeApi()
        self.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloudroute"}})
        for crd in manifests():
            self.kube.create(crd)
        self._ec2, self.api = self.aws.serve(), self.kube.serve()
        self.kubeconfig = self.api.kubeconfig(folder / "kubeconfig")
        self.environment = {
            **clean_environment(),
            **aws_environment(self._ec2.url, self.aws.region),
            "AWS_CONFIG_FILE": os.devnull,
        }
        self._controllers: list[Controller] = []

    def start(self, *flags: str, command: str = "controller") -> Controller:
        log = self.folder / f"{command}-{len(self._controllers)}.log"
        controller = Controller(self, log, *flags, command=command)
        self._controllers.append(controller)
        return controller

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another command, with the flags that the controllers have."""
        flags = ["--cluster-name=test", f"--cluster-cidr={POOL}", f"--kubeconfig={self.kubeconfig}"]
        line = [sys.executable, "-m", "cloudroute", *words, *flags]
        return subprocess.run(line, env=self.environment, capture_output=True, text=True, check=False, timeout=60)

    def pair(self) -> tuple[Controller, Controller]:
        """One that leads and one that stands by, both ready."""
        leader = self.start()
        eventually(lambda: leader.leads, "one leads")
        standby = self.start()
        eventually(lambda: standby.get("/readyz")[0] == 200, "the standby is ready")
        return leader, standby

    def join(self, name: str, zone: int = 0) -> Machine:
        """An instance starts, and its kubelet registers."""
        (machine,) = self.aws.scene.launch(self.vpc.zones[zone])
        addresses = [{"type": "InternalIP", "address": machine.addresses[0]}]
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
        spec = {"providerID": machine.provider_id}
        self.kube.create({**node, "spec": spec, "status": {"addresses": addresses}})
        return machine

    def targets(self, table_id: str) -> list[str]:
        """ENIs that routes lead to, sorted."""
        routes = self.aws.scene.routes(table_id).values()
        return sorted(str(route["NetworkInterfaceId"]) for route in routes if "NetworkInterfaceId" in route)

    def routed(self, *machines: Machine) -> bool:
        """Whether every table routes to these machines and no others, and all their nodes are well and published."""
        wanted = sorted(machine.interface_id for machine in machines)
        conditions = [
            (condition["type"], condition["status"])
            for node in self.kube.list("nodes")
            for condition in node["status"].get("conditions", [])
        ]
        native = [len(item["spec"].get("nativeIn", [])) for item in self.kube.list("noderoutes")]
        return (
            all(self.targets(table_id) == wanted for table_id in self.vpc.route_table_ids)
            and conditions == [("NetworkUnavailable", "False")] * len(machines)
            and native == [len(self.vpc.route_table_ids)] * len(machines)
        )

    @property
    def lease(self) -> Any:
        """The Lease's spec."""
        return self.kube.get("leases", "cloudroute", "cloudroute")["spec"]

    def close(self) -> None:
        self.kube.faults.clear()
        for controller in self._controllers:
            controller.close()
        self.api.close()
        self._ec2.close()


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Servers that are closed at the end, with every process."""
    made = Servers(folder)
    try:
        yield made
    finally:
        made.close()


def seconds_until(true: Any) -> float:
    """Measure the time until a condition is true, in real seconds."""
    begun = time.monotonic()
    eventually(true, "the state that is timed")
    return time.monotonic() - begun


__all__ = ["DEADLINE", "DURATION", "PERIOD", "Controller", "Servers", "seconds_until", "servers", "signal"]

"""The strict EC2 layer and a Kubernetes API over loopback; controllers are processes that know only their addresses."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudroute.crds import manifests
from cloudroute.lab.aws import Aws, Machine, Server
from cloudroute.lab.aws.wire import Request, Response
from cloudroute.lab.kube import Cluster, KubeApi, StatusError
from cloudroute.lab.kube.real import RealKubeApi
from cloudroute.lab.replica import aws_environment, clean_environment
from tests.waiting import eventually

NAMESPACE = LEASE = "cloudroute"
POOL = "100.64.0.0/10"
PATIENCE_SECONDS = 120.0
GLANCE_SECONDS = 0.005


@dataclass(frozen=True)
class Replica:
    """A controller's process and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def leads(self) -> bool:
        """Whether it lives and has said that it acquired the lease."""
        alive = self.process.poll() is None
        return alive and '"did": "acquired"' in self.log.read_text(encoding="utf-8")


class Stage:
    """A VPC, an API server and no controller yet. A context manager: leaving it ends every process.

    `real` takes the real kube-apiserver. `flags` are the controllers', beside what they need to reach both.
    """

    def __init__(
        self, *, zones: int, real: bool = False, route_limit: int = 50, flags: Mapping[str, str] | None = None
    ) -> None:
        self._flags = {"--route-limit": str(route_limit), **(flags or {})}
        self._real = real
        self._cleanup = ExitStack()
        self.aws = Aws(route_quota=route_limit)
        self.vpc = self.aws.scene.vpc(zones=zones, one_table=True)
        self.kube: Cluster
        self.replicas: list[Replica] = []
        self._asked: dict[str, list[float]] = {}

    def __enter__(self) -> Stage:
        try:
            self._folder = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="cloudroute-bench-")))
            self._aws_server = self._cleanup.enter_context(Server(self._answer, self.aws.clock, "127.0.0.1", 0))
            self._serve_kube()
            self.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
            for crd in manifests():
                self.kube.create(crd)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self.replicas:
            replica.process.kill()
            replica.process.wait()
        self._cleanup.close()

    def _serve_kube(self) -> None:
        if self._real:
            real = RealKubeApi()
            self._cleanup.callback(real.close)
            real.start()
            self.kube, self.kubeconfig = real, real.kubeconfig()
        else:
            embedded = KubeApi()
            server = embedded.serve()
            self._cleanup.callback(server.close)
            self.kube, self.kubeconfig = embedded, server.kubeconfig(self._folder / "kubeconfig")

    def _answer(self, request: Request) -> Response:
        self._asked.setdefault(request.action, []).append(time.monotonic())
        return self.aws.answer(request)

    # --- controllers ------------------------------------------------------------------------

    def start(self) -> Replica:
        """One more controller, with default timings but for `flags`."""
        log = self._folder / f"controller-{len(self.replicas)}.log"
        flags = {
            "--cluster-name": "bench",
            "--cluster-cidr": POOL,
            "--kubeconfig": str(self.kubeconfig),
            "--listen": "127.0.0.1:0",
            "--log-format": "json",
            **self._flags,
        }
        environment = {**clean_environment(), **aws_environment(self._aws_server.url, self.aws.region)}
        command = [sys.executable, "-m", "cloudroute", "controller", *(word for pair in flags.items() for word in pair)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        self.replicas.append(Replica(process, log))
        return self.replicas[-1]

    def leader(self) -> Replica:
        """The replica that leads, as soon as one does."""
        self.until(lambda: any(replica.leads() for replica in self.replicas), "a leader")
        return next(replica for replica in self.replicas if replica.leads())

    def holder(self) -> str:
        """Holder of the lease; "" while nobody has it."""
        try:
            return str(self.kube.get("leases", LEASE, NAMESPACE)["spec"].get("holderIdentity") or "")
        except StatusError:
            return ""

    # --- the world --------------------------------------------------------------------------

    def join(self, name: str, machine: Machine, *, pod_cidr: str = "", more: Mapping[str, Any] | None = None) -> None:
        """A Node registers. `more` is merged into it one level deep."""
        node: dict[str, dict[str, Any]] = {
            "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": machine.zone.name}},
            "spec": {"providerID": machine.provider_id},
            "status": {"addresses": [{"type": "InternalIP", "address": address} for address in machine.addresses]},
        }
        if pod_cidr:
            node["spec"] |= {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]}
        for part, fields in (more or {}).items():
            node[part] |= fields
        self.kube.create({"apiVersion": "v1", "kind": "Node", **node})

    @property
    def requests(self) -> Counter[tuple[str, str]]:
        """Number of requests to the embedded API, by verb and resource."""
        assert isinstance(self.kube, KubeApi), "a real API server does not count"
        return self.kube.calls

    def switch_checks_off(self, *machines: Machine) -> None:
        """As if an earlier controller had been there: with AWS's buckets, thousands of them take many minutes."""
        for machine in machines:
            self.aws.scene.ec2.modify_network_interface_attribute(
                NetworkInterfaceId=machine.interface_id, SourceDestCheck={"Value": False}
            )

    def asked(self, action: str) -> list[float]:
        """Arrivals of an EC2 action's calls, monotonic seconds."""
        return list(self._asked.get(action, ()))

    def settled(self, nodes: int, native: int) -> bool:
        """Whether all nodes have their condition and so many are published as native."""
        reasons = [c for n in self.kube.list("nodes") for c in n["status"].get("conditions", ()) if _is_ours(c)]
        records = self.kube.list("noderoutes")
        return len(reasons) == nodes and sum(bool(r["spec"].get("nativeIn")) for r in records) == native

    def until(
        self,
        true: Callable[[], bool],
        what: str,
        pause: float = GLANCE_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Wait. Raises CloudrouteError when it takes too long, AssertionError when every controller has ended."""

        def so() -> bool:
            done = true()
            ended = bool(self.replicas) and all(replica.process.poll() is not None for replica in self.replicas)
            assert done or not ended, f"waiting for {what}: the controllers ended\n{self._says()}"
            return done

        eventually(so, what, patience, self._says, pause)

    def _says(self) -> str:
        return self.replicas[-1].log.read_text(encoding="utf-8")[-2000:] if self.replicas else ""


def _is_ours(condition: Mapping[str, Any]) -> bool:
    return bool(condition["type"] == "NetworkUnavailable")

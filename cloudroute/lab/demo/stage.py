"""The demo's environment: strict EC2 and a Kubernetes API over loopback, and two controllers that know nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cloudroute.crds import manifests
from cloudroute.errors import CloudrouteError
from cloudroute.lab.aws import Aws, Machine, Zone
from cloudroute.lab.kube import Cluster, KubeApi
from cloudroute.lab.kube.real import RealKubeApi, find_assets
from cloudroute.lab.replica import Replica

POOL = "100.64.0.0/16"
LIMIT = 50
RESERVE = 1
"""Entries that the controllers leave free in each table, for the route that is added by hand."""
LEASE_SECONDS, RETRY_SECONDS = 5, 0.5
FLAGS = {
    "--cluster-name": "demo",
    "--cluster-cidr": POOL,
    "--route-limit": str(LIMIT),
    "--route-reserve": str(RESERVE),
    "--settle-seconds": "1",
    "--drain-seconds": "2",
    "--resync-seconds": "5",
    "--lease-duration": str(LEASE_SECONDS),
    "--renew-deadline": "2.5",
    "--retry-period": str(RETRY_SECONDS),
    "--listen": "127.0.0.1:0",
    "--log-format": "json",
}
"""Shorter times than the defaults: otherwise the demo would mostly wait."""


class Stage:
    """Built by entering it, removed by leaving it."""

    def __init__(self) -> None:
        self.aws = Aws(throttle=True, route_quota=LIMIT)
        self.vpc = self.aws.scene.vpc(zones=3)
        self.real = find_assets() is not None
        self.kube: Cluster
        self.nodes: dict[str, Machine] = {}
        self.replicas: list[Replica] = []
        self._close: list[Callable[[], None]] = []

    def __enter__(self) -> Stage:
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _build(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="cloudroute-demo-")
        self._close.append(folder.cleanup)
        self._folder = Path(folder.name)
        self._aws_server = self.aws.serve()
        self._close.append(self._aws_server.close)
        if self.real:
            real = RealKubeApi()
            self._close.append(real.close)
            real.start()
            self.kube = real
            self._kubeconfig = real.kubeconfig()
        else:
            embedded = KubeApi()
            server = embedded.serve()
            self._close.append(server.close)
            self.kube = embedded
            self._kubeconfig = server.kubeconfig(self._folder / "kubeconfig")
        self.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloudroute"}})
        for crd in manifests():
            self.kube.create(crd)
        for name in ("controller-a", "controller-b"):
            self.replicas.append(self._replica(name))

    def __exit__(self, *_: object) -> None:
        for replica in self.replicas:
            replica.process.terminate()
        for replica in self.replicas:
            replica.process.wait()
        for close in reversed(self._close):
            close()

    def _replica(self, name: str) -> Replica:
        log = self._folder / f"{name}.log"
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "CLOUDROUTE_"))},
            "AWS_ENDPOINT_URL": self._aws_server.url,
            "AWS_REGION": self.aws.region,
            "AWS_ACCESS_KEY_ID": "demo",
            "AWS_SECRET_ACCESS_KEY": "demo",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        flags = [part for pair in {**FLAGS, "--kubeconfig": str(self._kubeconfig)}.items() for part in pair]
        command = [sys.executable, "-m", "cloudroute", "controller", *flags]
        with log.open("wb") as output:
            # Our own interpreter and our own flags.
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)  # noqa: S603
        return Replica(name, process, log)

    # --- actions ----------------------------------------------------------------------------

    def leader(self) -> Replica | None:
        """Return the replica that leads, by its log."""
        return next((replica for replica in self.replicas if replica.leads), None)

    def join(self, zone: Zone, count: int) -> None:
        """Launch instances in a zone, and register their Nodes as kubelets do."""
        for machine in self.aws.scene.launch(zone, count):
            name = f"node-{len(self.nodes) + 1:03}"
            self.nodes[name] = machine
            self.kube.create(
                {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone.name}},
                    "spec": {"providerID": machine.provider_id},
                    "status": {"addresses": [{"type": "InternalIP", "address": a} for a in machine.addresses]},
                }
            )

    def terminate(self, names: Sequence[str]) -> None:
        """Terminate instances, and delete their Nodes as the cloud provider does."""
        self.aws.scene.terminate(*(self.nodes[name].id for name in names))
        for name in names:
            self.kube.delete("nodes", name)
            del self.nodes[name]

    def add_foreign_route(self, destination: str) -> str:
        """Route a part of the cluster CIDR to a gateway by hand, in the first table; returns the gateway's id."""
        ec2 = self.aws.scene.ec2
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc.id)
        table_id = self.vpc.zones[0].route_table_id
        ec2.create_route(RouteTableId=table_id, DestinationCidrBlock=destination, GatewayId=gateway)
        return str(gateway)

    def kill(self, replica: Replica) -> float:
        """Send SIGKILL, so that the lease is not released; returns the time in seconds since the epoch."""
        replica.process.send_signal(signal.SIGKILL)
        replica.process.wait()
        return time.time()

    def check(self) -> None:
        """Raise CloudrouteError when no controller is left, with the end of the last one's log."""
        if not any(replica.alive for replica in self.replicas):
            said = self.replicas[-1].log.read_text(encoding="utf-8")[-2000:]
            raise CloudrouteError("the controllers ended:", *said.split("\n"))

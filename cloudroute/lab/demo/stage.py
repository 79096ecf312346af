"""The demo's environment: strict EC2 and a Kubernetes API over loopback, and two controllers that know nothing else."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cloudroute.adapters.kube import project
from cloudroute.crds import manifests
from cloudroute.errors import CloudrouteError
from cloudroute.lab.aws import Aws, Machine, Zone
from cloudroute.lab.aws.aws import DEFAULT_QUOTA
from cloudroute.lab.kube import Cluster, KubeApi
from cloudroute.lab.kube.real import RealKubeApi, find_assets
from cloudroute.lab.replica import NAMES, QUICK_FLAGS, Replica, aws_environment

POOL = "100.64.0.0/16"
LIMIT = DEFAULT_QUOTA
RESERVE = 1
"""Entries that the controllers leave free in each table, for the route that is added by hand."""
FLAGS = {
    **QUICK_FLAGS,
    "--cluster-name": "demo",
    "--cluster-cidr": POOL,
    "--route-limit": str(LIMIT),
    "--route-reserve": str(RESERVE),
}


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
        flags = {**FLAGS, "--kubeconfig": str(self._kubeconfig)}
        environment = aws_environment(self._aws_server.url, self.aws.region)
        for name in NAMES:
            self.replicas.append(Replica.start(name, self._folder / f"{name}.log", flags, environment))

    def __exit__(self, *_: object) -> None:
        for replica in self.replicas:
            replica.process.terminate()
        for replica in self.replicas:
            replica.process.wait()
        for close in reversed(self._close):
            close()

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
                    "metadata": {"name": name, "labels": {project.ZONE: zone.name}},
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
            raise CloudrouteError("the controllers ended:", *self.replicas[-1].says().split("\n"))

"""The infrastructure of a lab's hosts: strict EC2, the VPC, the Kubernetes API and its relay, the controllers."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from cloudroute.crds import manifests
from cloudroute.errors import CloudrouteError
from cloudroute.lab.aws import Aws, Vpc
from cloudroute.lab.hosts.api import Api, EmbeddedApi, RealApi
from cloudroute.lab.hosts.control import Controllers
from cloudroute.lab.hosts.netns import leftovers
from cloudroute.lab.hosts.relay import Relay
from cloudroute.lab.hosts.teardown import folder_of, prefix_of, remove_namespaces
from cloudroute.lab.hosts.vpc import Internet, VpcNet
from cloudroute.lab.kube import Cluster
from cloudroute.lab.kube.real import RealKubeApi, find_assets
from cloudroute.lab.replica import QUICK_FLAGS, Replica, aws_environment

_NAME = re.compile(r"[a-z][a-z0-9]{0,19}")


class Ground:
    """A lab without hosts. See HostLab for the arguments."""

    def __init__(
        self,
        name: str,
        *,
        zones: int,
        route_limit: int,
        ipv6: bool,
        ipv6_only: int,
        mtu: int,
        pools: Sequence[str],
        real_kube: bool | None,
        controller_flags: Mapping[str, str],
        on_progress: Callable[[str], None],
    ) -> None:
        if not _NAME.fullmatch(name):
            raise CloudrouteError(f"a lab can't be called {name!r}: take up to 20 lower-case letters and digits")
        self.name = name
        self.prefix = prefix_of(name)
        self.folder = folder_of(name)
        self.aws: Aws
        self.vpc: Vpc
        self.net: VpcNet
        self.api: Api
        self.controllers: Controllers
        self.kubeconfig = self.folder / "kubeconfig"
        self.pools = [pool for pool in pools if ipv6 or ":" not in pool]
        self._zones, self._ipv6, self._ipv6_only = zones, ipv6, ipv6_only
        self._mtu, self._quota = mtu, route_limit
        self._real = find_assets() is not None if real_kube is None else real_kube
        self._controller_flags = controller_flags
        self._say = on_progress
        self._undo = contextlib.ExitStack()

    # --- life cycle -------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Build it. Raises CloudrouteError when it can't be built or exists already; a partial build is removed."""
        if os.geteuid() != 0:
            raise CloudrouteError("a lab with hosts needs root: its network namespaces are the kernel's to make")
        if leftovers(self.prefix):
            raise CloudrouteError(f"there is a lab {self.name} already, or what is left of one: tear it down first")
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove everything."""
        self._undo.close()

    def _build(self) -> None:
        # The relay uses two file descriptors for each connection of each agent.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._undo.callback(shutil.rmtree, self.folder, ignore_errors=True)
        with ThreadPoolExecutor(1) as pool:
            self._say("An API server and the VPC start.")
            coming = pool.submit(self.make_api)
            self._undo.callback(_close, coming)
            self._build_vpc()
            self.api = coming.result()
        self.api.kubeconfig(self.kubeconfig)
        self.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloudroute"}})
        for crd in manifests():
            self.kube.create(crd)
        self._relay = Relay(self.api.port)
        self._undo.callback(self._relay.close)
        self.controllers = Controllers(self.folder, self._serve_aws(), self._flags_of_controllers())
        self._undo.callback(self.controllers.kill)
        self.start_controller()

    def make_api(self) -> Api:
        """Start the API server; a subclass with another one overrides this. Raises CloudrouteError."""
        if not self._real:
            return EmbeddedApi()
        try:
            return RealApi(RealKubeApi(), self.folder)
        except (RuntimeError, FileNotFoundError) as error:
            raise CloudrouteError(str(error)) from error

    def _build_vpc(self) -> None:
        self.aws = Aws(throttle=True, route_quota=self._quota)
        self.vpc = self.aws.scene.vpc(zones=self._zones, ipv6=self._ipv6, ipv6_only=self._ipv6_only)
        self.aws.scene.open(self.vpc)
        ec2 = self.aws.scene.ec2
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc.id)
        for table in (*self.vpc.route_table_ids, self.vpc.main_table_id):
            ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
            if self._ipv6:
                ec2.create_route(RouteTableId=table, DestinationIpv6CidrBlock="::/0", GatewayId=gateway)
        self._undo.callback(remove_namespaces, self.prefix)
        self.net = VpcNet(self.prefix, self.aws, self.vpc, self._mtu)
        self._undo.callback(self.net.close)

    def _serve_aws(self) -> dict[str, str]:
        server = self.aws.serve()
        self._undo.callback(server.close)
        return aws_environment(server.url, self.aws.region)

    # --- parts ------------------------------------------------------------------------------------

    @property
    def kube(self) -> Cluster:
        """Objects of the API server."""
        return self.api.objects

    @property
    def internet(self) -> Internet:
        """A host in the internet."""
        return self.net.internet

    # --- controllers and API server ---------------------------------------------------------------

    def start_controller(self) -> None:
        """Start the two replicas, or the one that does not run."""
        self.controllers.start()

    def stop_controller(self) -> None:
        """Send SIGTERM to all replicas; they release the lease."""
        self.controllers.stop()

    def kill_controller(self) -> None:
        """Send SIGKILL to all replicas."""
        self.controllers.kill()

    def leader(self) -> Replica | None:
        """The replica that leads, if any."""
        return self.controllers.leader

    def set_route_limit(self, entries: int) -> None:
        """Replace the controllers one by one, with another route limit. AWS's own limit is only ever raised."""
        if entries > self._quota:
            self._quota = entries
            self.aws.set_route_quota(entries)
        self.controllers.flags["--route-limit"] = str(entries)
        self.controllers.roll()

    def stop_api(self) -> None:
        """Stop the API server."""
        self.api.stop()

    def start_api(self) -> None:
        """Start the API server again, with all its objects, on the same port."""
        self.api.start()

    def _flags_of_controllers(self) -> dict[str, str | Sequence[str]]:
        own: dict[str, str | Sequence[str]] = {
            "--cluster-name": self.name,
            "--cluster-cidr": self.pools,
            "--route-limit": str(self._quota),
            "--route-reserve": "0",
            "--kubeconfig": str(self.kubeconfig),
        }
        return {**QUICK_FLAGS, **own, **self._controller_flags}


def _close(api: Future[Api]) -> None:
    if api.exception() is None:
        api.result().close()

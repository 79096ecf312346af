"""`HostLab`: a cluster with packets. A VPC and hosts of namespaces, strict EC2, a Kubernetes API, controllers, agents.

`close` removes all of it; after a crash, `tear_down` does.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cloudroute.errors import CloudrouteError
from cloudroute.lab.aws import Machine
from cloudroute.lab.aws.aws import DEFAULT_QUOTA
from cloudroute.lab.hosts.ground import Ground
from cloudroute.lab.hosts.host import LabHost, Vm
from cloudroute.lab.hosts.netns import kill_inside, leftovers
from cloudroute.lab.hosts.nodes import TROUBLE, NodeKeeper, condition
from cloudroute.lab.hosts.teardown import tear_down
from cloudroute.lab.hosts.vpc import DEFAULT_MTU
from cloudroute.lab.kube import Object
from cloudroute.lab.replica import flatten
from cloudroute.lab.waiting import wait_for

__all__ = ["HostLab", "tear_down"]

POOLS = ("100.64.0.0/16", "fd00:64::/48")
LOOK_SECONDS = 0.1


class HostLab(Ground):
    """A lab. Entering it, or `start`, builds it without hosts; `join` adds them.

    The subnets of the last `ipv6_only` zones have no IPv4. `route_limit` is set for the controllers and for AWS. `mtu`
    in bytes. `real_kube` None: a real kube-apiserver if one is installed. Flags are as on the command line, with their
    dashes. Without `agents` nodes are registered but program nothing. `on_progress` is called with a sentence for each
    step.
    """

    def __init__(
        self,
        name: str,
        *,
        zones: int = 3,
        route_limit: int = DEFAULT_QUOTA,
        ipv6: bool = True,
        ipv6_only: int = 0,
        mtu: int = DEFAULT_MTU,
        pools: Sequence[str] = POOLS,
        real_kube: bool | None = None,
        controller_flags: Mapping[str, str] = {},
        agent_flags: Mapping[str, str] = {},
        agents: bool = True,
        on_progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(
            name,
            zones=zones,
            route_limit=route_limit,
            ipv6=ipv6,
            ipv6_only=ipv6_only,
            mtu=mtu,
            pools=pools,
            real_kube=real_kube,
            controller_flags=controller_flags,
            on_progress=on_progress,
        )
        self.hosts: dict[str, LabHost] = {}
        self.vms: dict[str, Vm] = {}
        self.nodes: NodeKeeper
        self._agent_flags, self._agents = agent_flags, agents
        self._count = 0

    def _build(self) -> None:
        super()._build()
        self.nodes = NodeKeeper(self.api, self._reported)
        self._undo.callback(self.nodes.close)
        self._undo.callback(self._delete_hosts)

    # --- hosts ------------------------------------------------------------------------------------

    def join(
        self,
        zone: int,
        count: int = 1,
        name: str = "",
        *,
        ipv6: bool = True,
        pod_cidrs: Sequence[str] = (),
        labels: Mapping[str, str] = {},
    ) -> list[LabHost]:
        """Launch instances in a zone, by index, and register them as Nodes; an agent starts on each.

        They are called `name` (several: with a number appended), or node-1, node-2 ... Without `ipv6` they have no IPv6
        address though the subnet has a block. `pod_cidrs` are set on the Node at registration, as by another allocator,
        and so are `labels`.
        """
        names = [self._name(name, index, count) for index in range(count)]
        if taken := [one for one in names if one in self.hosts or one in self.vms]:
            raise CloudrouteError(f"there is a host {taken[0]} already")
        machines = self.aws.scene.launch(self.vpc.zones[zone], count, ipv6=ipv6)
        flags = self._flags_of_agents()
        hosts = [
            self._make(one, zone, machine, self.folder / "hosts" / one, flags)
            for one, machine in zip(names, machines, strict=True)
        ]
        for host in hosts:
            host.pod_cidrs, host.labels = tuple(pod_cidrs), dict(labels)
            host.create()
            self.hosts[host.name] = host
        self.net.attach_all({host.machine.id: host.namespace for host in hosts})
        for host in hosts:
            self._relay.add(host.namespace)
            self._boot(host)
        return hosts

    def _make(self, name: str, zone: int, machine: Machine, folder: Path, flags: Sequence[str]) -> LabHost:
        return LabHost(name, zone, machine, self.prefix, folder, flags)

    def _boot(self, host: LabHost) -> None:
        """Start the software of a host that has its network and reaches the API server."""
        self.nodes.register(host)
        if self._agents:
            host.start_agent()

    def _reported(self) -> Mapping[str, LabHost]:
        """Hosts whose kubelets the lab stands in for."""
        return dict(self.hosts)

    def vm(self, zone: int) -> Vm:
        """Launch an instance in the VPC that is no node."""
        (machine,) = self.aws.scene.launch(self.vpc.zones[zone])
        self._count += 1
        vm = Vm(f"vm-{self._count}", zone, machine, self.prefix)
        vm.create()
        self.vms[vm.name] = vm
        self.net.attach(vm.namespace, machine)
        return vm

    def terminate(self, name: str) -> None:
        """Terminate the instance: the host and its pods are gone, and the cloud controller deletes the Node."""
        host = self._host(name)
        self.aws.scene.terminate(host.machine.id)
        self.net.detach(host.machine.id)
        self._relay.remove(host.namespace)
        del self.hosts[name]
        host.delete()
        shutil.rmtree(host.folder, ignore_errors=True)
        self.nodes.remove(name)

    def replace(self, name: str) -> LabHost:
        """Terminate the instance, and launch another in its zone that registers under the same name."""
        zone = self._host(name).zone
        self.terminate(name)
        return self.join(zone, name=name)[0]

    def _host(self, name: str) -> LabHost:
        if name not in self.hosts:
            raise CloudrouteError(f"there is no host {name}; there are {', '.join(self.hosts) or 'none'}")
        return self.hosts[name]

    def _name(self, name: str, index: int, count: int) -> str:
        if name:
            return name if count == 1 else f"{name}-{index + 1}"
        self._count += 1
        return f"node-{self._count}"

    def _flags_of_agents(self) -> list[str]:
        flags: dict[str, str | Sequence[str]] = {
            "--interface": "eth0",
            "--kubeconfig": str(self.kubeconfig),
            "--cluster-cidr": self.pools,
            "--log-format": "json",
        }
        return flatten({**flags, **self._agent_flags})

    def _delete_hosts(self) -> None:
        kill_inside(leftovers(self.prefix))
        for host in (*self.hosts.values(), *self.vms.values()):
            host.delete()

    # --- waiting ----------------------------------------------------------------------------------

    def node_routes(self) -> list[Object]:
        """Return all NodeRoutes."""
        return self.kube.list("noderoutes")

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until every Node has its network, and every agent has programmed all of its NodeRoute."""
        self.wait(self._is_ready, "every node to be ready", timeout)

    def settle(self, calm: float = 1.5, timeout: float = 60.0) -> None:
        """Wait until all is ready and the controllers have changed no NodeRoute for `calm` seconds."""
        self.wait_ready(timeout)
        last: list[object] = []
        since = time.monotonic()

        def calmed() -> bool:
            nonlocal last, since
            now: list[object] = [(route["metadata"]["uid"], route["spec"]) for route in self.node_routes()]
            if now != last:
                last, since = now, time.monotonic()
            return time.monotonic() - since > calm

        self.wait(calmed, "the NodeRoutes to settle", timeout)
        self.wait_ready(timeout)

    def wait(self, until: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
        """Wait for a condition. Raises CloudrouteError, with the last output of the processes, when it stays false."""
        wait_for(until, what, timeout, LOOK_SECONDS, self.diagnosis)

    def _is_ready(self) -> bool:
        try:
            nodes = {node["metadata"]["name"]: node for node in self.kube.list("nodes")}
            routes = {route["metadata"]["name"]: route for route in self.node_routes()}
        except TROUBLE:
            return False
        return all(
            condition(nodes.get(host.name, {}), "NetworkUnavailable") == "False"
            and _is_settled(routes.get(host.name, {}), host, by_agent=self._agents)
            for host in self.hosts.values()
        )

    def diagnosis(self) -> list[str]:
        """Return the last output of the processes, in lines."""
        silent = [host for host in self.hosts.values() if self._agents and not host.agent_alive]
        said = [f"--- the agent of {host.name} has ended\n{host.agent_says()}" for host in silent]
        return "\n".join([*filter(None, [self.net.trouble]), *said, self.controllers.says()]).split("\n")


def _is_settled(route: Object, host: LabHost, *, by_agent: bool) -> bool:
    if route.get("spec", {}).get("instanceID") != host.machine.id:
        return False
    status = route.get("status", {})
    done = status.get("ready") is True and status.get("observedGeneration") == route["metadata"]["generation"]
    return done or not by_agent

"""A lab with an enforcer on each node: pods of every role, policies about them, and a pair of hosts for each path."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cloudroute.lab.hosts.api import Api, RealApi
from cloudroute.lab.hosts.host import LabHost, LabPod, Vm
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.traffic_echo import Answer, Echo, reach
from cloudroute.lab.kube.real import RealKubeApi
from tests.deploy.conftest import named
from tests.packets import gateways, labs
from tests.policies.enforcer import Enforcer
from tests.policies.objects import (
    CLIENTS,
    SERVERS,
    Case,
    namespace_objects,
    namespace_of,
    pod_object,
    policies,
    running,
)

NAME = "cloudroute-network-policies"
"""Of the chart's DaemonSet, account and role."""
_ACCOUNT = f"system:serviceaccount:cloudroute:{NAME}"
ROOM = labs.OWN_ENTRIES + 1 + 2
"""Entries of a table: its own, the aggregate, and routes to two nodes."""
SILENCE_SECONDS = 1.0
"""Timeout of a question that a policy forbids; one that is allowed has ten times as long."""
_ASKED_AT_ONCE = 12
_LEAST_RIGHTS = ("setpriv", "--no-new-privs", "--inh-caps=-all")


class PolicyLab(HostLab):
    """Six nodes in two zones, of which one each is a gateway, and two hosts of the VPC in each zone.

    `chart` is the chart with network policies switched on, rendered; `program` is the enforcer's.
    """

    def __init__(self, name: str, chart: Sequence[Any], program: Path) -> None:
        flags = {**labs.FLAGS, **gateways.FLAGS}
        super().__init__(name, zones=2, route_limit=ROOM, real_kube=True, controller_flags=flags)
        self._chart, self._program = chart, program
        self.enforcers: dict[str, Enforcer] = {}

    def make_api(self) -> Api:
        """Start an API server that knows the enforcers' account."""
        kube = RealKubeApi()
        kube.add_user(_ACCOUNT)
        return RealApi(kube, self.folder)

    # --- building ---------------------------------------------------------------------------------

    def populate(self) -> None:
        """Bring nodes, pods, policies and enforcers up, and wait until all is enforced."""
        for zone, name in enumerate("ab"):
            self.join(zone, name=f"{name}0", labels={"role": "gateway"})
        for zone, name in enumerate("ab"):
            for number in (1, 2):
                self.join(zone, name=f"{name}{number}")
        for zone in (0, 0, 1, 1):
            self.vm(zone)
        self._undo.callback(self._kill_enforcers)
        for item in (*namespace_objects(), *self._account()):
            self.kube.create(item)
        labs.settle(self)
        self.wait(lambda: all(gateways.holders(self)), "an aggregate in each table")
        wanted = [(self.hosts[host], name) for host in ("a1", "a2", "b1", "b2") for name in CLIENTS]
        wanted += [(self.hosts[host], name) for host in ("a1", "b2") for name in SERVERS]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda one: self.run_pod(*one), wanted))
        for policy in policies(
            self.pools,
            [address for pod in self.pods("stranger") for address in pod.addresses],
            [address for pod in self.pods("by-port") for address in pod.addresses],
            [address for zone in (0, 1) for address in self.vpc_hosts(zone)[0].addresses],
            self.internet.addresses,
        ):
            self.kube.create(policy)
        for host in self.hosts.values():
            self.enforcers[host.name] = Enforcer(host, self._command(host))
            self.enforcers[host.name].start()
        self.wait_enforced()

    def _kill_enforcers(self) -> None:
        for enforcer in self.enforcers.values():
            enforcer.end(signal.SIGKILL)

    def _account(self) -> Iterator[Any]:
        for kind in ("ClusterRole", "ClusterRoleBinding"):
            yield named(list(self._chart), kind, NAME)

    def _command(self, host: LabHost) -> list[str]:
        """The command of the chart's container, with its capabilities and as its account."""
        (container,) = named(list(self._chart), "DaemonSet", NAME)["spec"]["template"]["spec"]["containers"]
        context = container["securityContext"]
        assert context["capabilities"]["drop"] == ["ALL"]
        kept = ",".join(f"+{name.lower()}" for name in context["capabilities"]["add"])
        arguments = [word.replace("$(NODE_NAME)", host.name) for word in container["args"]]
        assert isinstance(self.api.http, RealKubeApi)
        kubeconfig = self.api.http.kubeconfig(self.folder / "enforcer.kubeconfig", _ACCOUNT)
        rights = (*_LEAST_RIGHTS, f"--bounding-set=-all,{kept}")
        return [*rights, str(self._program), *arguments, f"--kubeconfig={kubeconfig}"]

    def run_pod(self, host: LabHost, name: str) -> LabPod:
        """Schedule a pod, connect it, and report its addresses, as scheduler, runtime and kubelet do."""
        self.kube.create(pod_object(host.name, name))
        pod = host.add_pod(name)
        self.report(pod)
        return pod

    def report(self, pod: LabPod) -> None:
        """Write a pod's addresses into its status, as its kubelet does."""
        self.kube.patch_status("pods", f"{pod.name}-{pod.host.name}", running(pod), namespace_of(pod.name))

    # --- parts ------------------------------------------------------------------------------------

    def pods(self, name: str) -> list[LabPod]:
        """All pods of that name."""
        return [host.pods[name] for host in self.hosts.values() if name in host.pods]

    def vpc_hosts(self, zone: int) -> list[Vm]:
        """The hosts of a zone that are no nodes: one that a block of the policies has, one that none has."""
        return [vm for vm in self.vms.values() if vm.zone == zone]

    def pairs(self) -> Mapping[str, tuple[LabHost, LabHost]]:
        """Hosts of a client and a server, by the path between them."""
        server = self.hosts["a1"]
        found = {"same node": (server, server)}
        for client in ("a2", "b1", "b2"):
            found[labs.paths(self)[client, server.name]] = (self.hosts[client], server)
        return found

    @contextmanager
    def native_route_missing(self, host: LabHost, zone: int) -> Iterator[None]:
        """Delete the routes of a host's pods from a zone's table for a while; nobody repairs them."""
        spec, table = labs.specs(self)[host.name], self.vpc.zones[zone].route_table_id
        ec2 = self.aws.session().client("ec2")
        key = {"ipv4": "DestinationCidrBlock", "ipv6": "DestinationIpv6CidrBlock"}
        routes: list[Any] = [{"RouteTableId": table, key[cidr.family]: str(cidr)} for cidr in spec.pod_cidrs]
        for route in routes:
            ec2.delete_route(**route)
        yield
        for route in routes:
            ec2.create_route(**route, NetworkInterfaceId=spec.network_interface_id)

    # --- enforcing --------------------------------------------------------------------------------

    def wait_enforced(self) -> None:
        """Wait until each enforcer decides about the pods of its node that a policy selects, and about no others."""
        for enforcer in self.enforcers.values():
            self.wait(partial(self._enforces, enforcer), f"the enforcer of {enforcer.host.name}", 30)

    def _enforces(self, enforcer: Enforcer) -> bool:
        free = {"open", "friend", "stranger", "member"}
        pods = [pod for name, pod in enforcer.host.pods.items() if name not in free]
        return enforcer.enforces() == {address for pod in pods for address in pod.addresses}

    def diagnosis(self) -> list[str]:
        """Return also the last words of the enforcers."""
        words = [f"--- the enforcer of {name}\n{one.says()}" for name, one in self.enforcers.items()]
        return [*super().diagnosis(), *"\n".join(words).split("\n")]

    def ask(self, cases: Sequence[Case], clients: Mapping[str, LabPod | Vm], server: LabHost) -> list[list[Answer]]:
        """Answers to each case's question, in both families, by UDP and TCP."""
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            asked = [
                [
                    pool.submit(
                        reach,
                        clients[case.client].namespace.name,
                        address,
                        protocol,
                        timeout=SILENCE_SECONDS * (10 if case.verdict == "allowed" else 1),
                    )
                    for address in server.pods[case.server].addresses
                    for protocol in ("udp", "tcp")
                ]
                for case in cases
            ]
            return [[one.result() for one in answers] for answers in asked]


@contextmanager
def populated(name: str, chart: Sequence[Any], program: Path) -> Iterator[PolicyLab]:
    """A lab in which all policies are enforced and all servers answer."""
    with PolicyLab(name, chart, program) as lab:
        lab.populate()
        servers = [pod.namespace for server in SERVERS for pod in lab.pods(server)]
        outside = [*(vm.namespace for vm in lab.vms.values()), lab.internet.namespace]
        with Echo([namespace.name for namespace in (*servers, *outside)]):
            yield lab

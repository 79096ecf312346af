"""A VPC with hosts whose packets follow EC2's state.

Hosts are programmed by hand, as an agent would. The "pod" of a host is an address of its pod CIDR on a bridge.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from cloudroute.lab.aws import Aws, Vpc
from cloudroute.lab.hosts.host import Vm
from cloudroute.lab.hosts.netns import leftovers
from cloudroute.lab.hosts.vpc import VpcNet
from tests.hosts import require_netns

PREFIX = f"crlhv{os.getpid()}-"


class VpcLab:
    """Hosts a and b in the first zone, c in the second; the third has no IPv4."""

    def __init__(self) -> None:
        self.aws = Aws()
        self.ec2 = self.aws.scene.ec2
        self.vpc: Vpc = self.aws.scene.vpc(zones=3, ipv6=True, ipv6_only=1)
        self.aws.scene.open(self.vpc)
        self.tables = self.vpc.route_table_ids
        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc.id)
        for table in self.tables:
            for destination in ("0.0.0.0/0", "::/0"):
                self.ec2.create_route(RouteTableId=table, GatewayId=gateway, **named(destination))
        self.net = VpcNet(PREFIX, self.aws, self.vpc, 9001)
        self.hosts: dict[str, Vm] = {}
        self.a, self.b, self.c = (self.host(*words) for words in (("a", 0), ("b", 0), ("c", 1)))

    def host(self, name: str, zone: int) -> Vm:
        """Add a host with two pod addresses."""
        (machine,) = self.aws.scene.launch(self.vpc.zones[zone])
        host = self.hosts[name] = Vm(name, zone, machine, PREFIX)
        host.create()
        host.namespace.batch(["link add cbr0 type bridge", "link set cbr0 up"])
        host.namespace.batch([f"address add {address} dev cbr0 nodad" for address in self.pods(host)])
        self.net.attach(host.namespace, machine)
        return host

    def pods(self, host: Vm) -> tuple[str, str]:
        number = list(self.hosts).index(host.name) + 1
        return f"100.64.{number}.1", f"fd00:64:{number}::1"

    def cidrs(self, host: Vm) -> tuple[str, str]:
        number = list(self.hosts).index(host.name) + 1
        return f"100.64.{number}.0/24", f"fd00:64:{number}::/80"

    def route(self, host: Vm, *tables: str) -> None:
        for table in tables:
            for cidr in self.cidrs(host):
                target = host.machine.interface_id
                self.ec2.create_route(RouteTableId=table, NetworkInterfaceId=target, **named(cidr))

    def check(self, host: Vm, *, on: bool) -> None:
        eni = host.machine.interface_id
        self.ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, SourceDestCheck={"Value": on})

    def direct(self, sender: Vm, to: Vm) -> None:
        """The sender's kernel hands packets for the other's pods to the other's interface."""
        for cidr, address in zip(self.cidrs(to), to.addresses, strict=True):
            sender.namespace.batch([f"route replace {cidr} via {address} dev eth0 onlink"])

    def overlay(self, *hosts: Vm) -> None:
        """A VXLAN device on each, and all that an agent programs for it."""
        macs = {host.name: f"0a:58:00:00:00:{index:02x}" for index, host in enumerate(hosts)}
        for host in hosts:
            local = f"local {host.addresses[0]} dev eth0 dstport 8472 nolearning"
            vteps = [f"address add {pod[:-1]}0 dev cr0 {'nodad' * (':' in pod)}" for pod in self.pods(host)]
            made = f"link add cr0 address {macs[host.name]} type vxlan id 1 {local}"
            host.namespace.batch([made, *vteps, "link set cr0 up"])
        for host in hosts:
            for peer in hosts:
                if peer is not host:
                    fdb = f"replace {macs[peer.name]} dev cr0 dst {peer.addresses[0]} self permanent"
                    host.run("bridge", "fdb", *fdb.split())
                    for pod, cidr in zip(self.pods(peer), self.cidrs(peer), strict=True):
                        vtep = f"{pod[:-1]}0"
                        neighbour = f"neigh replace {vtep} lladdr {macs[peer.name]} dev cr0 nud permanent"
                        host.namespace.batch([neighbour, f"route replace {cidr} via {vtep} dev cr0 onlink"])

    def ping(self, sender: Vm, to: str, *options: str) -> bool:
        """Whether one ping is answered; from the sender's own address, unless the options say otherwise."""
        return self._answered(sender, [[*options, to]]) == {True}

    def pod_ping(self, sender: Vm, to: Vm) -> set[bool]:
        """Ping from pod to pod; the results of both families as a set."""
        pairs = zip(self.pods(sender), self.pods(to), strict=True)
        return self._answered(sender, [["-I", own, theirs] for own, theirs in pairs])

    def _answered(self, sender: Vm, pings: list[list[str]]) -> set[bool]:
        self.net.sync()
        words = [["ping", "-c1", "-W1", *options] for options in pings]
        running = [sender.namespace.popen(argv, stdout=subprocess.PIPE, text=True) for argv in words]
        return {"1 received" in process.communicate()[0] for process in running}

    def close(self) -> None:
        self.net.close()
        for left in leftovers(PREFIX):
            left.delete()


def named(cidr: str) -> dict[str, str]:
    return {"DestinationIpv6CidrBlock" if ":" in cidr else "DestinationCidrBlock": cidr}


@pytest.fixture
def lab() -> Iterator[VpcLab]:
    require_netns()
    built = VpcLab()
    try:
        yield built
    finally:
        built.close()

"""The cluster that agents are measured with: NodeRoutes as a controller writes them, and a node that is still bare."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cloudroute.dataplane import packed
from cloudroute.lab.hosts.netns import Namespace

ZONES, NATIVE = 10, 48
"""A route table for each zone, and how many nodes have an entry in all of them: what the default limit leaves room for.
The others of the own zone are direct, the rest is overlay."""
POOLS = ("100.64.0.0/10", "fd00:64::/48")
NIC = "eth0"
HOST = (
    f"ip link add {NIC} mtu 9001 type veth peer wire",
    "ip link set wire mtu 9001 up",
    f"ip link set {NIC} up",
    f"ip address add 10.0.0.16/12 dev {NIC}",
    f"ip address add fd01::10/64 dev {NIC} nodad",
    f"ip route add default via 10.15.255.254 dev {NIC}",
    f"ip route add default via fe80::1 dev {NIC}",
)
GATEWAYS = (packed("10.15.255.254"), packed("fe80::1"))
OWN = "node-0"


@contextmanager
def bare_host() -> Iterator[Namespace]:
    """A node that nobody has programmed yet."""
    namespace = Namespace(f"crbe-{secrets.token_hex(4)}")
    namespace.create()
    try:
        for line in HOST:
            namespace.run(*line.split())
        yield namespace
    finally:
        namespace.delete()


def manifest(number: int) -> dict[str, Any]:
    """The NodeRoute of a node as the controller writes it."""
    zone = number % ZONES
    tables = [f"rtb-{table:017x}" for table in range(ZONES)]
    v4, v6 = ipaddress.ip_network(POOLS[0])[number << 8], ipaddress.ip_network(POOLS[1])[number << 48]
    addresses = (
        ipaddress.ip_address("10.0.0.16") + ((zone << 20) + number),
        ipaddress.ip_address("fd01::10") + ((zone << 64) + number),
    )
    return {
        "apiVersion": "cloudroute.io/v1alpha1",
        "kind": "NodeRoute",
        "metadata": {"name": f"node-{number}"},
        "spec": {
            "podCIDRs": [f"{v4}/24", f"{v6}/80"],
            "nodeIPs": [str(address) for address in addresses],
            "instanceID": f"i-{number:017x}",
            "networkInterfaceID": f"eni-{number:017x}",
            "subnetID": f"subnet-{zone:017x}",
            "routeTableID": tables[zone],
            "nativeIn": tables if number < NATIVE else [],
        },
    }


def table(zone: int) -> dict[str, Any]:
    """The RouteTable of a zone."""
    v4, v6 = ipaddress.ip_address("10.0.0.0") + (zone << 20), ipaddress.ip_address("fd01::") + (zone << 64)
    subnet = {"id": f"subnet-{zone:017x}", "zone": f"zone-{zone}", "cidrs": [f"{v4}/12", f"{v6}/64"]}
    return {
        "apiVersion": "cloudroute.io/v1alpha1",
        "kind": "RouteTable",
        "metadata": {"name": f"rtb-{zone:017x}"},
        "spec": {"vpcID": "vpc-1", "subnets": [subnet]},
    }

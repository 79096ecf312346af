"""The throughput of each path between pods, beside hosts that route plainly, without cloudroute.

All of it is veth and one kernel: the figures say what the paths cost beside each other, not what a NIC gives. The
yardstick has the same pods, the same hosts and the same VPC; only that its routes and neighbours are written by hand.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from itertools import permutations
from statistics import median
from typing import NamedTuple

from cloudroute.adapters.kube.project import node_route
from cloudroute.core.paths import Class, pair_path
from cloudroute.lab.hosts.host import LabHost, Vm
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.netns import Namespace, execute
from cloudroute.types import Path
from tests.measure.rows import Row, say

MTU = 9001
SECONDS, ROUNDS = 2, 7
OTHER_ENTRIES = 4
"""IPv4 entries of each route table that are no node's: local, the internet gateway, the yardstick's, the aggregate."""
TARGET_NATIVE, TARGET_OVERLAY, TARGET_GATEWAY = 1.25, 3.0, 3.0
PORT = 5201
PATHS: tuple[Path, ...] = ("native", "direct", "overlay")


class End(NamedTuple):
    """A pod."""

    namespace: Namespace
    address: str


def lacking() -> str:
    """Return the requirement of this part alone that is missing, in words; "" when it is there."""
    return "" if shutil.which("iperf3") else "install iperf3"


def measure() -> Iterator[Row]:
    """Medians of TCP from pod to pod, IPv4. `agents.lacking` and `lacking` must be empty."""
    say(f"throughput by each path, {ROUNDS} times {SECONDS} s")
    # Room for one node in each table: the first ones of both zones are native to each other, the second ones overlay.
    with HostLab(
        f"crbe{secrets.token_hex(3)}",
        zones=2,
        route_limit=OTHER_ENTRIES + 1,
        mtu=MTU,
        real_kube=False,
        controller_flags={"--gateway-nodes": "role=gateway"},
    ) as lab:
        pairs: dict[str, tuple[End, End]] = {"plain": _plain_pair(lab)}
        for zone in (0, 1):
            for host in lab.join(zone, 2):
                host.add_pod("a")
        lab.wait(lambda: set(_pairs(lab)) == set(PATHS), "a pair for each path")
        lab.wait_ready()
        pairs |= {path: _pairs(lab)[path] for path in PATHS}
        pairs["gateway"] = _pair_by_gateway(lab)
        figures: dict[str, list[float]] = {what: [] for what in pairs}
        for _ in range(ROUNDS):
            for what, (source, target) in pairs.items():
                figures[what].append(gigabits(source, target))
    speeds = {what: median(found) for what, found in figures.items()}
    say("Gbit/s: " + ", ".join(f"{what} {min(f):.1f} to {max(f):.1f}" for what, f in figures.items()))
    yield from rows(speeds)


def rows(speeds: Mapping[str, float]) -> Iterator[Row]:
    """Compare the times with those of plain routing, as ratios."""
    targets = {
        "native": TARGET_NATIVE,
        "direct": TARGET_NATIVE,
        "overlay": TARGET_OVERLAY,
        "gateway": TARGET_GATEWAY,
    }
    for path, target in targets.items():
        both = f"{speeds['plain']:.1f} and {speeds[path]:.1f} Gbit/s"
        yield Row(f"throughput, plain routing / {path}, MTU {MTU} ({both})", speeds["plain"] / speeds[path], target)


def _pairs(lab: HostLab) -> dict[Path, tuple[End, End]]:
    """Two pods for each path that there is, by what the NodeRoutes say."""
    specs = {raw["metadata"]["name"]: node_route(raw).spec for raw in lab.kube.list("noderoutes")}
    ready = [host for host in lab.hosts.values() if host.name in specs]
    return {
        pair_path(Class.of(specs[a.name]), Class.of(specs[b.name])): (_end(a), _end(b))
        for a, b in permutations(ready, 2)
    }


def _pair_by_gateway(lab: HostLab) -> tuple[End, End]:
    """A host of the VPC, and a pod that the host's table has no route of its own to.

    The gateway joins last: both tables are full, so that no path of the other nodes changes, and it has no pod.
    """
    (gateway,) = lab.join(0, 1, labels={"role": "gateway"})
    vm = next(vm for vm in lab.vms.values() if vm.zone == 0)
    table, pool = lab.vpc.zones[0].route_table_id, lab.pools[0]
    lab.wait(lambda: pool in lab.aws.scene.routes(table), "an aggregate")
    specs = {raw["metadata"]["name"]: node_route(raw).spec for raw in lab.kube.list("noderoutes")}
    target = next(h for h in lab.hosts.values() if table not in specs[h.name].native_in and h is not gateway)
    return End(vm.namespace, vm.addresses[0]), _end(target)


def _end(host: LabHost) -> End:
    pod = next(iter(host.pods.values()))
    return End(pod.namespace, pod.addresses[0])


# --- the yardstick --------------------------------------------------------------------------------


def _plain_pair(lab: HostLab) -> tuple[End, End]:
    """Two hosts in different zones that route for a pod behind a bridge, and entries in the route tables for them."""
    vms = [lab.vm(zone) for zone in (0, 1)]
    ends = [_pod_behind(vm, f"192.168.{number}") for number, vm in enumerate(vms)]
    for number, vm in enumerate(vms):
        lab.aws.scene.ec2.modify_network_interface_attribute(
            NetworkInterfaceId=vm.machine.interface_id, SourceDestCheck={"Value": False}
        )
        lab.aws.scene.ec2.create_route(
            RouteTableId=lab.vpc.zones[1 - number].route_table_id,
            DestinationCidrBlock=f"192.168.{number}.0/24",
            NetworkInterfaceId=vm.machine.interface_id,
        )
    return ends[0], ends[1]


def _pod_behind(vm: Vm, network: str) -> End:
    """As the bridge plugin does it."""
    pod = Namespace(f"{vm.namespace.name}-a")
    pod.create()
    host = vm.namespace.name
    execute(*f"ip link add pod mtu {MTU} netns {host} type veth peer eth0 mtu {MTU} netns {pod.name}".split())
    vm.namespace.batch(
        [
            f"link add br0 mtu {MTU} type bridge",
            f"address add {network}.1/24 dev br0",
            "link set br0 up",
            "link set pod master br0 up",
        ]
    )
    vm.namespace.sysctl({"net/ipv4/ip_forward": "1"})
    pod.batch([f"address add {network}.2/24 dev eth0", "link set eth0 up", f"route add default via {network}.1"])
    return End(pod, f"{network}.2")


def gigabits(source: End, target: End) -> float:
    """Gbit/s of one TCP connection, as received."""
    server = target.namespace.popen(
        ["iperf3", "--server", "--one-off", "--port", str(PORT), "--forceflush"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if b"listening" in line:
                break
        ask = ("iperf3", "--client", target.address, "--port", str(PORT), "--time", str(SECONDS), "--json")
        answer = json.loads(source.namespace.run(*ask, timeout=SECONDS + 20))
        return float(answer["end"]["sum_received"]["bits_per_second"]) / 1e9
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(2)
        server.kill()
        server.communicate()

"""A kernel and an API server in memory, for the agent's decisions; real kernels are in tests/agent/test_real_*.

Like the real kernel it removes routes with their nexthop, and all entries of a VXLAN device with the device, without a
message. Each write can be made to fail, by key, a number of times; a process can be killed after a number of entries.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cloudroute.agent.gateway import Heartbeat
from cloudroute.agent.loop import Loop
from cloudroute.agent.report import Report, Reporter
from cloudroute.config import AgentSettings
from cloudroute.core.node.desired import AgentPolicy
from cloudroute.dataplane import KINDS, TUNNELS, VTEP, AddressKey, Host, Kind, PeerBytes, TransitSource, packed
from cloudroute.errors import ApiError, KernelError
from cloudroute.telemetry import AgentTelemetry
from cloudroute.types import Cidr, NodeRoute, NodeRouteSpec, RouteTableObject, Subnet
from tests.clock import FakeClock

POOLS = (Cidr.parse("100.64.0.0/16"), Cidr.parse("fd00:64::/64"))
POLICY = AgentPolicy(POOLS, vni=1, port=8472, masquerade=True, exceptions=())
HOST = Host(
    "eth0", 9001, ((packed("10.0.0.1"), 20), (packed("fd01::1"), 64)), (packed("10.0.0.254"), packed("fe80::1"))
)
CONFLIST = "/etc/cni/net.d/10-cloudroute.conflist"
TABLES = ("rtb-1", "rtb-2", "rtb-3")


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the process runs after it."""


class MemoryTable:
    """ports.KindDriver over a dict."""

    def __init__(self, kernel: MemoryKernel, kind: Kind) -> None:
        self._kernel, self._kind = kernel, kind
        self.entries: dict[Any, Any] = {}
        self.unreadable = ""

    def read(self, wanted: Collection[Any]) -> dict[Any, Any]:
        if self.unreadable:
            raise KernelError(self.unreadable)
        self._kernel.reads.append(self._kind)
        if self._kind == "sysctls":
            return {key: value for key, value in self.entries.items() if key in wanted}
        return dict(self.entries)

    def write(self, put: Mapping[Any, Any], drop: Collection[Any]) -> dict[Any, str]:
        failures: dict[Any, str] = {}
        for key in (*put, *drop):
            self._kernel.count(self._kind, key)
            words = self._kernel.refuses(self._kind, key)
            if key in put:
                words = words or self._kernel.before_put(self._kind, key, put[key])
            if words:
                failures[key] = words
            elif key in put:
                self.entries[key] = put[key]
            else:
                self.entries.pop(key, None)
                self._kernel.fell(self._kind, key)
        return failures


class MemoryKernel:
    """ports.Kernel."""

    def __init__(self, host: Host = HOST) -> None:
        self.facts: Host | str = host
        """A text: the reason why there is no such NIC."""
        self.tables: Mapping[Kind, MemoryTable] = {kind: MemoryTable(self, kind) for kind in KINDS}
        self.installed = frozenset({"ptp", "host-local", "loopback", "tuning", "portmap", "bandwidth"})
        self.leases: dict[str, set[bytes]] = {}
        self.refuse: dict[tuple[Kind, Any], tuple[str, int]] = {}
        """By kind and key, None for all keys: the failure in words, and the number of writes that it meets."""
        self.writes: list[tuple[Kind, Any]] = []
        self.reads: list[Kind] = []
        self.life = float("inf")
        """Number of entries after which the process is killed."""
        self.told: Callable[[Collection[Kind]], None] = lambda _: None

    def count(self, kind: Kind, key: Any) -> None:
        if len(self.writes) >= self.life:
            raise Killed
        self.writes.append((kind, key))

    def refuses(self, kind: Kind, key: Any) -> str:
        for one in ((kind, key), (kind, None)):
            words, times = self.refuse.get(one, ("", 0))
            if times > 0:
                self.refuse[one] = (words, times - 1)
                return words
        return ""

    def before_put(self, kind: Kind, key: Any, value: Any) -> str:
        """Remove what the put removes in a kernel; return its refusal where a device or nexthop is missing."""
        tables = self.tables
        if kind == "links" and key in TUNNELS and tables["links"].entries.get(key) != value:
            self._shake(key)
        if kind == "nexthops" and AddressKey(VTEP, value.gateway, 64) in tables["addresses"].entries:
            return "Gateway can not be a local address"
        if kind == "routes" and value.nexthop and value.nexthop not in tables["nexthops"].entries:
            return "Nexthop id does not exist"
        for device, (fdb, neighbours) in TUNNELS.items():
            tunnel = tables["links"].entries.get(device)
            stands = kind in (fdb, neighbours) or device == (key.device if kind == "addresses" else None)
            if tunnel is None and (stands or (kind == "nexthops" and value.device == device)):
                return "No such device"
            if tunnel and kind == fdb and len(value) != len(tunnel.vxlan.local):
                return "Address family not supported by protocol"
        return ""

    def _shake(self, device: str) -> None:
        """Remove the entries on a VXLAN device, and the routes over its nexthops."""
        for kind in TUNNELS[device]:
            self.tables[kind].entries.clear()
        hops = self.tables["nexthops"].entries
        for number in [number for number, hop in hops.items() if hop.device == device]:
            del hops[number]
            self.fell("nexthops", number)

    def fell(self, kind: Kind, key: Any) -> None:
        """Remove the routes over a nexthop, or all entries of a device, which is gone."""
        routes = self.tables["routes"].entries
        if kind == "nexthops":
            for route in [route for route, to in routes.items() if to.nexthop == key]:
                del routes[route]
        if kind == "links" and key in TUNNELS:
            self._shake(key)
            addresses = self.tables["addresses"].entries
            for address in [address for address in addresses if address.device == key]:
                del addresses[address]
            sysctls = self.tables["sysctls"].entries
            for setting in [setting for setting in sysctls if key in setting.split("/")]:
                del sysctls[setting]

    def break_(self, kind: Kind, key: Any) -> None:
        """Remove an entry as another program does; the kernel announces it."""
        self.tables[kind].entries.pop(key)
        self.fell(kind, key)
        self.told({kind})

    def leases_of_others(self) -> Mapping[str, Collection[bytes]]:
        return self.leases

    @property
    def state(self) -> dict[Kind, dict[Any, Any]]:
        """A copy of all tables."""
        return {kind: dict(table.entries) for kind, table in self.tables.items()}

    def host(self, interface: str) -> Host:
        if isinstance(self.facts, str):
            raise KernelError(self.facts)
        return self.facts

    def listen(self, changed: Callable[[Collection[Kind]], None]) -> None:
        self.told = changed

    def plugins(self) -> tuple[frozenset[str], Sequence[str]]:
        return self.installed, ("/opt/cni/bin",)

    def shadowing(self) -> Sequence[str]:
        return ()

    def peer_bytes(self) -> Sequence[PeerBytes]:
        return ()

    def transit_packets(self) -> Mapping[TransitSource, int]:
        return {}

    def dead(self) -> str:
        return ""

    def close(self) -> None:
        return


class MemoryStore:
    """ports.Store."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.synced = True

    def items(self) -> Mapping[str, Any]:
        return dict(self.objects)

    def wait_synced(self, timeout: float) -> bool:
        return self.synced


class MemoryAgents:
    """ports.Agents."""

    def __init__(self) -> None:
        self.node_routes, self.route_table_objects = MemoryStore(), MemoryStore()
        self.written: list[dict[str, Any]] = []
        self.errors: list[Exception] = []
        """Errors of the next writes."""
        self.renewed: list[str] = []
        """Renewals of the gateway's Lease: the uid of the NodeRoute in each."""
        self.trouble = ""
        self.instance: str | ApiError = ""
        """Instance id in the Node, or the error of the request."""

    def start(self, changed: Callable[[], None]) -> None:
        return

    def instance_id(self) -> str:
        if isinstance(self.instance, ApiError):
            raise self.instance
        return self.instance

    def write_status(self, route: NodeRoute, status: Mapping[str, object]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.written.append(dict(status))
        now = self.node_routes.objects[route.name]
        merged = {key: value for key, value in {**now.status, **status}.items() if value is not None}  # a merge patch
        self.node_routes.objects[route.name] = replace(now, status=merged)

    def renew_gateway_lease(self, own: NodeRoute) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.renewed.append(own.uid)

    def dead(self) -> str:
        return ""

    def stop(self) -> None:
        return


def node_route(
    number: int,
    native_in: Sequence[str] = (),
    *,
    subnet: str = "",
    table: str = "",
    cidrs: Sequence[str] | None = None,
    created: str = "2026-01-01T00:00:00Z",
    generation: int = 1,
    ips: Sequence[str] | None = None,
    gateway: bool = False,
) -> NodeRoute:
    """Node n<number>, by default in zone number % 3."""
    texts = cidrs if cidrs is not None else (f"100.64.{number}.0/24", f"fd00:64:0:0:{number:x}::/80")
    spec = NodeRouteSpec(
        tuple(map(Cidr.parse, texts)),
        tuple(ips if ips is not None else (f"10.0.0.{number}", f"fd01::{number:x}")),
        f"i-{number:08x}",
        f"eni-{number:08x}",
        subnet or f"subnet-{number % 3 + 1}",
        table or TABLES[number % 3],
        tuple(native_in),
        gateway=gateway,
    )
    return NodeRoute(f"n{number}", f"uid-{number}", "1", created, spec, {}, generation)


def route_table_object(table_id: str, *cidrs: str) -> RouteTableObject:
    """A RouteTable whose one subnet has these CIDRs."""
    subnet = Subnet(f"subnet-of-{table_id}", "vpc-1", "a", tuple(map(Cidr.parse, cidrs)))
    return RouteTableObject(table_id, "1", "vpc-1", (subnet,))


class Node:
    """The agent of n1 on a kernel that outlives it. `turn` is one turn; `start` makes a fresh process."""

    def __init__(self, *routes: NodeRoute, kernel: MemoryKernel | None = None, **settings: Any) -> None:
        self.kernel = kernel or MemoryKernel()
        self.agents, self.clock = MemoryAgents(), FakeClock()
        self.settings = AgentSettings(node_name="n1", cluster_cidr=POOLS, **settings)
        self.publish(*routes)
        self.start()

    def publish(self, *routes: NodeRoute) -> None:
        """Create NodeRoutes or change their specs."""
        objects = self.agents.node_routes.objects
        for route in routes:
            objects[route.name] = replace(route, status=objects[route.name].status if route.name in objects else {})

    def withdraw(self, *names: str) -> None:
        """Delete NodeRoutes."""
        for name in names:
            del self.agents.node_routes.objects[name]

    def start(self) -> None:
        """Start a fresh process."""
        self.kernel.life = float("inf")
        self.reporter = Reporter(self.agents, self.clock)
        self.telemetry = AgentTelemetry(self.kernel.peer_bytes, self.clock.monotonic)
        self.heartbeat = Heartbeat(self.agents, self.clock)
        self.loop = Loop(
            self.settings, self.agents, self.kernel, self.clock, self.telemetry, self.reporter, self.heartbeat
        )
        self.kernel.listen(self.loop.wake)

    def turn(self) -> Report:
        """Take one turn; return its report."""
        return self.loop.turn().report

    def settle(self) -> Report:
        """Take turns until one is ready and writes nothing; return the last report."""
        for _ in range(20):
            before = len(self.kernel.writes)
            turn = self.loop.turn()
            if len(self.kernel.writes) == before and turn.report.ready:
                return turn.report
            self.clock.time = max(self.clock.time, min(turn.due, self.clock.time + 60))
        return turn.report


def status(report: Report) -> tuple[bool, str]:
    """Whether the node is ready, and the reason."""
    return report.ready, report.reason

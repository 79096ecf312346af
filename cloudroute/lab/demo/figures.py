"""The present state, read from EC2 and Kubernetes, never from a controller's own reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloudroute.adapters.kube import project
from cloudroute.core.paths import Class, pair_path
from cloudroute.lab.demo.stage import LIMIT, POOL, Stage
from cloudroute.types import Cidr, Condition, NodeRoute

Pairs = Mapping[tuple[str, str], Counter[str]]
"""Zone and zone -> path -> number of pairs."""


@dataclass(frozen=True)
class Fill:
    """Use of a route table: entries of the cluster, and of others (`local` included)."""

    id: str
    zone: str
    ours: int
    foreign: int
    highest: int
    """Highest number of entries that it ever held."""


@dataclass(frozen=True)
class Figures:
    """State of both APIs at one moment."""

    nodes: int
    conditions: Counter[str]
    fills: tuple[Fill, ...]
    pairs: Pairs
    routes: Mapping[str, NodeRoute]
    overlay: tuple[str, ...] = ()
    """Names of nodes that lack an entry in some table."""
    calls: Counter[str] = field(default_factory=Counter)
    """EC2 calls of the controllers by action."""
    throttled: int = 0

    @property
    def paths(self) -> Counter[str]:
        """Pairs by path, over all zones."""
        return sum(self.pairs.values(), Counter())


def look(stage: Stage) -> Figures:
    """Read both APIs."""
    nodes = {item["metadata"]["name"]: project.node(item) for item in stage.kube.list("nodes")}
    routes = {item["metadata"]["name"]: project.node_route(item) for item in stage.kube.list("noderoutes")}
    calls: Counter[str] = Counter()
    for (action, _), number in stage.aws.calls.items():
        calls[action] += number
    return Figures(
        len(nodes),
        Counter(_reason(node.condition) for node in nodes.values()),
        _fills(stage),
        count_pairs(routes, {route: stage.nodes[route].zone.name[-1] for route in routes if route in stage.nodes}),
        routes,
        tuple(sorted(name for name, node in nodes.items() if _reason(node.condition) == "OverlayFallback")),
        calls,
        sum(number for (_, code), number in stage.aws.calls.items() if code == "RequestLimitExceeded"),
    )


def _reason(condition: Condition | None) -> str:
    return condition.reason if condition else ""


def _fills(stage: Stage) -> tuple[Fill, ...]:
    pool = Cidr.parse(POOL)
    fills = []
    for zone in stage.vpc.zones:
        entries = stage.aws.scene.routes(zone.route_table_id)
        ours = sum(1 for to, route in entries.items() if "NetworkInterfaceId" in route and pool.covers(Cidr.parse(to)))
        highest = stage.aws.highest.get((zone.route_table_id, "ipv4"), 0)
        fills.append(Fill(zone.route_table_id, zone.name, ours, len(entries) - ours, highest))
    return tuple(fills)


def count_pairs(routes: Mapping[str, NodeRoute], zones: Mapping[str, str]) -> Pairs:
    """Count pairs of nodes by their zones and path, class by class."""
    classes = Counter((zones[name], Class.of(route.spec)) for name, route in routes.items() if name in zones)
    pairs: dict[tuple[str, str], Counter[str]] = {}
    listed = list(classes.items())
    for i, ((zone, one), many) in enumerate(listed):
        for (other_zone, other), others in listed[i:]:
            number = many * (many - 1) // 2 if (zone, one) == (other_zone, other) else many * others
            key = (min(zone, other_zone), max(zone, other_zone))
            pairs.setdefault(key, Counter())[pair_path(one, other)] += number
    return pairs


# --- checks -------------------------------------------------------------------------------------


def faults(stage: Stage, figures: Figures) -> list[str]:
    """Return every violation of the state required at rest, as sentences; [] without any."""
    found = [
        f"{fill.id} held {fill.highest} entries, the limit is {LIMIT}" for fill in figures.fills if fill.highest > LIMIT
    ]
    if set(figures.routes) != set(stage.nodes):
        odd = sorted(set(figures.routes) ^ set(stage.nodes))
        found.append(f"NodeRoutes and nodes differ: {', '.join(odd[:5])}")
    cidrs = Counter(cidr for route in figures.routes.values() for cidr in route.spec.pod_cidrs)
    found += [f"{cidr} is published {number} times" for cidr, number in cidrs.items() if number > 1]
    found += _bad_promises(stage, figures)
    living = {machine.interface_id for machine in stage.nodes.values()}
    for zone in stage.vpc.zones:
        for destination, route in stage.aws.scene.routes(zone.route_table_id).items():
            target = route.get("NetworkInterfaceId", "")
            if target and target not in living:
                found.append(f"{zone.route_table_id} still routes {destination} to {target}, which is gone")
    return found


def _bad_promises(stage: Stage, figures: Figures) -> list[str]:
    """Return native paths without an active route to the right ENI, and nodes whose source/dest check is on."""
    tables = {zone.route_table_id: stage.aws.scene.routes(zone.route_table_id) for zone in stage.vpc.zones}
    found = []
    for name, route in figures.routes.items():
        machine = stage.nodes.get(name)
        for table_id in route.spec.native_in:
            for cidr in route.spec.pod_cidrs:
                entry = tables[table_id].get(str(cidr), {})
                right = machine and entry.get("NetworkInterfaceId") == machine.interface_id
                if not right or entry.get("State") != "active":
                    found.append(f"{name} is published native in {table_id}, which does not route {cidr} to it")
    checked = stage.aws.scene.ec2.describe_network_interfaces(Filters=[{"Name": "vpc-id", "Values": [stage.vpc.id]}])[
        "NetworkInterfaces"
    ]
    on = {interface["NetworkInterfaceId"] for interface in checked if interface["SourceDestCheck"]}
    found += [f"{n}: its source/dest check is still on" for n, m in stage.nodes.items() if m.interface_id in on]
    return found

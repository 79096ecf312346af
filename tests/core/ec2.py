"""A model of EC2 for properties of the pure core: instances, and route tables with their limits.

It holds nothing but values. A step is checked as AWS checks it (a taken destination, a full table), and for what must
hold at each single step: foreign routes untouched, limits kept.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace

from cloudroute.core.cluster.model import ChangeRoute, Policy
from cloudroute.types import Cidr, Family, Instance, InstanceState, Interface, NodeRouteSpec, Route, RouteTable, Subnet

VPC = "vpc-1"
LOCAL = Cidr.parse("10.0.0.0/8")
LOCAL6 = Cidr.parse("fd10::/56")


@dataclass
class Ec2Model:
    """Zones are letters; each has a subnet and, unless `one_table`, a table of its own."""

    policy: Policy
    zones: str = "abc"
    one_table: bool = False
    ipv6_only: str = ""
    """Zones whose subnets have no IPv4."""
    limit: int = 50
    real_limit: dict[tuple[str, Family], int] = field(default_factory=dict)
    """AWS's own limit, where that is lower than the configured one."""
    instances: dict[str, Instance] = field(default_factory=dict)
    tables: dict[str, RouteTable] = field(default_factory=dict)
    """Their `routes` are changed in place; a snapshot has copies."""
    subnets: dict[str, Subnet] = field(default_factory=dict)
    prefix_lists: dict[str, tuple[Family, int]] = field(default_factory=dict)
    refused: set[tuple[str, Family]] = field(default_factory=set)
    foreigners: dict[tuple[str, Cidr | str], Route] = field(default_factory=dict)
    """Routes that others have made, and that must still be there."""
    entries: Counter[tuple[str, Family]] = field(default_factory=Counter)
    """Number of entries in each table now, as AWS counts them."""
    highest: Counter[tuple[str, Family]] = field(default_factory=Counter)
    """The most entries that a table ever held."""
    asked: Counter[tuple[str, Family]] = field(default_factory=Counter)
    """Creates that were answered RouteLimitExceeded."""
    ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        names = ["rtb-main"] if self.one_table else [f"rtb-{zone}" for zone in self.zones]
        for name in names:
            subnets = () if self.one_table else (f"subnet-{name[-1]}",)
            self.tables[name] = RouteTable(name, VPC, subnets, {}, {}, main=self.one_table)
            for local in (LOCAL, LOCAL6):
                if local.family in self.policy.families:
                    self._foreign(name, Route(local, "local"))
        for number, zone in enumerate(self.zones):
            cidr = Cidr.parse(f"fd10:0:0:{number}::/64" if zone in self.ipv6_only else f"10.{number}.0.0/16")
            self.subnets[f"subnet-{zone}"] = Subnet(f"subnet-{zone}", VPC, f"zone-{zone}", (cidr,))

    # --- what others do ---------------------------------------------------------------------------

    def launch(self, zone: str = "a", *, checked: bool = True, interfaces: int = 1) -> str:
        """Start an instance; its id."""
        number = next(self.ids)
        index = self.zones.index(zone)
        address = f"10.{index}.{number // 250}.{number % 250 + 4}"
        if zone in self.ipv6_only:
            address = f"fd10:0:0:{index}::{number + 4:x}"
        enis = tuple(
            Interface(f"eni-{number:04}{'x' * index}", index, f"subnet-{zone}", (address,), source_dest_check=checked)
            for index in range(interfaces)
        )
        self.instances[f"i-{number:04}"] = Instance(f"i-{number:04}", "running", VPC, f"zone-{zone}", enis)
        return f"i-{number:04}"

    def state(self, instance: str, state: InstanceState) -> None:
        """Stop, start or terminate an instance; its routes follow."""
        old = self.instances[instance]
        gone = state in ("terminated", "shutting-down")
        self.instances[instance] = replace(old, state=state, interfaces=() if gone else old.interfaces)
        self._routes_follow({interface.id for interface in old.interfaces}, blackhole=state != "running")

    def replace_interface(self, instance: str, *, checked: bool = True) -> str:
        """Give an instance another primary ENI, as on a start from a template; the new id. The old ENI is gone."""
        old = self.instances[instance]
        primary = Interface(
            f"eni-{next(self.ids):04}",
            0,
            old.interfaces[0].subnet_id,
            old.interfaces[0].addresses,
            source_dest_check=checked,
        )
        self.instances[instance] = replace(old, interfaces=(primary, *old.interfaces[1:]))
        self._routes_follow({old.interfaces[0].id}, blackhole=True)
        return primary.id

    def _routes_follow(self, enis: set[str], *, blackhole: bool) -> None:
        for table in self.tables.values():
            for destination, route in table.routes.items():
                if route.target in enis:
                    after = route._replace(blackhole=blackhole)
                    self._routes(table.id)[destination] = after
                    if (table.id, destination) in self.foreigners:
                        self.foreigners[table.id, destination] = after

    def switch_check(self, instance: str, *, on: bool) -> None:
        """Switch the source/dest check of an instance's primary ENI."""
        old = self.instances[instance]
        primary = replace(old.interfaces[0], source_dest_check=on)
        self.instances[instance] = replace(old, interfaces=(primary, *old.interfaces[1:]))

    def foreign(self, table: str, destination: str, target: str = "igw-1", **flags: bool) -> None:
        """Somebody else adds a route; `pl-…` routes a prefix list. flags: blackhole, propagated."""
        to: Cidr | str = destination if destination.startswith("pl-") else Cidr.parse(destination)
        self._foreign(table, Route(to, target, **flags))

    def _foreign(self, table: str, route: Route) -> None:
        self.put(table, route)
        self.foreigners[table, route.destination] = route

    def remove(self, table: str, destination: str) -> None:
        """Somebody removes a route."""
        self._drop(table, Cidr.parse(destination))
        self.foreigners.pop((table, Cidr.parse(destination)), None)

    # --- entries of a table -----------------------------------------------------------------------

    def put(self, table: str, route: Route) -> None:
        """Have a table hold that route."""
        old = self._routes(table).get(route.destination)
        self._routes(table)[route.destination] = route
        self._count(table, route, 1)
        if old:
            self._count(table, old, -1)

    def _drop(self, table: str, destination: Cidr) -> None:
        self._count(table, self._routes(table).pop(destination), -1)

    def _count(self, table: str, route: Route, sign: int) -> None:
        destination = route.destination
        family, entries = self.prefix_lists[destination] if isinstance(destination, str) else (destination.family, 1)
        if not route.propagated:
            self.entries[table, family] += sign * entries
            self.highest[table, family] = max(self.entries[table, family], self.highest[table, family])

    def _routes(self, table: str) -> dict[Cidr | str, Route]:
        routes = self.tables[table].routes
        assert isinstance(routes, dict)
        return routes

    def used(self, table: str, family: Family = "ipv4") -> int:
        """Entries of a family."""
        return self.entries[table, family]

    def ours(self, table: str) -> set[str]:
        """Destinations that nobody else has put there."""
        return {str(d) for d in self.tables[table].routes if (table, d) not in self.foreigners}

    # --- what a packet meets ----------------------------------------------------------------------

    def reaches(self, table: str, spec: NodeRouteSpec) -> bool:
        """Whether a packet by `table` reaches the node: an active route per family, and the check off."""
        routes = self.tables[table].routes
        return not self.checked(spec.network_interface_id) and all(
            routes.get(cidr) == Route(cidr, spec.network_interface_id) for cidr in self.routable(spec)
        )

    def routable(self, spec: NodeRouteSpec) -> tuple[Cidr, ...]:
        """The CIDRs whose packets its ENI can take: without an IPv4 address, no IPv4 ones."""
        found = self._interface(spec.network_interface_id)
        ipv6_only = found is not None and found[1].subnet_id[-1] in self.ipv6_only
        return tuple(cidr for cidr in spec.pod_cidrs if not ipv6_only or cidr.family == "ipv6")

    def checked(self, eni: str) -> bool:
        """Whether an ENI's source/dest check is on."""
        found = self._interface(eni)
        return found is not None and found[1].source_dest_check

    def _interface(self, eni: str) -> tuple[Instance, Interface] | None:
        likely = self.instances.get(f"i-{eni[4:8]}")
        for instance in ([likely] if likely else []) + list(self.instances.values()):
            for interface in instance.interfaces:
                if interface.id == eni:
                    return instance, interface
        return None

    # --- what cloudroute does ---------------------------------------------------------------------

    def disable_check(self, eni: str) -> None:
        """Switch the check of a primary ENI off."""
        found = self._interface(eni)
        assert found, f"{eni} does not exist"
        instance, interface = found
        assert interface is instance.primary, "a check is switched for the primary ENI alone"
        assert interface.source_dest_check, "a call for nothing"
        self.switch_check(instance.id, on=False)

    def change_route(self, step: ChangeRoute) -> bool:
        """Do the step; False when the table is full."""
        routes, key = self._routes(step.table_id), (step.table_id, step.destination.family)
        assert (step.table_id, step.destination) not in self.foreigners, f"a foreign route: {step}"
        assert (step.destination in routes) == (step.verb != "create"), step
        if step.verb == "delete":
            self._drop(step.table_id, step.destination)
            return True
        if step.verb == "create":
            assert self.entries[key] < self.limit, f"above the limit: {step}"
            if self.entries[key] >= self.real_limit.get(key, self.limit):
                self.refused.add(key)
                self.asked[key] += 1
                return False
        found = self._interface(step.interface_id)
        running = found is not None and found[0].state == "running"
        self.put(step.table_id, Route(step.destination, step.interface_id, not running))
        return True

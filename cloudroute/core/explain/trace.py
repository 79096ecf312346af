"""Path of a packet between two ends: pods, nodes' own addresses, or addresses outside. From Kubernetes alone.

A pod keeps its address toward pods, toward nodes, and toward subnets of the VPC whose route table leads to its node,
with --gateway-keeps-source also by a gateway; toward all other destinations it is masqueraded as its node. So an
explanation includes the path of the reply.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from cloudroute.core.paths import (
    Explanation,
    address_of,
    entries,
    explain,
    family_path,
    lack,
    node_families,
    pair_reason,
    pair_steps,
)
from cloudroute.errors import CloudrouteError
from cloudroute.types import BITS, Aggregate, Cidr, Family, NodeRouteSpec, RouteTableObject, Subnet, family_of


class End(NamedTuple):
    """One end of a packet's path. `addresses` of a pod is () where any pod of the node may be meant."""

    kind: Literal["pod", "node", "outside"]
    node: str
    """Name of the node that the end is or runs on; "" for an address outside."""
    addresses: tuple[str, ...]


def end_at(address: str, specs: Mapping[str, NodeRouteSpec]) -> End:
    """The end with this address, by NodeRoutes: a node, a node's pod, or an end outside."""
    family, number = family_of(address), int(ipaddress.ip_address(address))
    for name, spec in specs.items():
        if address in spec.node_ips:
            return End("node", name, (address,))
        if any(_holds(cidr, family, number) for cidr in spec.pod_cidrs):
            return End("pod", name, (address,))
    return End("outside", "", (address,))


def trace(
    source: End,
    target: End,
    specs: Mapping[str, NodeRouteSpec],
    tables: Mapping[str, RouteTableObject],
    *,
    keeps_source: bool = False,
) -> Explanation:
    """Explain the path of a packet from `source` to `target`. Their nodes must be in `specs`.

    `keeps_source`: whether the agents run with --gateway-keeps-source.
    Raises CloudrouteError when no packet can go: the ends have no address family in common, or both are outside.
    """
    if not source.node and not target.node:
        raise CloudrouteError(
            f"{source.addresses[0]} and {target.addresses[0]} are of no pod CIDR, no node and no running pod that "
            "cloudroute knows of: at least one end must be"
        )
    family = _family(source, target, specs)
    way = _Trace(source, target, family, specs, tables, keeps_source)
    if source.node == target.node:
        return way.local()
    if target.kind == "outside":
        return way.out() if source.kind == "pod" else way.plain()
    if source.kind == "outside":
        return way.into() if target.kind == "pod" else way.plain()
    if source.kind == target.kind == "node":
        return way.plain()
    if source.kind == "node":
        return way.from_node()
    return way.to_node() if target.kind == "node" else way.between_pods()


def _family(source: End, target: End, specs: Mapping[str, NodeRouteSpec]) -> Family:
    """The first family of the source that the target has too."""
    first, second = _families(source, specs), _families(target, specs)
    for family in first:
        if family in second:
            return family
    raise CloudrouteError(
        f"the one end has {_listed(first)}, the other {_listed(second)}: no packet goes between address families"
    )


def _families(end: End, specs: Mapping[str, NodeRouteSpec]) -> list[Family]:
    return [family_of(ip) for ip in end.addresses] or [cidr.family for cidr in specs[end.node].pod_cidrs]


def _listed(families: list[Family]) -> str:
    return " and ".join(dict.fromkeys(families)) or "no address"


@dataclass(frozen=True, slots=True)
class _Trace:
    """Two ends, and the NodeRoutes and RouteTables that decide the path between them."""

    source: End
    target: End
    family: Family
    specs: Mapping[str, NodeRouteSpec]
    tables: Mapping[str, RouteTableObject]
    keeps_source: bool

    # --- both on one node -------------------------------------------------------------------

    def local(self) -> Explanation:
        a = self.source.node
        kinds = (self.source.kind, self.target.kind)
        if kinds == ("pod", "pod"):
            return explain(a, a, self.specs, self.tables)._replace(source=self._from)
        if kinds == ("node", "node"):
            return Explanation("local", f"both are {a} itself", (f"it does not leave {a}",), "node", self._from)
        reason = f"the pod is on {a} itself"
        if kinds == ("pod", "node"):
            return Explanation(
                "local", reason, (f"it comes to {a} by its cable, and goes no further",), "pod", self._from
            )
        gateway = _nth(self._cidr(a), 1)
        steps = (f"{a} sends it by the pod's cable, from the pods' gateway {gateway}",)
        return Explanation("local", reason, steps, "node", gateway)

    # --- pods and nodes of the cluster ------------------------------------------------------

    def between_pods(self) -> Explanation:
        a, b = self.source.node, self.target.node
        path, reason = pair_reason(a, b, self.specs, self.tables, self.family)
        if path == "none":
            return _no_way(reason)
        steps = pair_steps(a, b, self.specs, self.family)
        if path == "native" and (gateway := self._gateway(self.specs[a].route_table_id)):
            steps += (f"without that entry: by gateway {gateway.node}, then {self._onward(gateway.node, b)}",)
        return Explanation(path, reason, steps, "pod", self._from)

    def to_node(self) -> Explanation:
        """From a pod to a node's own address: the VPC delivers it; only the reply is for a pod CIDR."""
        a, b = self.source.node, self.target.node
        if self._cut_off(a):
            return _no_way(self._why_cut_off(a))
        path, reason = pair_reason(a, b, self.specs, self.tables, self.family)
        if path == "none":
            return _no_way(reason)
        steps = (
            f"{a} sends it from {self._interface(a)} with {self._pod}: toward nodes no pod is masqueraded",
            self._carried(),
            *_back(pair_steps(b, a, self.specs, self.family)),
        )
        reason = f"the VPC knows the way to a node, so only the reply takes the path between the two: {reason}"
        return Explanation(path, reason, steps, "pod", self._from)

    def from_node(self) -> Explanation:
        """From a node to a pod: both directions take the pair's path, as the host has one source for all paths."""
        a, b = self.source.node, self.target.node
        path, reason = pair_reason(a, b, self.specs, self.tables, self.family)
        if path == "none":
            return _no_way(reason)
        base = _nth(self._cidr(a), 0)
        steps = (
            f"{a} sends from {base}, the first address of its pod CIDR, so that the reply comes by the same path",
            *pair_steps(a, b, self.specs, self.family),
            *_back(pair_steps(b, a, self.specs, self.family, "the host")),
        )
        return Explanation(path, reason, steps, "node", base)

    # --- carried by the VPC as without cloudroute -------------------------------------------

    def plain(self) -> Explanation:
        """Neither end is a pod, so no entry of ours is involved."""
        ends = [end for end in (self.source, self.target) if end.node]
        whose = " and ".join(f"{self._address(end)} is {end.node}'s own address" for end in ends)
        reason = f"{whose}: the VPC carries it as if there were no pods"
        kind: Literal["node", "outside"] = "node" if self.source.kind == "node" else "outside"
        return Explanation("vpc", reason, (self._carried(),), kind, self._from)

    def out(self) -> Explanation:
        """From a pod to the outside: with its own address only if a route leads the reply back to it."""
        a, spec = self.source.node, self.specs[self.source.node]
        if self._cut_off(a):
            return _no_way(self._why_cut_off(a))
        interface, outside = self._interface(a), self._address(self.target)
        served = self._served(outside, a)
        native = served is not None and served[0].id in spec.native_in
        gateway = self._aggregate(served[0].id, a) if served and not native and self.keeps_source else None
        if served and (native or gateway) and not _reserved(outside, served[1]):
            table, subnet = served
            by = f" by gateway {gateway.node}" if gateway else ""
            reason = f"{outside} is in {subnet.id}, whose {table.id} leads to {a}{by}: the pod keeps its address"
            steps = (
                f"{a} sends it from {interface} with {self._pod}",
                self._carried(),
                *_back(self._by_gateway(table, gateway, a) if gateway else self._entered(table, a)),
            )
            return Explanation("vpc", reason, steps, "pod", self._from)
        host = address_of(spec, self.family)
        reason = f"masqueraded, since {self._masquerade(served, outside, a)}"
        steps = (
            f"{a} sends it from {interface} with its own address {host} in place of {self._pod}",
            self._carried(),
            f"reply: the VPC brings it to {host}, and {a} hands it to the pod",
        )
        return Explanation("vpc", reason, steps, "node", host if host in spec.node_ips else "")

    def into(self) -> Explanation:
        """From the outside to a pod: by an entry in the route table of the sender's subnet, else by its gateway."""
        b, spec = self.target.node, self.specs[self.target.node]
        if self._cut_off(b):
            return _no_way(self._why_cut_off(b))
        outside = self._address(self.source)
        served = self._served(outside, b)
        native = served is not None and served[0].id in spec.native_in
        gateway = self._gateway(served[0].id) if served and not native else None
        if not served or not (native or gateway):
            reason = f"{self._lacking(served, outside, b)}: only nodes reach this pod"
            return _no_way(reason)
        table, subnet = served
        if gateway:
            onward = self._onward(gateway.node, b)
            reason = f"{self._lacking(served, outside, b)}: by gateway {gateway.node}, then {onward}"
            entered = self._by_gateway(table, gateway, b)
        else:
            reason = f"{outside} is in {subnet.id}, whose {table.id} leads to {b}"
            entered = self._entered(table, b)
        steps = (
            f"{outside} sends to the gateway of {subnet.id}",
            *entered,
            f"reply: {b} sends it from {self._interface(b)} with the pod's address, and the VPC carries it",
        )
        return Explanation("vpc", reason, steps, "outside", outside)

    # --- by a gateway -----------------------------------------------------------------------

    def _gateway(self, table_id: str) -> Aggregate | None:
        """The aggregate of a table that leads to the target by a gateway that is there."""
        found = self._aggregate(table_id, self.target.node)
        return found if found and found.node in self.specs else None

    def _aggregate(self, table_id: str, node: str) -> Aggregate | None:
        """The aggregate of a table that holds a node's pod CIDR; prefers a gateway that is there."""
        table = self.tables.get(table_id)
        use = table.families.get(self.family) if table else None
        cidrs = [cidr for cidr in self.specs[node].pod_cidrs if cidr.family == self.family]
        found = (one for one in (use.gateways if use else ()) if any(map(one.destination.covers, cidrs)))
        return min(found, key=lambda one: one.node not in self.specs, default=None)

    def _onward(self, gateway: str, node: str) -> Literal["local", "direct", "overlay"]:
        """Path from a gateway to a node's pod, which is never native: so a packet passes one gateway."""
        if gateway == node:
            return "local"
        here, there = self.specs[gateway], self.specs[node]
        subnet = there.subnet_id if here.subnet_id == there.subnet_id else ""
        path = family_path("direct" if subnet else "overlay", self.family, node_families(here), node_families(there))
        return "direct" if path == "direct" else "overlay"

    def _by_gateway(self, table: RouteTableObject, aggregate: Aggregate, node: str) -> tuple[str, ...]:
        """Steps from a route table of the VPC to a pod by a gateway."""
        gateway = aggregate.node
        if gateway not in self.specs:
            return (
                f"{table.id}: {aggregate.destination} -> {gateway}, which has no NodeRoute, so replies may be lost",
            )
        interface = self.specs[gateway].network_interface_id
        entry = f"{table.id}: {aggregate.destination} -> {interface} of {gateway}, a gateway"
        onward = self._onward(gateway, node)
        if onward == "local":
            return (entry, f"{gateway} delivers it to the pod")
        by = {
            "direct": f"in a frame on {self.specs[node].subnet_id}",
            "overlay": "through the tunnel",
        }[onward]
        return (entry, f"{gateway} sends it on to {node} {by} ({onward})", f"{node} delivers it to the pod")

    def _cut_off(self, node: str) -> bool:
        """Whether the VPC carries no packet of this family to or from a node: its known subnet has no such CIDR."""
        spec = self.specs[node]
        subnet = next((s for t in self.tables.values() for s in t.subnets if s.id == spec.subnet_id), None)
        return subnet is not None and all(cidr.family != self.family for cidr in subnet.cidrs)

    def _why_cut_off(self, node: str) -> str:
        return f"{self.specs[node].subnet_id} has no {self.family}: {self.family} pods of {node} reach pods alone"

    # --- words ------------------------------------------------------------------------------

    @property
    def _from(self) -> str:
        """The source's address; "" where any pod of a node is meant."""
        return self._address(self.source)

    @property
    def _pod(self) -> str:
        return f"the pod's address {self._from}".rstrip()

    def _address(self, end: End) -> str:
        return next((ip for ip in end.addresses if family_of(ip) == self.family), "")

    def _interface(self, node: str) -> str:
        return f"its interface {self.specs[node].network_interface_id}"

    def _cidr(self, node: str) -> Cidr:
        for cidr in self.specs[node].pod_cidrs:
            if cidr.family == self.family:
                return cidr
        raise CloudrouteError(f"{node} has no {self.family} pod CIDR, so it reaches no {self.family} pod")

    def _carried(self) -> str:
        """The step by which the VPC delivers a packet from the source's machine to the target's address."""
        target, spec = self._address(self.target), self.specs.get(self.source.node)
        start = address_of(spec, self.family) if spec and self.source.kind == "pod" else self._from
        here, there = _subnet_of(start, self.tables), _subnet_of(target, self.tables)
        if here and there and here[1].id == there[1].id:
            return f"{here[1].id} delivers it to {target}; no route table applies inside a subnet"
        table_id = spec.route_table_id if spec else here[0].id if here else ""
        table = f"{table_id}: " if table_id else ""
        if there or self.target.kind == "node":
            return f"{table}the VPC's local route leads to {target}"
        return (
            f"{table}whatever route it has for {target} leads on"
            if table
            else f"somebody else's routes lead to {target}"
        )

    def _entered(self, table: RouteTableObject, node: str) -> tuple[str, str]:
        """Steps from a route table of the VPC to a pod."""
        return (
            f"{table.id}: {entries(self.specs[node], self.family)}",
            f"{node} takes it, its source/dest check being off, and delivers it to the pod",
        )

    def _served(self, address: str, node: str) -> tuple[RouteTableObject, Subnet] | None:
        """The subnet that holds an outside address, with its table; prefers a table that leads to the node."""

        def rank(table: RouteTableObject) -> tuple[bool, bool]:
            return table.id not in self.specs[node].native_in, self._aggregate(table.id, node) is None

        return min(_holding(address, self.tables), key=lambda one: rank(one[0]), default=None)

    def _masquerade(self, served: tuple[RouteTableObject, Subnet] | None, outside: str, node: str) -> str:
        if served and _reserved(outside, served[1]):
            subnet = served[1]
            return f"{outside} is one of the first four addresses of {subnet.id}: AWS's own answer VPC addresses only"
        return self._lacking(served, outside, node)

    def _lacking(self, served: tuple[RouteTableObject, Subnet] | None, outside: str, node: str) -> str:
        if served is None:
            return (
                f"{outside} is in no subnet whose route table cloudroute fills, and nothing there leads to a pod CIDR"
            )
        table, subnet = served
        return f"{outside} is in {subnet.id}, and {lack(node, table, table.id, self.specs[node])}"


def _no_way(reason: str) -> Explanation:
    return Explanation("none", reason, (), "")


def _back(steps: tuple[str, ...]) -> Iterator[str]:
    return (f"reply: {step}" for step in steps)


def _holds(cidr: Cidr, family: Family, number: int) -> bool:
    return cidr.family == family and cidr.base <= number < cidr.end


def _reserved(address: str, subnet: Subnet) -> bool:
    family, number = family_of(address), int(ipaddress.ip_address(address))
    return any(_holds(cidr, family, number) for cidr in subnet.reserved)


def _holding(address: str, tables: Mapping[str, RouteTableObject]) -> Iterator[tuple[RouteTableObject, Subnet]]:
    """The subnets that hold an address, each with its table."""
    try:
        family, number = family_of(address), int(ipaddress.ip_address(address))
    except ValueError:
        return
    for table in tables.values():
        for subnet in table.subnets:
            if any(_holds(cidr, family, number) for cidr in subnet.cidrs):
                yield table, subnet


def _subnet_of(address: str, tables: Mapping[str, RouteTableObject]) -> tuple[RouteTableObject, Subnet] | None:
    return next(_holding(address, tables), None)


def _nth(cidr: Cidr, number: int) -> str:
    """The address of a CIDR with this number, counted from 0."""
    return str(Cidr(cidr.family, cidr.base + number, BITS[cidr.family])).partition("/")[0]

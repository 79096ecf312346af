"""Frozen value types that all other modules use.

They are parsed once, at the edge (`adapters/`), and trusted inside. Nothing here does I/O.

Addresses are `Cidr` tuples and not `ipaddress` networks: a plan over 5,000 nodes hashes and compares
hundreds of thousands of them, and a tuple does that in C.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple

Family = Literal["ipv4", "ipv6"]
FAMILIES: tuple[Family, Family] = ("ipv4", "ipv6")
BITS: Mapping[Family, int] = {"ipv4": 32, "ipv6": 128}

Path = Literal["native", "direct", "overlay"]
"""Path of pod traffic between a pair of nodes."""
PATHS: tuple[Path, ...] = ("native", "direct", "overlay")
"""Best first."""
NodePath = Literal["native", "direct", "partial", "overlay"]
"""Path of one node: how many of its senders' route tables lead to it. Defined by `core.paths.node_path`."""
NODE_PATHS: tuple[NodePath, ...] = ("native", "direct", "partial", "overlay")
"""Best first."""


class Cidr(NamedTuple):
    """A network: `base` is its first address as a number, `length` its prefix length in bits.

    >>> str(Cidr.parse("10.0.4.0/24"))
    '10.0.4.0/24'
    >>> Cidr.parse("10.0.4.7/24")
    Traceback (most recent call last):
    ...
    ValueError: 10.0.4.7/24 has host bits set
    """

    family: Family
    base: int
    length: int

    @classmethod
    def parse(cls, text: str) -> Cidr:
        """Read `text` as AWS and Kubernetes write it. Raises ValueError for anything else."""
        network = ipaddress.ip_network(text)
        family: Family = "ipv4" if network.version == 4 else "ipv6"
        return cls(family, int(network.network_address), network.prefixlen)

    @property
    def size(self) -> int:
        """Number of addresses."""
        return 1 << (BITS[self.family] - self.length)

    @property
    def end(self) -> int:
        """First address after the network, as a number."""
        return self.base + self.size

    def covers(self, other: Cidr) -> bool:
        """Whether `other` lies inside this network or equals it.

        >>> Cidr.parse("10.0.0.0/16").covers(Cidr.parse("10.0.4.0/24"))
        True
        """
        return other.family == self.family and other.length >= self.length and self.base <= other.base < self.end

    def overlaps(self, other: Cidr) -> bool:
        """Whether the two networks share an address.

        >>> Cidr.parse("10.0.0.0/16").overlaps(Cidr.parse("10.0.4.0/24"))
        True
        """
        return self.covers(other) or other.covers(self)

    def __str__(self) -> str:
        base = self.base
        if self.family == "ipv4":  # by hand: a plan may name thousands, and `ipaddress` takes ten times as long
            return f"{base >> 24}.{base >> 16 & 255}.{base >> 8 & 255}.{base & 255}/{self.length}"
        return f"{ipaddress.IPv6Address(base)}/{self.length}"


NEVER_ROUTED = tuple(
    map(Cidr.parse, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/8", "fe80::/10", "ff00::/8"))
)
"""Loopback, link-local, multicast and unspecified addresses: no VPC carries them, and no pod or host has them."""
LEAST_IPV6_MTU = 1280
"""Least MTU of IPv6 in bytes: RFC 8200, section 5."""

# --- Kubernetes ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Condition:
    """A Node's `NetworkUnavailable` condition: status is "True", "False" or "Unknown"."""

    status: str
    reason: str
    message: str


GatewayRole = Literal["none", "candidate", "retiring"]
"""Whether --gateway-nodes selects a Node. "retiring": selected, but cordoned, unready or being deleted."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Kubernetes Node, with the fields that cloudroute reads.

    `instance_id` is "" when providerID is missing or names no EC2 instance; `problem` then says why, in words.
    """

    name: str
    uid: str
    version: str
    """metadata.resourceVersion"""
    created: str
    """metadata.creationTimestamp, RFC 3339 UTC in whole seconds: sorts as text."""
    instance_id: str
    pod_cidrs: tuple[Cidr, ...] = ()
    """spec.podCIDRs in its order; unset is ()."""
    node_ips: tuple[str, ...] = ()
    """status.addresses of type InternalIP, in their order."""
    priority: int = 0
    """Annotation cloudroute.io/priority; higher values come first."""
    condition: Condition | None = None
    zone_hint: str = ""
    """Zone from providerID or topology.kubernetes.io/zone: tells the region if nothing else does."""
    problem: str = ""
    gateway: GatewayRole = "none"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A Node that is left alone, with the fields that tell whether it had a network of ours."""

    name: str
    version: str
    instance_id: str
    reason: str
    """windows, fargate, hybrid, auto-mode or "not selected"."""


@dataclass(frozen=True, slots=True)
class NodeRouteSpec:
    """A node as the controller publishes it to every agent; field by field the CRD's `spec`."""

    pod_cidrs: tuple[Cidr, ...]
    node_ips: tuple[str, ...]
    instance_id: str
    network_interface_id: str
    subnet_id: str
    """"" while no node may send to it directly: its source/dest check is on, or direct routing is off."""
    route_table_id: str
    """The route table that the node's own subnet uses, managed or not."""
    native_in: tuple[str, ...] = ()
    """Sorted ids of the route tables whose senders may reach the node natively."""
    gateway: bool = False
    """Whether the node forwards packets of the VPC to all other nodes' pods, and renews a Lease that says so."""


@dataclass(frozen=True, slots=True)
class NodeRoute:
    """A NodeRoute object: the controller's journal of its work for a node."""

    name: str
    uid: str
    version: str
    created: str
    spec: NodeRouteSpec
    status: Mapping[str, object] = field(default_factory=dict, hash=False)
    """The agent's status as written. Shown to people; decisions use only a `ready` of false and its reason."""
    generation: int = 0
    """metadata.generation: version counter of the spec."""


STOPPED = "AgentStopped"
"""Reason in the last status of an agent that ended on a signal. The node follows no change until it starts again."""


@dataclass(frozen=True, slots=True)
class Subnet:
    """An EC2 subnet."""

    id: str
    vpc_id: str
    zone: str
    cidrs: tuple[Cidr, ...]

    @property
    def reserved(self) -> tuple[Cidr, ...]:
        """The first four addresses of each CIDR, which AWS reserves (VPC user guide, "Subnet CIDR blocks").

        In the subnet that starts at the VPC's first address, the third one belongs to the Route 53 Resolver.
        """
        return tuple(Cidr(cidr.family, cidr.base, max(cidr.length, BITS[cidr.family] - 2)) for cidr in self.cidrs)


class Aggregate(NamedTuple):
    """A route for a whole pool, or for an equal part of one, and the gateway that it leads to."""

    destination: Cidr
    node: str
    interface: str = ""
    """ENI that the route leads to; "" in a journal of a release that did not record it."""


@dataclass(frozen=True, slots=True)
class FamilyUse:
    """Entries of one family in a route table: `used` = `ours` + `foreign`."""

    limit: int
    """The configured limit: --route-limit or the quota."""
    learned_limit: int | None
    """The lower limit that AWS showed by a refusal; None if it never did."""
    used: int
    ours: int
    foreign: int
    gateways: tuple[Aggregate, ...] = ()
    """The aggregates whose routes were seen, by destination."""
    intended: tuple[Aggregate, ...] = ()
    """Those whose routes are to be created: the controller's own journal, which agents must not believe."""

    @property
    def journal(self) -> tuple[Aggregate, ...]:
        """All aggregates that a route of ours may be for."""
        return (*self.gateways, *self.intended)

    @property
    def capacity(self) -> int:
        """Entries that the table can hold: the configured limit, or the lower one that AWS showed."""
        return self.limit if self.learned_limit is None else min(self.limit, self.learned_limit)


@dataclass(frozen=True, slots=True)
class RouteTableObject:
    """A RouteTable object of Kubernetes: the controller's report on an EC2 route table."""

    id: str
    version: str
    vpc_id: str
    subnets: tuple[Subnet, ...]
    """The subnets that use the table, sorted by id."""
    families: Mapping[Family, FamilyUse] = field(default_factory=dict, hash=False)
    created: str = ""


@dataclass(frozen=True, slots=True)
class PodAddress:
    """A pod's node and addresses, for `cloudroute path`."""

    namespace: str
    name: str
    node: str
    ips: tuple[str, ...]
    host_network: bool = field(kw_only=True)


GATEWAY_LEASE = "gw-"
"""Prefix of the name of a gateway's Lease; the name of its node follows."""


class Renewal(NamedTuple):
    """A renewal of a gateway's Lease."""

    owner: str
    """Uid of the NodeRoute for which it was renewed: a machine that replaces another one under its name has its own."""
    time: str
    """renewTime as text."""


@dataclass(frozen=True, slots=True)
class GatewayLease:
    """The Lease of a gateway."""

    node: str
    renewal: Renewal


RENEW_SECONDS = 1.0
"""Seconds between two renewals of a gateway's Lease."""


class Pulse(NamedTuple):
    """The gateways that renew their Leases."""

    fresh: Mapping[str, str] = {}
    """By name of the node: uid of the NodeRoute for which the Lease was last renewed."""
    judged: bool = False
    """Whether the controller has listened for long enough to say that all other gateways are silent."""
    settled: bool = False
    """Whether each gateway that lives has been heard, if the API server was there."""


NO_PULSE = Pulse()


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The coordination.k8s.io Lease. Times are RFC 3339 UTC with microseconds; `holder` "" means free."""

    holder: str
    duration_seconds: int
    acquire_time: str
    renew_time: str
    transitions: int
    version: str = ""


# --- EC2 ----------------------------------------------------------------------------------------


CLUSTER_TAG = "kubernetes.io/cluster/"
"""Prefix of a tag key. With a cluster's name after it, the tag marks a resource of that cluster, whatever its value."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface (ENI) attached to an instance."""

    id: str
    device_index: int
    subnet_id: str
    source_dest_check: bool = field(kw_only=True)
    addresses: tuple[str, ...] = ()
    """Private IPv4 addresses, primary first, then IPv6 addresses."""


InstanceState = Literal["pending", "running", "stopping", "stopped", "shutting-down", "terminated"]


@dataclass(frozen=True, slots=True)
class Instance:
    """An EC2 instance with its interfaces, sorted by device index."""

    id: str
    state: InstanceState
    vpc_id: str
    zone: str
    interfaces: tuple[Interface, ...]

    @property
    def primary(self) -> Interface | None:
        """The interface with device index 0: the target of every route to this instance."""
        return self.interfaces[0] if self.interfaces and self.interfaces[0].device_index == 0 else None


class InterfaceOwner(NamedTuple):
    """An instance that is not terminated and is no node of ours, though a route in our cluster CIDR leads to it."""

    instance_id: str
    clusters: frozenset[str]
    """Names of the clusters that the instance is tagged for: kubernetes.io/cluster/NAME."""


class Route(NamedTuple):
    """One entry of a route table. `destination` is a prefix list's id where the entry routes a list."""

    destination: Cidr | str
    target: str
    """eni-…, igw-…, nat-…, pcx-…, tgw-…, vgw-…, vpce-…, i-… or "local"; "" when AWS names none."""
    blackhole: bool = False
    propagated: bool = False
    """Origin EnableVgwRoutePropagation or Advertisement: counts against a quota of its own."""


@dataclass(frozen=True, slots=True)
class RouteTable:
    """An EC2 route table. A route is looked up by destination: `routes` maps it to its entry."""

    id: str
    vpc_id: str
    main: bool = field(kw_only=True)
    subnet_ids: tuple[str, ...]
    """Explicit associations only."""
    tags: Mapping[str, str] = field(hash=False)
    routes: Mapping[Cidr | str, Route] = field(hash=False)

    def __iter__(self) -> Iterator[Route]:
        return iter(self.routes.values())


@dataclass(frozen=True, slots=True)
class Notice:
    """A message about an object, for people: becomes an Event, a log line and a warning in `status`."""

    kind: Literal["Node", "RouteTable"]
    name: str
    uid: str
    reason: str
    """One CamelCase word."""
    message: str
    occasion: str = ""
    """Tells repeat occurrences apart, each of which is reported once; empty for a lasting condition, reported once."""
    _: KW_ONLY
    warning: bool = True


def timestamp(seconds: float) -> str:
    """Format seconds since the epoch as Kubernetes does: RFC 3339 UTC in whole seconds.

    >>> timestamp(1_790_000_000.7)
    '2026-09-21T14:13:20Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_time(seconds: float) -> str:
    """Format seconds since the epoch as Kubernetes' MicroTime: RFC 3339 UTC with microseconds.

    >>> micro_time(1_790_000_000.5)
    '2026-09-21T14:13:20.500000Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def family_of(address: str) -> Family:
    """The family of a textual address.

    >>> family_of("fd00::1")
    'ipv6'
    """
    return "ipv6" if ":" in address else "ipv4"

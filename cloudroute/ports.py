"""Protocols for everything that the loops need from outside: EC2, Kubernetes, the kernel, time.

`controller/` and `agent/` use these alone, never boto3 or a Kubernetes client; `adapters/` implement them;
`commands/` joins the two. All methods may be called from several threads. All raise `errors.ApiError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from cloudroute.dataplane import Host, Kind, PeerBytes, TransitSource
from cloudroute.types import (
    Cidr,
    Condition,
    Family,
    FamilyUse,
    Instance,
    InterfaceOwner,
    LeaseRecord,
    LeftOut,
    Node,
    NodeRoute,
    NodeRouteSpec,
    Notice,
    PodAddress,
    Pulse,
    RouteTable,
    RouteTableObject,
    Subnet,
)

T_co = TypeVar("T_co", covariant=True)


class Clock(Protocol):
    """Time, which tests replace by their own."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def now(self) -> float:
        """Seconds since the epoch, for people and for other machines."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Fence(Protocol):
    """The leader's right to write."""

    def check(self) -> None:
        """Raise LeaseLost unless the lease is provably ours long enough for one AWS write to finish."""
        ...


EC2_WRITES = ("CreateRoute", "ReplaceRoute", "DeleteRoute", "ModifyNetworkInterfaceAttribute")
"""The actions of `Ec2` that change something."""


class Ec2(Protocol):
    """The ten EC2 and Service Quotas calls that cloudroute makes, and no others.

    Reads return what EC2 shows, which may be older than our last write. They wait for a token and retry (except
    `owners`), and raise after the last attempt. Writes do neither: they check the fence, raise Deferred at once when no
    token is left, make one attempt, and leave retries to the loop.
    """

    def route_tables(self, vpc_id: str) -> Sequence[RouteTable]:
        """DescribeRouteTables of the VPC."""
        ...

    def instances(self, ids: Collection[str]) -> Mapping[str, Instance]:
        """DescribeInstances, by instance id. An id that EC2 does not know (yet) is absent."""
        ...

    def owners(self, interface_ids: Collection[str]) -> Mapping[str, InterfaceOwner]:
        """DescribeInstances, by ENI. An ENI that is gone, or on no instance or a terminated one, is absent.

        One attempt: no traffic depends on the answer.
        """
        ...

    def subnets(self, vpc_id: str) -> Mapping[str, Subnet]:
        """DescribeSubnets of the VPC, by subnet id."""
        ...

    def prefix_list_entries(self, ids: Collection[str]) -> Mapping[str, tuple[Family, int]]:
        """Family of each managed prefix list, and the number of route table entries that it counts for."""
        ...

    def route_quota(self) -> int:
        """The account's limit of routes per table (Service Quotas, L-93826ACB)."""
        ...

    def create_route(self, table_id: str, destination: Cidr, interface_id: str) -> None:
        """CreateRoute to an ENI."""
        ...

    def replace_route(self, table_id: str, destination: Cidr, interface_id: str) -> None:
        """ReplaceRoute to an ENI."""
        ...

    def delete_route(self, table_id: str, destination: Cidr) -> None:
        """DeleteRoute. An absent route is no error."""
        ...

    def disable_source_dest_check(self, interface_id: str) -> None:
        """ModifyNetworkInterfaceAttribute."""
        ...


class Kube(Protocol):
    """The controller's writes. Each returns the object from the API server's answer."""

    def assign_pod_cidrs(self, node: Node, cidrs: Sequence[Cidr]) -> Node:
        """Set spec.podCIDR(s). Raises LostRace when the answer shows that the Node has other CIDRs."""
        ...

    def set_condition(self, node: Node, condition: Condition) -> Node:
        """Set NetworkUnavailable, leaving every other condition alone."""
        ...

    def create_node_route(self, name: str, spec: NodeRouteSpec) -> NodeRoute: ...

    def update_node_route(self, old: NodeRoute, spec: NodeRouteSpec) -> NodeRoute:
        """Replace the spec. Raises LostRace when `old` is not the current version."""
        ...

    def delete_node_route(self, old: NodeRoute) -> None:
        """Delete exactly this object (by uid). An absent object is no error."""
        ...

    def write_route_table_object(self, old: RouteTableObject | None, report: RouteTableObject) -> RouteTableObject:
        """Create or update spec and status: two writes at most, none where nothing differs."""
        ...

    def delete_route_table_object(self, old: RouteTableObject) -> None: ...

    def event(self, notice: Notice) -> None:
        """An Event (events.k8s.io/v1) on the object of the notice. Never raises.

        Recorded once for each object, reason and occasion.
        """
        ...

    def service_cidrs(self) -> Sequence[Cidr]:
        """The Services' CIDRs as far as they are known: the whole range, else its first address, else ()."""
        ...

    def pod(self, namespace: str, name: str) -> PodAddress | None: ...

    def pod_at(self, address: str) -> PodAddress | None:
        """The running pod that has this address, if any."""
        ...


class Store(Protocol[T_co]):
    """The current objects of one kind, kept up to date by a reflector."""

    def items(self) -> Mapping[str, T_co]:
        """Objects by name: a snapshot that never changes afterwards."""
        ...

    def wait_synced(self, timeout: float) -> bool:
        """Whether the first full list has arrived."""
        ...


class Heartbeats(Protocol):
    """Renewals of the gateways' Leases, as heard so far. Times are monotonic seconds."""

    def judge(self, now: float) -> Pulse:
        """Say which gateways renew their Leases."""
        ...

    def next_change(self, now: float) -> float:
        """Earliest time at which a gateway may fall silent or be judged unless a Lease is renewed before.

        Infinity when there is none.
        """
        ...


class Cluster(Protocol):
    """The three kinds that the controller watches. Own writes are in the stores once the API server has answered."""

    @property
    def nodes(self) -> Store[Node]: ...
    @property
    def left_out(self) -> Store[LeftOut]:
        """Nodes that get no network, by their kind or by --node-selector."""
        ...

    @property
    def node_routes(self) -> Store[NodeRoute]: ...
    @property
    def route_table_objects(self) -> Store[RouteTableObject]: ...
    @property
    def heartbeats(self) -> Heartbeats:
        """Heartbeats up to now; none where no gateways are configured."""
        ...

    def start(self, changed: Callable[[], None]) -> None:
        """Start the reflectors; `changed` is called, from any thread, when a store has changed.

        Of heartbeats only the first one of a gateway that was silent, or is new, calls it.
        """
        ...

    @property
    def trouble(self) -> str:
        """Reason why a store is not up to date, in words; "" while all are."""
        ...

    def dead(self) -> str:
        """Name of a reflector thread that ended without being told to; "" while all run."""
        ...

    def stop(self) -> None:
        """Stop them within a second."""
        ...


K = TypeVar("K")
V = TypeVar("V")


class KindDriver(Protocol[K, V]):
    """Reads our entries of one kind (`dataplane.Kind`) in the kernel, and changes them.

    Never raises for a single entry; raises errors.KernelError when the kind as a whole can't be read or written.
    """

    def read(self, wanted: Collection[K]) -> dict[K, V]:
        """Return our entries, identified by protocol number, device, table, or by key (`wanted`) where keys are names.

        Omits entries that can't be expressed as a value (a learning VXLAN device, for example) if a put would overwrite
        them; always reports those that need removal.
        """
        ...

    def write(self, put: Mapping[K, V], drop: Collection[K]) -> dict[K, str]:
        """Put and remove entries. A put replaces in place where the kernel can; removing an absent entry is no failure.

        Returns the failures by key, in words that name the remedy. Replaces no foreign entry: a clash is a failure.
        """
        ...


class Kernel(Protocol):
    """A node's kernel and its files, as the agent sees them."""

    @property
    def tables(self) -> Mapping[Kind, KindDriver[Any, Any]]:
        """A driver for each of `dataplane.KINDS`."""
        ...

    def host(self, interface: str) -> Host:
        """State of the NIC; "" finds the NIC by the default route. Raises errors.KernelError, in words."""
        ...

    def listen(self, changed: Callable[[Collection[Kind]], None]) -> None:
        """Call `changed`, from its own thread, with the kinds that other programs have changed; own writes don't count.

        Names all kinds after the kernel dropped notifications, and "links" also when the NIC, its addresses or its
        default routes have changed.
        """
        ...

    def plugins(self) -> tuple[frozenset[str], Sequence[str]]:
        """Names of the installed CNI plugins among those that we use, and the folders that were searched."""
        ...

    def shadowing(self) -> Sequence[str]:
        """Other CNI configurations that a container runtime takes before ours, by file name."""
        ...

    def leases_of_others(self) -> Mapping[str, Collection[bytes]]:
        """Addresses that host-local gave to pods of other networks, by network; {} once our network has had pods."""
        ...

    def peer_bytes(self) -> Sequence[PeerBytes]:
        """The nftables counters; () while our table does not exist. Never raises."""
        ...

    def transit_packets(self) -> Mapping[TransitSource, int]:
        """Packets that this node has forwarded as a gateway, by source; {} while it is none. Never raises."""
        ...

    def dead(self) -> str:
        """Name of a thread that ended without being told to; "" while all run."""
        ...

    def close(self) -> None: ...


class Agents(Protocol):
    """An agent's reads and writes in Kubernetes: of Nodes the instance of its own alone, of statuses only its own."""

    @property
    def node_routes(self) -> Store[NodeRoute]: ...
    @property
    def route_table_objects(self) -> Store[RouteTableObject]: ...

    def start(self, changed: Callable[[], None]) -> None:
        """Start the reflectors; `changed` is called, from any thread, when a store has changed."""
        ...

    def instance_id(self) -> str:
        """Current instance id of the agent's own Node; "" if there is no such Node, or it names no instance.

        One request for each call. Raises errors.ApiError.
        """
        ...

    def write_status(self, route: NodeRoute, status: Mapping[str, object]) -> None:
        """Replace the status of the agent's own NodeRoute, exactly this object (by uid)."""
        ...

    def renew_gateway_lease(self, own: NodeRoute) -> None:
        """Renew the Lease of this node as a gateway, owned by its NodeRoute; create it where there is none.

        Each of its at most two requests takes a second at the most. Raises errors.ApiError.
        """
        ...

    @property
    def trouble(self) -> str:
        """Reason why a store is not up to date, in words; "" while all are."""
        ...

    def dead(self) -> str:
        """Name of a reflector thread that ended without being told to; "" while all run."""
        ...

    def stop(self) -> None:
        """Stop them within a second."""
        ...


class Leases(Protocol):
    """One Lease object. Each call has a timeout of a third of the renew deadline."""

    def read(self) -> LeaseRecord | None:
        """None when there is no such Lease yet."""
        ...

    def write(self, record: LeaseRecord) -> LeaseRecord:
        """Create (version "") or replace. Raises LostRace when another process has written it first."""
        ...


__all__ = [
    "EC2_WRITES",
    "Agents",
    "Clock",
    "Cluster",
    "Ec2",
    "Family",
    "FamilyUse",
    "Fence",
    "Host",
    "Kernel",
    "Kind",
    "KindDriver",
    "Kube",
    "Leases",
    "PeerBytes",
    "Store",
]

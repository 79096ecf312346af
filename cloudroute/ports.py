"""What the loops ask of the outside world, as Protocols.

`controller/` and `agent/` know these and nothing of boto3 or Kubernetes; `adapters/` fulfil them;
`cli.py` joins the two. All methods may be called from several threads. All raise `errors.ApiError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from cloudroute.dataplane import Host, Kind, PeerBytes
from cloudroute.types import (
    Cidr,
    Condition,
    Family,
    FamilyUse,
    Instance,
    InterfaceOwner,
    LeaseRecord,
    Node,
    NodeRoute,
    NodeRouteSpec,
    PodAddress,
    RouteTable,
    RouteTableObject,
    Subnet,
)

T_co = TypeVar("T_co", covariant=True)


class Clock(Protocol):
    """Time, so that tests own it."""

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


class Ec2(Protocol):
    """The ten EC2 and Service Quotas calls that cloudroute makes, and no others.

    Reads wait for their token and retry (`owners` aside); they raise only when that was in vain. Writes do neither:
    they check the fence, raise Deferred at once when no token is left, make one attempt, and leave retrying to the
    loop.
    """

    def route_tables(self, vpc_id: str) -> Sequence[RouteTable]:
        """DescribeRouteTables of the VPC, own writes that it does not show yet included."""
        ...

    def instances(self, ids: Collection[str]) -> Mapping[str, Instance]:
        """DescribeInstances, by instance id. An id that EC2 does not know (yet) is absent."""
        ...

    def owners(self, interface_ids: Collection[str]) -> Mapping[str, InterfaceOwner]:
        """DescribeInstances, by ENI. An ENI that is gone, or on no instance or a terminated one, is absent.

        One attempt: nobody's service hangs on it.
        """
        ...

    def subnets(self, vpc_id: str) -> Mapping[str, Subnet]:
        """DescribeSubnets of the VPC, by subnet id."""
        ...

    def prefix_list_entries(self, ids: Collection[str]) -> Mapping[str, tuple[Family, int]]:
        """The family of each managed prefix list, and how many entries it counts for in a route table."""
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
        """DeleteRoute. A route that is gone already is no error."""
        ...

    def disable_source_dest_check(self, interface_id: str) -> None:
        """ModifyNetworkInterfaceAttribute."""
        ...


class Kube(Protocol):
    """The writes of the controller. Each returns the object as the API server answered it."""

    def assign_pod_cidrs(self, node: Node, cidrs: Sequence[Cidr]) -> Node:
        """Set spec.podCIDR(s). Raises LostRace when the Node has others by now (compared in the answer)."""
        ...

    def set_condition(self, node: Node, condition: Condition) -> Node:
        """Set NetworkUnavailable, leaving every other condition alone."""
        ...

    def create_node_route(self, name: str, spec: NodeRouteSpec) -> NodeRoute: ...

    def update_node_route(self, old: NodeRoute, spec: NodeRouteSpec) -> NodeRoute:
        """Replace the spec. Raises LostRace when `old` is not the present version."""
        ...

    def delete_node_route(self, old: NodeRoute) -> None:
        """Delete that very object (by uid). Gone already is no error."""
        ...

    def write_route_table_object(self, old: RouteTableObject | None, report: RouteTableObject) -> RouteTableObject:
        """Create or update spec and status: two writes at most, none where nothing differs."""
        ...

    def delete_route_table_object(self, old: RouteTableObject) -> None: ...

    def event(
        self, kind: str, name: str, uid: str, warning: bool, reason: str, message: str, occasion: str = ""
    ) -> None:
        """An Event (events.k8s.io/v1) on an object of `kind` Node, NodeRoute or RouteTable. Never raises.

        It is said once for each object, reason and occasion.
        """
        ...

    def service_cidrs(self) -> Sequence[Cidr]:
        """What is known of the range of the Services' addresses: all of it, else its first address, else nothing."""
        ...

    def pod(self, namespace: str, name: str) -> PodAddress | None: ...

    def pod_at(self, address: str) -> PodAddress | None:
        """The running pod that has this address, if any."""
        ...


class Store(Protocol[T_co]):
    """The present objects of one kind, kept by a reflector."""

    def items(self) -> Mapping[str, T_co]:
        """By name; a snapshot that never changes afterwards."""
        ...

    def wait_synced(self, timeout: float) -> bool:
        """Whether the first full list has arrived."""
        ...


class Cluster(Protocol):
    """The three kinds the controller watches. Own writes show in the stores as soon as they were answered."""

    @property
    def nodes(self) -> Store[Node]: ...
    @property
    def node_routes(self) -> Store[NodeRoute]: ...
    @property
    def route_table_objects(self) -> Store[RouteTableObject]: ...

    def start(self, changed: Callable[[], None]) -> None:
        """Start the reflectors; `changed` is called, from any thread, when a store has changed."""
        ...

    @property
    def trouble(self) -> str:
        """Why a store is not up to date, in words; "" while all is well."""
        ...

    def dead(self) -> str:
        """The name of a reflector's thread that has ended though it was not told to; "" while all live."""
        ...

    def stop(self) -> None:
        """Stop them within a second."""
        ...


K = TypeVar("K")
V = TypeVar("V")


class KindDriver(Protocol[K, V]):
    """One kind of what a kernel holds (`dataplane.Kind`): what of it is ours, and a way to change it.

    Never raises for a single entry; raises errors.KernelError when the kind as a whole can't be read or written.
    """

    def read(self, wanted: Collection[K]) -> dict[K, V]:
        """All that is there and is ours: by protocol number, device or table; by key (`wanted`) where those are names.

        An entry that is ours but can't be expressed as a value (a learning VXLAN device, say) is left out if it is
        replaced by a write all the same, and never if it had to be removed.
        """
        ...

    def write(self, put: Mapping[K, V], drop: Collection[K]) -> dict[K, str]:
        """Put and remove; put replaces in place where the kernel can. Removing what is gone is no failure.

        Answers what failed, by key, in words that say what to do. Nothing foreign is replaced: a clash is a failure.
        """
        ...


class Kernel(Protocol):
    """A node's kernel and its files, as the agent sees them."""

    @property
    def tables(self) -> Mapping[Kind, KindDriver[Any, Any]]:
        """A table for each of `dataplane.KINDS`."""
        ...

    def host(self, interface: str) -> Host:
        """What is there of the NIC; "" finds it by the default route. Raises errors.KernelError, in words."""
        ...

    def listen(self, changed: Callable[[Collection[Kind]], None]) -> None:
        """Call `changed`, from a thread of its own, with the kinds that others have changed; own writes do not count.

        When the kernel could not tell everything, all kinds are named. "links" also when the NIC or its addresses or
        default routes have changed.
        """
        ...

    def plugins(self) -> tuple[frozenset[str], Sequence[str]]:
        """The names of the CNI plugins that are installed, of those that we use; and the folders that were searched."""
        ...

    def shadowing(self) -> Sequence[str]:
        """Other CNI configurations that a container runtime takes before ours, by file name."""
        ...

    def leases_of_others(self) -> Mapping[str, Collection[bytes]]:
        """Addresses that host-local gave to pods of other networks, by network; {} once ours has had pods."""
        ...

    def peer_bytes(self) -> Sequence[PeerBytes]:
        """The counters; () while there is no table. Never raises."""
        ...

    def dead(self) -> str:
        """The name of a thread that has ended though it was not told to; "" while all live."""
        ...

    def close(self) -> None: ...


class Agents(Protocol):
    """What an agent reads and writes in Kubernetes: of Nodes its own's instance alone, and no status but its own."""

    @property
    def node_routes(self) -> Store[NodeRoute]: ...
    @property
    def route_table_objects(self) -> Store[RouteTableObject]: ...

    def start(self, changed: Callable[[], None]) -> None:
        """Start the reflectors; `changed` is called, from any thread, when a store has changed."""
        ...

    def instance_id(self) -> str:
        """The instance that the agent's own Node is by now; "" where there is no such Node, or it does not say.

        One request each time. Raises errors.ApiError.
        """
        ...

    def write_status(self, route: NodeRoute, status: Mapping[str, object]) -> None:
        """Replace the status of that very object, which is the agent's own node's."""
        ...

    @property
    def trouble(self) -> str:
        """Why a store is not up to date, in words; "" while all is well."""
        ...

    def dead(self) -> str:
        """The name of a reflector's thread that has ended though it was not told to; "" while all live."""
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
        """Create (version "") or replace. Raises LostRace when somebody else was faster."""
        ...


__all__ = [
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

"""Facts that doctor has read. Each is independent: one that could not be read is Unknown, without effect on others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from cloudroute.core.cluster.model import Policy
from cloudroute.core.explain.doctor.findings import Lacking, Unknown, known
from cloudroute.dataplane import Host
from cloudroute.selector import NOBODY, Selector
from cloudroute.types import Cidr, Family, Instance, LeaseRecord, Node, NodeRoute, RouteTable, RouteTableObject, Subnet

IN_USE = "the account in use"
"""Name of the account whose permissions were checked where the controller's could not be."""
NO_GATEWAYS = "not needed without --gateway-nodes"
_UNREAD = Unknown("it was not read")

# --- Kubernetes ---------------------------------------------------------------------------------


class Permission(NamedTuple):
    """A verb on a resource, as RBAC asks for it. `namespace` "" is the whole cluster, `name` "" any object."""

    verb: str
    group: str
    resource: str
    """The resource, with its subresource if it has one, as nodes/status."""
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        kind = f"{self.resource}{'.' + self.group if self.group else ''}"
        return f"{self.verb} {kind}{' in ' + self.namespace if self.namespace else ''}"


class Workload(NamedTuple):
    """A DaemonSet or Pod that may be another pod network. `arguments`: of all its containers."""

    kind: Literal["DaemonSet", "Pod"]
    namespace: str
    name: str
    pods: int
    """Desired number of pods: 0 for a DaemonSet whose selector fits no node."""
    arguments: tuple[str, ...] = ()


class Election(NamedTuple):
    """The controllers' Lease, and the hosts of their pods."""

    namespace: str
    lease: LeaseRecord | None
    """None if the Lease does not exist."""
    now: float
    """Time of the read: seconds since the epoch, by the API server's clock."""
    pods: Mapping[str, str] | Unknown
    """Name of a pod by the host name that its processes see."""


@dataclass(frozen=True, slots=True)
class KubernetesFacts:
    """Facts from the API server."""

    version: str | Unknown
    """Version as v1.34.0; Unknown where the server does not answer."""
    seconds_ahead: float | Unknown
    """The server's clock minus ours."""
    crds: Mapping[str, bool] | Unknown
    """By served CRD (noderoutes, routetables): whether it is as this version of cloudroute defines it."""
    refused: Collection[Permission] | Unknown
    """Permissions that the controller needs and `account` lacks."""
    nodes: Mapping[str, Node] | Unknown
    """Nodes that cloudroute gives a network; all others are in `left_alone`."""
    node_routes: Mapping[str, NodeRoute] | Unknown
    route_table_objects: Mapping[str, RouteTableObject] | Unknown
    services: Sequence[Cidr] | Unknown
    """The range of the Services, or some addresses of it."""
    daemon_sets: Sequence[Workload] | Unknown
    managers: Sequence[Workload] | Unknown
    """The pods of kube-controller-manager and cloud-controller-manager."""
    agent_refused: Collection[Permission] | Unknown = field(default=_UNREAD, kw_only=True)
    """Permissions that an agent needs and the agents' account lacks."""
    account: str = field(default=IN_USE, kw_only=True)
    """Account whose permissions `refused` is about."""
    left_alone: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    """Number of other Nodes by the reason why they are left alone."""
    max_pods: Mapping[str, int] | Unknown = field(default=_UNREAD, kw_only=True)
    """By name of a Node: number of pods that its kubelet takes (status.allocatable)."""
    election: Election | Unknown = field(default=_UNREAD, kw_only=True)
    network_policies: int | Unknown = field(default=_UNREAD, kw_only=True)
    """Number of NetworkPolicies."""
    renewals: Mapping[str, float] | Unknown = field(default=_UNREAD, kw_only=True)
    """By name of a gateway: seconds since it renewed its Lease, by the API server's clock."""


# --- AWS ----------------------------------------------------------------------------------------


class Peer(NamedTuple):
    """A VPC that is peered with ours."""

    id: str
    """Id of the peering connection."""
    cidrs: tuple[Cidr, ...]


class Rule(NamedTuple):
    """A rule of a security group: the allowed protocol and ports, and the sources or destinations."""

    protocol: str
    """"udp", "tcp", "-1" for all."""
    ports: tuple[int, int]
    """First and last port; the whole range for a protocol without ports."""
    cidrs: tuple[Cidr, ...] = ()
    groups: frozenset[str] = frozenset()
    prefix_lists: tuple[str, ...] = ()


class Groups(NamedTuple):
    """Security groups of each instance's primary interface, and the rules of each group."""

    of_instance: Mapping[str, frozenset[str]]
    ingress: Mapping[str, Sequence[Rule]]
    egress: Mapping[str, Sequence[Rule]]


class ControlPlaneInterface(NamedTuple):
    """An interface of EKS's control plane in the VPC."""

    subnet_id: str
    groups: frozenset[str]
    addresses: tuple[str, ...]


class AclRule(NamedTuple):
    """A rule of a network ACL. `cidr`: destination (egress) or source of a packet; `ports`: its destination ports."""

    number: int
    egress: bool
    allow: bool
    protocol: str
    """IANA's number, "-1" for all."""
    ports: tuple[int, int]
    """First and last port; the whole range for a protocol without ports."""
    cidr: Cidr


class Acl(NamedTuple):
    """A network ACL and the subnets that use it."""

    id: str
    subnet_ids: frozenset[str]
    rules: tuple[AclRule, ...]
    """Rules in the order in which EC2 evaluates them; the last ones deny."""


class InstanceOptions(NamedTuple):
    """Options of an instance that only doctor reads."""

    metadata: bool
    """Whether its metadata service is enabled."""
    token_required: bool
    hop_limit: int
    """IP hop limit of the answer that carries the token."""
    outpost_arn: str = ""
    """ARN of the Outpost that the instance is on, "" for none."""
    type: str = ""
    """Instance type, as m5.large."""


@dataclass(frozen=True, slots=True)
class AwsFacts:
    """Facts from AWS."""

    identity: str | Unknown
    """The ARN of the credentials in use."""
    region: str | Unknown
    seconds_ahead: float | Unknown
    """AWS's clock minus ours."""
    refusals: Mapping[str, str | Unknown]
    """The text of the refusal by IAM action, as ec2:CreateRoute; "" for an allowed action."""
    quota: int | Unknown
    """Routes per table, as Service Quotas has them."""
    vpc_id: str | Unknown
    instances: Mapping[str, Instance] | Unknown
    tables: Mapping[str, RouteTable] | Unknown
    subnets: Mapping[str, Subnet] | Unknown
    prefix_lists: Mapping[str, tuple[Family, int]] | Unknown
    peers: Sequence[Peer] | Unknown
    groups: Groups | Unknown
    """Groups of the nodes, and of the control plane's interfaces."""
    control_plane: Sequence[ControlPlaneInterface] | Unknown = field(default=_UNREAD, kw_only=True)
    """Empty where there is no EKS cluster of this name."""
    acls: Sequence[Acl] | Unknown = field(default=_UNREAD, kw_only=True)
    options: Mapping[str, InstanceOptions] | Unknown = field(default=_UNREAD, kw_only=True)
    """By instance id."""


# --- the machine --------------------------------------------------------------------------------


class Networkd(NamedTuple):
    """The systemd-networkd that manages the machine's NICs."""

    version: int
    """Version of systemd."""
    off: frozenset[str]
    """Settings of networkd.conf with the value no."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """Features of the machine that doctor runs on."""

    host: Host | Unknown
    """The NIC of the default route."""
    tried: Mapping[str, str] | Unknown
    """Trials of kernel features, in a network namespace of their own: by name ("vxlan", "nexthop objects" ...) the
    reason of a failure, "" for success."""
    net_admin: bool
    sysctls: str
    """Reason why /proc/sys/net can't be written; "" where it can."""
    plugins: Collection[str]
    searched: Sequence[str]
    """Folders that were searched for CNI plugins."""
    shadowing: Sequence[str]
    """Other CNI configurations that the container runtime takes before ours."""
    devices: Sequence[str]
    """Names of network devices of other pod networks, with the problem of each."""
    forward_drop: Sequence[str] | Unknown
    """Other programs' base chains that drop forwarded packets unless a rule allows them."""
    networkd: Networkd | Unknown | None
    """None if no systemd-networkd manages NICs here."""
    bridges: Mapping[str, Sequence[Cidr]]
    """Networks of a bridge's own addresses, by its name."""
    bridge_netfilter: bool
    """Whether packets from port to port of a bridge pass the host's hooks, in both families."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts, and the operator's settings."""

    policy: Policy
    route_limit: int | Literal["auto"]
    vxlan_port: int
    kubernetes: KubernetesFacts
    aws: AwsFacts
    machine: MachineFacts | Unknown
    server: str = field(default="the API server")
    """Address of the API server, for people."""
    masquerade_always: Sequence[Cidr] = ()
    """--masquerade-always of the agents."""
    gateway_nodes: Selector = NOBODY

    def pools(self) -> Sequence[Cidr]:
        """The cluster CIDRs. Raises Lacking without --cluster-cidr."""
        if not self.policy.pools:
            raise Lacking("no --cluster-cidr is given")
        return self.policy.pools

    def gateways(self) -> Mapping[str, Node]:
        """The nodes that --gateway-nodes selects, by name. Raises Lacking where there are none."""
        if not self.policy.gateways:
            raise Lacking(NO_GATEWAYS)
        nodes = known(self.kubernetes.nodes)
        found = {name: node for name, node in sorted(nodes.items()) if node.gateway != "none"}
        if not found:
            raise Lacking("--gateway-nodes selects no node (see gateways)")
        return found

    def vpc_ranges(self) -> Sequence[Cidr]:
        """The VPC's own CIDRs: those of its local routes. Raises Lacking."""
        local = {
            route.destination
            for table in known(self.aws.tables).values()
            for route in table
            if route.target == "local" and isinstance(route.destination, Cidr)
        }
        return sorted(local)

    def tunnel_port(self) -> int:
        """The UDP port of the overlay. Raises Lacking with --overlay off."""
        if not self.policy.overlay:
            raise Lacking("not needed with --overlay off")
        return self.vxlan_port

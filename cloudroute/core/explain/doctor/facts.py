"""Facts that doctor has read. Each stands alone: one that could not be read is Unknown, and takes no other with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from cloudroute.core.cluster.model import Policy
from cloudroute.core.explain.doctor.findings import Unknown
from cloudroute.dataplane import Host
from cloudroute.types import Cidr, Family, Instance, LeaseRecord, Node, NodeRoute, RouteTable, RouteTableObject, Subnet

IN_USE = "the account in use"
"""Account whose permissions were asked for where the controller's could not be."""
_UNREAD = Unknown("it was not read")

# --- Kubernetes ---------------------------------------------------------------------------------


class Permission(NamedTuple):
    """A verb on a resource, as RBAC asks for it. `namespace` "" is the whole cluster, `name` "" any object."""

    verb: str
    group: str
    resource: str
    """With its subresource, if it is one: nodes/status."""
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        kind = f"{self.resource}{'.' + self.group if self.group else ''}"
        return f"{self.verb} {kind}{' in ' + self.namespace if self.namespace else ''}"


class Workload(NamedTuple):
    """A DaemonSet or a Pod that may be somebody else's networking. `arguments` are those of all its containers."""

    kind: Literal["DaemonSet", "Pod"]
    namespace: str
    name: str
    pods: int
    """Number that is to run: 0 of a DaemonSet whose selector fits no node."""
    arguments: tuple[str, ...] = ()


class Election(NamedTuple):
    """The controllers' Lease, and where their pods run."""

    namespace: str
    lease: LeaseRecord | None
    """None where there is none."""
    now: float
    """Time of the read: seconds since the epoch, by the API server's clock."""
    pods: Mapping[str, str] | Unknown
    """Host that a process in the pod sees itself on, to the name of the pod."""


@dataclass(frozen=True, slots=True)
class KubernetesFacts:
    """Facts that the API server tells."""

    version: str | Unknown
    """As v1.34.0; Unknown where the server does not answer."""
    seconds_ahead: float | Unknown
    """The server's clock minus ours."""
    crds: Mapping[str, bool] | Unknown
    """noderoutes and routetables, as far as they are served: whether they are as this version of cloudroute has them.
    """
    refused: Collection[Permission] | Unknown
    """Of the permissions that the controller needs, those that `account` lacks."""
    nodes: Mapping[str, Node] | Unknown
    """Those that are ours."""
    node_routes: Mapping[str, NodeRoute] | Unknown
    route_table_objects: Mapping[str, RouteTableObject] | Unknown
    services: Sequence[Cidr] | Unknown
    """The range of the Services, or some addresses of it."""
    daemon_sets: Sequence[Workload] | Unknown
    managers: Sequence[Workload] | Unknown
    """The pods of kube-controller-manager and cloud-controller-manager."""
    agent_refused: Collection[Permission] | Unknown = field(default=_UNREAD, kw_only=True)
    """Of the permissions that an agent needs, those that the agents' account lacks."""
    account: str = field(default=IN_USE, kw_only=True)
    """Whose permissions `refused` is about."""
    left_alone: Mapping[str, int] = field(default_factory=dict, kw_only=True)
    """How many other Nodes there are, by the reason."""
    max_pods: Mapping[str, int] | Unknown = field(default=_UNREAD, kw_only=True)
    """By name of a Node, how many pods its kubelet takes (status.allocatable)."""
    election: Election | Unknown = field(default=_UNREAD, kw_only=True)


# --- AWS ----------------------------------------------------------------------------------------


class Peer(NamedTuple):
    """A VPC that is peered with ours."""

    id: str
    """Of the peering connection."""
    cidrs: tuple[Cidr, ...]


class Rule(NamedTuple):
    """A rule of a security group: what it lets through, and whom from or to."""

    protocol: str
    """"udp", "tcp", "-1" for all."""
    ports: tuple[int, int]
    """First and last; all of them where the protocol has none."""
    cidrs: tuple[Cidr, ...] = ()
    groups: frozenset[str] = frozenset()
    prefix_lists: tuple[str, ...] = ()


class Groups(NamedTuple):
    """Security groups: those of each instance's primary interface, and the rules of each group."""

    of_instance: Mapping[str, frozenset[str]]
    ingress: Mapping[str, Sequence[Rule]]
    egress: Mapping[str, Sequence[Rule]]


class ControlPlaneInterface(NamedTuple):
    """An interface by which EKS's control plane reaches the VPC, and is reached."""

    subnet_id: str
    groups: frozenset[str]
    addresses: tuple[str, ...]


class AclRule(NamedTuple):
    """A rule of a network ACL. `cidr` is where a packet goes to or comes from, `ports` are those it goes to."""

    number: int
    egress: bool
    allow: bool
    protocol: str
    """IANA's number, "-1" for all."""
    ports: tuple[int, int]
    """First and last; all of them where the protocol has none."""
    cidr: Cidr


class Acl(NamedTuple):
    """A network ACL and the subnets that have it."""

    id: str
    subnet_ids: frozenset[str]
    rules: tuple[AclRule, ...]
    """In the order in which EC2 evaluates them; the last ones deny."""


class InstanceOptions(NamedTuple):
    """Options of an instance that only doctor reads."""

    metadata: bool
    """True if its metadata service answers at all."""
    token_required: bool
    hop_limit: int
    """Of the answer that carries the token."""
    outpost_arn: str = ""
    """The Outpost that it is on."""


@dataclass(frozen=True, slots=True)
class AwsFacts:
    """Facts that AWS tells."""

    identity: str | Unknown
    """The ARN of the credentials in use."""
    region: str | Unknown
    seconds_ahead: float | Unknown
    """AWS's clock minus ours."""
    refusals: Mapping[str, str | Unknown]
    """IAM action, as ec2:CreateRoute, to how it was refused, "" when it was not."""
    quota: int | Unknown
    """Routes per table, as Service Quotas has them."""
    vpc_id: str | Unknown
    instances: Mapping[str, Instance] | Unknown
    tables: Mapping[str, RouteTable] | Unknown
    subnets: Mapping[str, Subnet] | Unknown
    prefix_lists: Mapping[str, tuple[Family, int]] | Unknown
    peers: Sequence[Peer] | Unknown
    groups: Groups | Unknown
    """Those of the nodes, and of the control plane's interfaces."""
    control_plane: Sequence[ControlPlaneInterface] | Unknown = field(default=_UNREAD, kw_only=True)
    """Empty where there is no EKS cluster of this name."""
    acls: Sequence[Acl] | Unknown = field(default=_UNREAD, kw_only=True)
    options: Mapping[str, InstanceOptions] | Unknown = field(default=_UNREAD, kw_only=True)
    """By id of the instance."""


# --- the machine --------------------------------------------------------------------------------


class Networkd(NamedTuple):
    """The systemd-networkd that manages the machine's NICs."""

    version: int
    """systemd's."""
    off: frozenset[str]
    """Settings of networkd.conf that say no."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """Abilities of the machine that doctor runs on. Of a trial "" is fine, and everything else says why not."""

    host: Host | Unknown
    """The NIC of the default route."""
    tried: Mapping[str, str] | Unknown
    """Trials of kernel features by name ("vxlan", "nexthop objects" ...), in a network namespace of their own."""
    net_admin: bool
    sysctls: str
    """Why /proc/sys/net can't be written; "" where it can."""
    plugins: Collection[str]
    searched: Sequence[str]
    """Folders where CNI plugins were looked for."""
    shadowing: Sequence[str]
    """CNI configurations of others that the container runtime takes before ours."""
    devices: Sequence[str]
    """Names of network devices of other pod networks, with what is wrong about them."""
    forward_drop: Sequence[str] | Unknown
    """Base chains of others that drop what is forwarded unless a rule allows it."""
    networkd: Networkd | Unknown | None
    """None where none is at work."""


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

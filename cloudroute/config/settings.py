"""The frozen settings, and per field its meaning, unit, default and reason.

The text beside a field is the one that `--help` prints. A field `route_limit` is the flag `--route-limit`, the variable
`CLOUDROUTE_ROUTE_LIMIT` and the key `route-limit` of the file that `--config` names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cloudroute.config.declare import Settings, setting
from cloudroute.config.values import (
    Address,
    aws_region,
    choice,
    cidr,
    either,
    label_selector,
    listen_address,
    matching,
    seconds,
    switch,
    whole,
    whole_of,
)
from cloudroute.selector import EVERY, NOBODY, Selector
from cloudroute.types import Cidr, Family

MARGIN_SECONDS = 2.0
"""Seconds by which a lease must outlast the renew deadline: one write to AWS, with its timeouts, fits in them."""
JITTER = 1.2
"""Most retry periods between two attempts: each is longer at random, so that standbys don't ask in step."""
VXLAN_PORT = 8472
"""Default UDP port of the overlay."""


_CLUSTER, _AWS, _ROUTES, _LEADER, _PROCESS = "Cluster", "AWS", "Routes", "Leader election", "Process"
_GATEWAY, _NODE = "Gateways", "Node"
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSettings(Settings):
    """Settings that must be equal in the controller and the agents."""

    cluster_name: str = setting(
        matching(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,99}", "up to 100 letters, digits, '-', '_' or '.'", "NAME"),
        _CLUSTER,
        "Name of the cluster, as in the tag kubernetes.io/cluster/NAME of its route tables.",
        default="",
        why="without it no table is found by tag",
    )
    cluster_cidr: tuple[Cidr, ...] = setting(
        cidr(),
        _CLUSTER,
        "Pool that the nodes' pod CIDRs come from. A node gets one per family; families rank as they first appear.",
        default=(),
        why="it must not overlap the VPC or the Services, which is checked, nor peers of the VPC, which is not",
        repeatable=True,
    )
    node_mask_v4: int = setting(
        whole(16, 28),
        _CLUSTER,
        "Prefix length of a node's IPv4 pod CIDR.",
        default=24,
        why="256 addresses are twice the 110 pods of a kubelet: an address rests before its next pod",
        unit="bits",
    )
    node_mask_v6: int = setting(
        whole(48, 120),
        _CLUSTER,
        "Prefix length of a node's IPv6 pod CIDR.",
        default=80,
        why="what EC2 itself delegates to an interface",
        unit="bits",
    )
    kubeconfig: str = setting(
        matching(r"[^\0\n]+", "a file's path", "FILE"),
        _CLUSTER,
        "File that says how to reach the Kubernetes API; without it the pod's service account does.",
        default="",
    )
    namespace: str = setting(
        matching(_LABEL, "a namespace's name: up to 63 small letters, digits and '-'", "NAME"),
        _CLUSTER,
        "Namespace of the Leases: the leader's, and one for each gateway.",
        default="cloudroute",
    )
    log_format: Literal["text", "json"] = setting(
        choice("text", "json"), _PROCESS, "Log lines for people or for programs, on stderr.", default="text"
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        choice("debug", "info", "warning", "error"),
        _PROCESS,
        "The least that is logged.",
        default="info",
        why="at info a line is written only where something changed",
    )
    listen: Address = setting(  # noqa: RUF009 - setting() makes a dataclass field
        listen_address(),
        _PROCESS,
        "Where /metrics, /healthz and /readyz answer; port 0 takes any free one.",
        default=Address("", 10256),
        why="10256 is where kube-proxy answers its health checks, and load balancers know it",
    )

    @property
    def families(self) -> tuple[Family, ...]:
        """The configured families, in the order of their first pool: the order of a node's pod CIDRs."""
        return tuple(dict.fromkeys(pool.family for pool in self.cluster_cidr))

    def node_mask(self, family: Family) -> int:
        """The prefix length of a node's pod CIDR of that family."""
        return self.node_mask_v4 if family == "ipv4" else self.node_mask_v6


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings(SharedSettings):
    """Settings of the controller, and of the commands that read EC2 and the cluster as it does."""

    region: str = setting(
        aws_region(),
        _AWS,
        "AWS region; else AWS_REGION, the instance's metadata, or the nodes' zones say it.",
        default="",
    )
    vpc_id: str = setting(
        matching(r"vpc-[0-9a-f]{8,17}", "a VPC's id like vpc-0a1b2c3d4e5f67890", "VPC"),
        _AWS,
        "The VPC of the nodes; else the nodes' instances say it, or before the first node this instance's metadata.",
        default="",
    )
    route_table: tuple[str, ...] = setting(
        matching(r"rtb-[0-9a-f]{8,17}", "a route table's id like rtb-0a1b2c3d4e5f67890", "TABLE"),
        _AWS,
        "Route table to keep; else those tagged kubernetes.io/cluster/NAME; else those of the nodes' subnets.",
        default=(),
        repeatable=True,
    )
    route_limit: int | Literal["auto"] = setting(
        either("auto", whole(1, 1000)),
        _ROUTES,
        "Entries that a table may hold, each family counted apart; auto asks Service Quotas. Nodes past it use the "
        "overlay.",
        default=50,
        why="50 is what every account ever had; AWS grants 500 by default since 2025",
        unit="entries",
    )
    route_reserve: int = setting(
        whole(0, 999),
        _ROUTES,
        "Entries of each table and family to leave free for routes of others.",
        default=0,
        unit="entries",
    )
    direct_routing: Literal["auto", "always", "off"] = setting(
        choice("auto", "always", "off"),
        _ROUTES,
        "Nodes on one subnet reach each other without a route. auto: they yield their slot when others need it; "
        "always: they never take one; off: they count like all, and no path is direct.",
        default="auto",
        why="a route also gives the whole subnet, load balancers included, a way to the pods",
    )
    overlay: bool = setting(
        switch("on", "off"),
        _ROUTES,
        "VXLAN for nodes that no route is left for. off: they get NetworkUnavailable with the reason RouteLimit.",
        default=True,
    )
    resync_seconds: float = setting(
        seconds(1, 3600),
        _ROUTES,
        "How often all route tables and instances are read again.",
        default=60,
        why="two calls each time; until then a change made by somebody else goes unnoticed",
        unit="seconds",
    )
    settle_seconds: float = setting(
        seconds(0, 600),
        _ROUTES,
        "How long a new route must exist before traffic leaves the overlay for it.",
        default=2,
        why="AWS gives no figure for its propagation",
        unit="seconds",
    )
    drain_seconds: float = setting(
        seconds(0, 600),
        _ROUTES,
        "How long after traffic was told to leave a route it is deleted.",
        default=10,
        why="every agent must have heard of it",
        unit="seconds",
    )
    reserved_cidr: tuple[Cidr, ...] = setting(
        cidr(),
        _CLUSTER,
        "Part of a pool that no node gets.",
        default=(),
        repeatable=True,
    )
    node_selector: Selector = setting(  # noqa: RUF009 - setting() makes a dataclass field
        label_selector(),
        _CLUSTER,
        "Label selector of the nodes to serve, as in kubectl --selector; without it all of them. Windows, Fargate, "
        "hybrid and EKS Auto Mode nodes are left alone in any case.",
        default=EVERY,
        why="a node that leaves the selection loses its routes and its NodeRoute, as if its Node were gone",
    )
    gateway_nodes: Selector = setting(  # noqa: RUF009 - setting() makes a dataclass field
        label_selector(),
        _GATEWAY,
        "Label selector of the nodes that may be gateways: each table gets a route for the whole pool to one of them, "
        "which sends on to the pods of all nodes. Without it there are no gateways. Take a label that no kubelet can "
        "set on its own Node, as node-restriction.kubernetes.io/role=gateway.",
        default=NOBODY,
        why="what the VPC sends to pods past the limit then passes a gateway's security groups",
    )
    gateway_routes: int = setting(
        whole_of(1, 2, 4, 8),
        _GATEWAY,
        "Aggregates: into how many equal parts each pool is split, each with a route and a gateway of its own.",
        default=1,
        why="a VPC route has one target, so a gateway's bandwidth is shared by all that it leads to",
        unit="routes",
    )
    gateway_lease_seconds: float = setting(
        seconds(2, 60),
        _GATEWAY,
        "How long a gateway may be silent before another one takes over its routes.",
        default=3,
        why="gateways renew their Leases each second",
        unit="seconds",
    )
    leader_elect: bool = setting(
        switch("true", "false"),
        _LEADER,
        "Write only while holding the Lease; false is for a single process on a desk.",
        default=True,
        bare="true",
    )
    lease_duration: int = setting(
        whole(3, 3600),
        _LEADER,
        "How long a lease lasts that is not renewed.",
        default=15,
        why="a dead leader is followed within this time and one retry period",
        unit="seconds",
    )
    renew_deadline: float = setting(
        seconds(0.5, 3600),
        _LEADER,
        "How long a leader tries to renew before it gives up and ends.",
        default=10,
        why=f"at least {MARGIN_SECONDS:g} s less than the lease lasts, so that a write on its way to AWS ends first",
        unit="seconds",
    )
    retry_period: float = setting(
        seconds(0.1, 600),
        _LEADER,
        "How long between two attempts to get or renew the lease, up to a fifth more at random.",
        default=2,
        unit="seconds",
    )
    status_page: bool = setting(
        switch("on", "off"),
        _PROCESS,
        "Show the leader's last look at the world where /metrics is: a page at /, the same as JSON at /api/status. "
        "off: neither is there.",
        default=True,
        why="it only reads, and has no secrets; but nodes' names and addresses are seen by whoever reaches the port",
    )
    once: bool = setting(
        switch("true", "false"),
        _PROCESS,
        "One full sync, then end: 0 when nothing is left to do, 1 when an action kept failing.",
        default=False,
        bare="true",
    )

    @property
    def has_gateways(self) -> bool:
        """Whether --gateway-nodes may select any node."""
        return self.gateway_nodes != NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings(SharedSettings):
    """Settings of a node's agent."""

    node_name: str = setting(
        matching(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", "a Node's name", "NAME"),
        _NODE,
        "Name of the Node that this machine is; its NodeRoute has the same.",
        default="",
    )
    interface: str = setting(
        matching(r"[^\s/:]{1,15}", "a network interface's name of at most 15 characters, as eth0", "NIC"),
        _NODE,
        "The NIC that carries the traffic between nodes; else that of the default route.",
        default="",
    )
    vni: int = setting(
        whole(1, 16777215), _NODE, "VXLAN network identifier of the overlay; the same on every node.", default=1
    )
    vxlan_port: int = setting(
        whole(1, 65535),
        _NODE,
        "UDP port of the overlay; the same on every node, and open between them in the security groups.",
        default=VXLAN_PORT,
        why="what flannel uses: groups that were made for it fit",
    )
    mtu: int | Literal["auto"] = setting(
        either("auto", whole(576, 65485)),
        _NODE,
        "MTU of the pods and of the overlay, the same on every node; auto takes the NIC's less what the tunnel adds "
        "(50, over IPv6 70).",
        default="auto",
        why="less where something on the way carries less than the NIC: Local Zones, Wavelength, Outposts",
        unit="bytes",
    )
    cni_conf_dir: str = setting(
        matching(r"/[^\0\n]*", "an absolute path", "DIR"),
        _NODE,
        "Where the container runtime looks for CNI configurations.",
        default="/etc/cni/net.d",
    )
    masquerade: bool = setting(
        switch("on", "off"),
        _NODE,
        "Give pods' packets the node's address wherever no route leads back to the pod: outside of the cluster, but "
        "for the subnets whose route table has this node's pod CIDR. off: something else does it.",
        default=True,
    )
    masquerade_except: tuple[Cidr, ...] = setting(
        cidr(),
        _NODE,
        "Network toward which pods keep their address all the same.",
        default=(),
        why="a peered VPC or an office that routes the pods' addresses back",
        repeatable=True,
    )
    gateway_keeps_source: bool = setting(
        switch("on", "off"),
        _NODE,
        "Let pods keep their address also toward subnets whose table leads back to them by a gateway alone.",
        default=False,
        why="answers to such pods pass the gateway, those to a masqueraded one go straight to its node",
    )
    masquerade_always: tuple[Cidr, ...] = setting(
        cidr(),
        _NODE,
        "Network toward which pods never keep their address, whatever else would exempt it: pools, nodes, subnets and "
        "--masquerade-except.",
        default=(),
        why="a host that answers nodes alone; the addresses that AWS reserves in each subnet are treated so anyway",
        repeatable=True,
    )
    once: bool = setting(
        switch("true", "false"),
        _PROCESS,
        "Program the kernel once, then end: 0 when all is in place, 1 when something failed.",
        default=False,
        bare="true",
    )
    cleanup: bool = setting(
        switch("true", "false"),
        _PROCESS,
        "Remove all that an agent has made on this machine, then end. Needs no API server; the node's pods lose their "
        "network.",
        default=False,
        bare="true",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSettings(Settings):
    """Settings of the output of commands."""

    output: Literal["table", "json", "yaml"] = setting(
        choice("table", "json", "yaml"),
        "Output",
        "A table for people, or JSON or YAML for programs.",
        default="table",
        short="-o",
    )


ALL_SETTINGS: tuple[type[Settings], ...] = (ControllerSettings, AgentSettings, OutputSettings)
"""Classes whose keys one file may hold, whichever command reads it."""

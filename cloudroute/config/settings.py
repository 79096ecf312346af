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
    choice,
    cidr,
    either,
    label_selector,
    listen_address,
    matching,
    seconds,
    switch,
    whole,
)
from cloudroute.selector import EVERY, Selector
from cloudroute.types import Cidr, Family

MARGIN_SECONDS = 2.0
"""Seconds by which a lease must outlast the renew deadline: one write to AWS, with its timeouts, fits in them."""
JITTER = 1.2
"""Most retry periods between two attempts."""


_CLUSTER, _AWS, _ROUTES, _LEADER, _PROCESS = "Cluster", "AWS", "Routes", "Leader election", "Process"
_NODE = "Node"
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSettings(Settings):
    """Settings that must be equal in the controller and the agents."""

    cluster_name: str = setting(
        "",
        matching(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,99}", "up to 100 letters, digits, '-', '_' or '.'", "NAME"),
        _CLUSTER,
        "Name of the cluster, as in the tag kubernetes.io/cluster/NAME of its route tables.",
        why="without it no table is found by tag",
    )
    cluster_cidr: tuple[Cidr, ...] = setting(
        (),
        cidr(),
        _CLUSTER,
        "Pool that the nodes' pod CIDRs come from. A node gets one per family; families rank as they first appear.",
        why="it must not overlap the VPC or the Services, which is checked, nor peers of the VPC, which is not",
        repeatable=True,
    )
    node_mask_v4: int = setting(
        24,
        whole(16, 28),
        _CLUSTER,
        "Prefix length of a node's IPv4 pod CIDR.",
        why="256 addresses are twice the 110 pods of a kubelet: an address rests before its next pod",
        unit="bits",
    )
    node_mask_v6: int = setting(
        80,
        whole(48, 120),
        _CLUSTER,
        "Prefix length of a node's IPv6 pod CIDR.",
        why="what EC2 itself delegates to an interface",
        unit="bits",
    )
    kubeconfig: str = setting(
        "",
        matching(r"[^\0\n]+", "a file's path", "FILE"),
        _CLUSTER,
        "File that says how to reach the Kubernetes API; without it the pod's service account does.",
    )
    log_format: Literal["text", "json"] = setting(
        "text", choice("text", "json"), _PROCESS, "Log lines for people or for programs, on stderr."
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info",
        choice("debug", "info", "warning", "error"),
        _PROCESS,
        "The least that is logged.",
        why="at info a line is written only where something changed",
    )
    listen: Address = setting(  # noqa: RUF009 - setting() makes a dataclass field
        Address("", 10256),
        listen_address(),
        _PROCESS,
        "Where /metrics, /healthz and /readyz answer; port 0 takes any free one.",
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
        "",
        matching(r"[a-z]{2,}(-[a-z]+)+-\d+", "an AWS region like eu-central-1", "REGION"),
        _AWS,
        "AWS region; else AWS_REGION, the instance's metadata, or the nodes' zones say it.",
    )
    vpc_id: str = setting(
        "",
        matching(r"vpc-[0-9a-f]{8,17}", "a VPC's id like vpc-0a1b2c3d4e5f67890", "VPC"),
        _AWS,
        "The VPC of the nodes; else the nodes' instances say it, or before the first node this instance's metadata.",
    )
    route_table: tuple[str, ...] = setting(
        (),
        matching(r"rtb-[0-9a-f]{8,17}", "a route table's id like rtb-0a1b2c3d4e5f67890", "TABLE"),
        _AWS,
        "Route table to keep; else those tagged kubernetes.io/cluster/NAME; else those of the nodes' subnets.",
        repeatable=True,
    )
    route_limit: int | Literal["auto"] = setting(
        50,
        either("auto", whole(1, 1000)),
        _ROUTES,
        "Entries that a table may hold, each family counted apart; auto asks Service Quotas. Nodes past it use the "
        "overlay.",
        why="50 is what every account ever had; AWS grants 500 by default since 2025",
        unit="entries",
    )
    route_reserve: int = setting(
        0,
        whole(0, 999),
        _ROUTES,
        "Entries of each table and family to leave free for routes of others.",
        unit="entries",
    )
    direct_routing: Literal["auto", "always", "off"] = setting(
        "auto",
        choice("auto", "always", "off"),
        _ROUTES,
        "Nodes on one subnet reach each other without a route. auto: they yield their slot when others need it; "
        "always: they never take one; off: they count like all, and no path is direct.",
        why="a route also gives the whole subnet, load balancers included, a way to the pods",
    )
    overlay: bool = setting(
        True,
        switch("on", "off"),
        _ROUTES,
        "VXLAN for nodes that no route is left for. off: they get NetworkUnavailable with the reason RouteLimit.",
    )
    resync_seconds: float = setting(
        60,
        seconds(1, 3600),
        _ROUTES,
        "How often all route tables and instances are read again.",
        why="two calls each time; until then a change made by somebody else goes unnoticed",
        unit="seconds",
    )
    settle_seconds: float = setting(
        2,
        seconds(0, 600),
        _ROUTES,
        "How long a new route must exist before traffic leaves the overlay for it.",
        why="AWS gives no figure for its propagation",
        unit="seconds",
    )
    drain_seconds: float = setting(
        10,
        seconds(0, 600),
        _ROUTES,
        "How long after traffic was told to leave a route it is deleted.",
        why="every agent must have heard of it",
        unit="seconds",
    )
    reserved_cidr: tuple[Cidr, ...] = setting(
        (),
        cidr(),
        _CLUSTER,
        "Part of a pool that no node gets.",
        repeatable=True,
    )
    node_selector: Selector = setting(  # noqa: RUF009 - setting() makes a dataclass field
        EVERY,
        label_selector(),
        _CLUSTER,
        "Label selector of the nodes to serve, as in kubectl --selector; without it all of them. Windows, Fargate, "
        "hybrid and EKS Auto Mode nodes are left alone in any case.",
        why="a node that leaves the selection loses its routes and its NodeRoute, as if its Node were gone",
    )
    leader_elect: bool = setting(
        True,
        switch("true", "false"),
        _LEADER,
        "Write only while holding the Lease; false is for a single process on a desk.",
        bare="true",
    )
    lease_duration: int = setting(
        15,
        whole(3, 3600),
        _LEADER,
        "How long a lease lasts that is not renewed.",
        why="a dead leader is followed within this time and one retry period",
        unit="seconds",
    )
    renew_deadline: float = setting(
        10,
        seconds(0.5, 3600),
        _LEADER,
        "How long a leader tries to renew before it gives up and ends.",
        why=f"at least {MARGIN_SECONDS:g} s less than the lease lasts, so that a write on its way to AWS ends first",
        unit="seconds",
    )
    retry_period: float = setting(
        2,
        seconds(0.1, 600),
        _LEADER,
        "How long between two attempts to get or renew the lease, up to a fifth more at random.",
        unit="seconds",
    )
    namespace: str = setting(
        "cloudroute",
        matching(_LABEL, "a namespace's name: up to 63 small letters, digits and '-'", "NAME"),
        _LEADER,
        "Namespace of the Lease.",
    )
    status_page: bool = setting(
        True,
        switch("on", "off"),
        _PROCESS,
        "Show the leader's last look at the world where /metrics is: a page at /, the same as JSON at /api/status. "
        "off: neither is there.",
        why="it only reads, and has no secrets; but nodes' names and addresses are seen by whoever reaches the port",
    )
    once: bool = setting(
        False,
        switch("true", "false"),
        _PROCESS,
        "One full sync, then end: 0 when nothing is left to do, 1 when an action kept failing.",
        bare="true",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings(SharedSettings):
    """Settings of a node's agent."""

    node_name: str = setting(
        "",
        matching(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", "a Node's name", "NAME"),
        _NODE,
        "Name of the Node that this machine is; its NodeRoute has the same.",
    )
    interface: str = setting(
        "",
        matching(r"[^\s/:]{1,15}", "a network interface's name of at most 15 characters, as eth0", "NIC"),
        _NODE,
        "The NIC that carries the traffic between nodes; else that of the default route.",
    )
    vni: int = setting(1, whole(1, 16777215), _NODE, "VXLAN network identifier of the overlay; the same on every node.")
    vxlan_port: int = setting(
        8472,
        whole(1, 65535),
        _NODE,
        "UDP port of the overlay; the same on every node, and open between them in the security groups.",
        why="what flannel uses: groups that were made for it fit",
    )
    mtu: int | Literal["auto"] = setting(
        "auto",
        either("auto", whole(576, 65485)),
        _NODE,
        "MTU of the pods and of the overlay, the same on every node; auto takes the NIC's less what the tunnel adds "
        "(50, over IPv6 70).",
        why="less where something on the way carries less than the NIC: Local Zones, Wavelength, Outposts",
        unit="bytes",
    )
    cni_conf_dir: str = setting(
        "/etc/cni/net.d",
        matching(r"/[^\0\n]*", "an absolute path", "DIR"),
        _NODE,
        "Where the container runtime looks for CNI configurations.",
    )
    masquerade: bool = setting(
        True,
        switch("on", "off"),
        _NODE,
        "Give pods' packets the node's address wherever no route leads back to the pod: outside of the cluster, but "
        "for the subnets whose route table has this node's pod CIDR. off: something else does it.",
    )
    masquerade_except: tuple[Cidr, ...] = setting(
        (),
        cidr(),
        _NODE,
        "Network toward which pods keep their address all the same.",
        why="a peered VPC or an office that routes the pods' addresses back",
        repeatable=True,
    )
    masquerade_always: tuple[Cidr, ...] = setting(
        (),
        cidr(),
        _NODE,
        "Network toward which pods never keep their address, whatever else would exempt it: pools, nodes, subnets and "
        "--masquerade-except.",
        why="a host that answers nodes alone; the addresses that AWS reserves in each subnet are treated so anyway",
        repeatable=True,
    )
    once: bool = setting(
        False,
        switch("true", "false"),
        _PROCESS,
        "Program the kernel once, then end: 0 when all is in place, 1 when something failed.",
        bare="true",
    )
    cleanup: bool = setting(
        False,
        switch("true", "false"),
        _PROCESS,
        "Remove all that an agent has made on this machine, then end. Needs no API server; the node's pods lose their "
        "network.",
        bare="true",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSettings(Settings):
    """Settings of the output of commands."""

    output: Literal["table", "json", "yaml"] = setting(
        "table",
        choice("table", "json", "yaml"),
        "Output",
        "A table for people, or JSON or YAML for programs.",
        short="-o",
    )


ALL_SETTINGS: tuple[type[Settings], ...] = (ControllerSettings, AgentSettings, OutputSettings)
"""Classes whose keys one file may hold, whichever command reads it."""

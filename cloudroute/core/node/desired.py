"""Desired kernel tables of one node, computed from NodeRoutes and RouteTables: pure, except for a cache of its results.

This module does not know the kernel's present state. `DesiredStateBuilder.compose` returns the desired one; the
trackers find the difference. Entries whose input has not changed are reused, so that one peer's change of path among
5,000 makes one new entry, and identical objects cost nothing to compare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from cloudroute.core.node.peers import LocalNode, NodeUnusable, Peer, base, peer_entries, vtep_mac
from cloudroute.core.node.roster import Roster, roster, same_membership, without_nested
from cloudroute.core.paths import node_path
from cloudroute.dataplane import (
    GUARD_METRIC,
    MAIN,
    OWN_PODS_PRIORITY,
    TABLE,
    TRANSIT_ID,
    TRANSIT_PRIORITY,
    TRANSIT_TABLE,
    TUNNELS,
    VTEP,
    VTEP6,
    VXLAN_OVERHEAD,
    AddressKey,
    Host,
    Kind,
    Link,
    Route,
    RouteKey,
    Rule,
    Ruleset,
    Vxlan,
)
from cloudroute.types import BITS, Cidr, NodePath, NodeRoute, Path, RouteTableObject

LINK_LOCAL_SERVICES = (Cidr.parse("169.254.168.0/22"), Cidr.parse("fd00:ec2::/32"))
"""Ranges of AWS's link-local services, instance metadata and the Resolver among them: they answer only the addresses of
the instance's interfaces, and no route leads there (VPC user guide, "Configure route tables")."""


class AgentPolicy(NamedTuple):
    """The operator's settings that are the same on every node."""

    pools: tuple[Cidr, ...]
    vni: int
    port: int
    masquerade: bool
    exceptions: tuple[Cidr, ...]
    """Destinations outside the cluster toward which pods keep their address."""
    always: tuple[Cidr, ...] = ()
    """Destinations toward which pods never keep their address."""
    mtu: int | None = None
    """MTU of the pods and of the tunnels, in bytes; None: the largest that the NIC allows."""
    gateway_keeps_source: bool = False
    """Whether pods keep their address toward subnets whose table leads back to them by a gateway alone."""


@dataclass(frozen=True, slots=True)
class DesiredState:
    """Desired entries of the kernel, and a summary for the node's status."""

    tables: Mapping[Kind, Mapping[Any, Any]]
    """Entries of every kind but "files"."""
    pod_cidrs: tuple[Cidr, ...]
    mtu: int
    """MTU of the pods, in bytes."""
    path: NodePath
    paths: Mapping[Path, int]
    """Number of peers that are reached by each path."""
    peers: Mapping[str, Peer]
    peer_cidrs: Mapping[str, tuple[Cidr, ...]]
    problems: Mapping[str, str]
    """By the name of a NodeRoute: the reason why it is not used, or not as it should be."""


_FOR_PEERS: tuple[Kind, ...] = (*chain.from_iterable(TUNNELS.values()), "nexthops", "routes")
"""Kinds that have entries for each peer."""


class _Input(NamedTuple):
    """Input of a `compose`."""

    me: LocalNode
    own: NodeRoute
    routes: Mapping[str, NodeRoute]
    host: Host


class DesiredStateBuilder:
    """Computes `DesiredState`. Not thread-safe."""

    def __init__(self, policy: AgentPolicy) -> None:
        self._policy = policy
        self._known: dict[Cidr, int] = {}
        self._taken: frozenset[int] = frozenset()
        self._seen: _Input | None = None
        """Input of the last `compose`, from which the fields below were computed."""
        self._roster = Roster({}, {}, {}, frozenset(), frozenset(), {})
        self._peers: dict[str, Peer] = {}
        self._bulk: dict[Kind, dict[Any, Any]] = {}

    def adopt(self, ids: Mapping[Cidr, int]) -> None:
        """Keep the nexthop ids that were found in the kernel's main table."""
        self._known = {cidr: id_ for cidr, id_ in ids.items() if not id_ & TRANSIT_ID}
        self._seen = None

    def avoid(self, ids: Collection[int]) -> None:
        """Never use these nexthop ids, which belong to other programs."""
        self._taken |= frozenset([id_ & ~TRANSIT_ID for id_ in ids])
        self._known = {cidr: id_ for cidr, id_ in self._known.items() if id_ not in self._taken}
        self._seen = None

    def compose(
        self, own: NodeRoute, routes: Mapping[str, NodeRoute], reports: Mapping[str, RouteTableObject], host: Host
    ) -> DesiredState:
        """Raises NodeUnusable when this node's own NodeRoute (`own`) or NIC is unusable."""
        me = LocalNode.of(own.spec, host, self._policy.pools)
        changed = self._changed(me, own, routes, host)
        if changed is None:
            self._roster = roster(own, routes, host, self._known, self._taken, self._policy.pools)
            self._known = dict(self._roster.ids)
            self._peers, self._bulk = {}, {**_no_entries(), "routes": self._guards(me, own)}
            changed = self._roster.pod_cidrs.keys()
        if changed:
            self._remake(me, routes, changed)
        self._seen = _Input(me, own, routes, host)
        mtu = self._mtu(me, host)
        tunnels = (VTEP, VTEP6) if self._bulk["fdb6"] else (VTEP,)
        alike = Counter(self._peers.values())
        counts: Counter[Path] = Counter()
        for peer, number in alike.items():
            counts[peer.path] += number
        poor = {name: peer.problem for name, peer in self._peers.items() if peer.problem}
        return DesiredState(
            tables={
                "links": self._links(own, me, host, tunnels),
                "sysctls": sysctls(me, host, tunnels),
                "addresses": _addresses(own),
                "bridges": dict.fromkeys(own.spec.pod_cidrs),
                **self._bulk,
                "rules": self._rules(me, own),
                "nftables": {TABLE: self._ruleset(me, own, reports)},
            },
            pod_cidrs=own.spec.pod_cidrs,
            mtu=mtu,
            path=node_path(me.kind, {peer.sends_by for peer in alike}),
            paths=counts,
            peers=self._peers,
            peer_cidrs=self._roster.pod_cidrs,
            problems={**self._roster.problems, **poor},
        )

    def _changed(
        self, me: LocalNode, own: NodeRoute, routes: Mapping[str, NodeRoute], host: Host
    ) -> Collection[str] | None:
        """Names of the usable peers whose paths have changed; None when more than paths has changed."""
        if self._seen is None:
            return None
        then = self._seen
        if me != then.me or host != then.host or not same_membership(own, then.own) or len(routes) != len(then.routes):
            return None
        changed = [name for name, route in routes.items() if route is not then.routes.get(name)]
        if any(name not in then.routes or not same_membership(routes[name], then.routes[name]) for name in changed):
            return None
        return [name for name in changed if name in self._peers]

    def _remake(self, me: LocalNode, routes: Mapping[str, NodeRoute], names: Collection[str]) -> None:
        """Recompute the entries of these peers. A table without a difference stays the same object."""
        before, now = _no_entries(), _no_entries()
        if self._seen:
            # Recomputed from the former input: to keep the entries of 5,000 peers one by one would cost 4 MB.
            for name in self._peers.keys() & names:
                self._add_entries(before, me, name, self._seen.routes[name])
        self._peers = {**self._peers, **{name: self._add_entries(now, me, name, routes[name]) for name in names}}
        for kind in _FOR_PEERS:
            if before[kind] != now[kind]:
                table = self._bulk[kind] = dict(self._bulk[kind])
                for key in before[kind]:
                    table.pop(key, None)
                table.update(now[kind])

    def _add_entries(self, to: Mapping[Kind, dict[Any, Any]], me: LocalNode, name: str, route: NodeRoute) -> Peer:
        """Add the entries for one peer to these tables."""
        entries = peer_entries(me, route.spec, self._roster.addresses[name], self._roster.ids)
        fdb, neighbours = TUNNELS[entries.device]
        to[fdb].update(entries.fdb)
        to[neighbours].update(entries.neighbours)
        to["nexthops"].update(entries.nexthops)
        to["routes"].update(entries.routes)
        return entries.peer

    def _links(self, own: NodeRoute, me: LocalNode, host: Host, tunnels: Sequence[str]) -> dict[str, Link]:
        return {
            device: Link(
                "vxlan",
                vtep_mac(own.spec.pod_cidrs),
                mtu=min(self._mtu(me, host), host.mtu - VXLAN_OVERHEAD[family]),
                up=True,
                vxlan=Vxlan(self._policy.vni, self._policy.port, end, host.interface),
            )
            for device, (family, end) in zip(tunnels, me.ends.items(), strict=False)
        }

    def _mtu(self, me: LocalNode, host: Host) -> int:
        """MTU of the pods, in bytes. Raises NodeUnusable when the operator's --mtu does not fit the NIC."""
        largest = host.mtu - VXLAN_OVERHEAD[me.underlay]
        if self._policy.mtu is None:
            return largest
        if self._policy.mtu > largest:
            raise NodeUnusable(
                "Interface",
                f"--mtu {self._policy.mtu} does not fit: {host.interface} has an MTU of {host.mtu}, which leaves "
                f"{largest} beside the tunnel: give all agents that or less",
            )
        return self._policy.mtu

    def _guards(self, me: LocalNode, own: NodeRoute) -> dict[RouteKey, Route]:
        """`unreachable` routes for packets to unknown pods.

        By the default route, a packet to a deleted pod of this node would loop between node and VPC until its TTL
        expires.
        """
        pools = self._pools(me)
        guarded = [(cidr, MAIN) for cidr in (*pools, *own.spec.pod_cidrs)]
        guarded += [(pool, TRANSIT_TABLE) for pool in pools if me.transit]
        return {RouteKey(base(cidr), cidr.length, GUARD_METRIC, table): Route(0, b"") for cidr, table in guarded}

    def _rules(self, me: LocalNode, own: NodeRoute) -> dict[Rule, None]:
        """A gateway's rules for packets that come in by the NIC."""
        if not me.transit:
            return {}
        to_own = [(OWN_PODS_PRIORITY, cidr, MAIN) for cidr in own.spec.pod_cidrs]
        to_all = [(TRANSIT_PRIORITY, pool, TRANSIT_TABLE) for pool in self._pools(me)]
        return {
            Rule(priority, me.interface, base(cidr), cidr.length, table): None
            for priority, cidr, table in (*to_own, *to_all)
        }

    def _pools(self, me: LocalNode) -> list[Cidr]:
        """The cluster's pools of the families that the node's pods have."""
        return [pool for pool in self._policy.pools if pool.family in me.families]

    def _ruleset(self, me: LocalNode, own: NodeRoute, reports: Mapping[str, RouteTableObject]) -> Ruleset:
        native = [reports[table_id] for table_id in own.spec.native_in if table_id in reports]
        subnets = [cidr for report in native for subnet in report.subnets for cidr in subnet.cidrs]
        if self._policy.gateway_keeps_source:
            subnets += [cidr for report in reports.values() for cidr in _led_back(own, report)]
        # Without --cluster-cidr the pod CIDRs of all NodeRoutes are the cluster.
        cluster = self._policy.pools or (*self._roster.cidrs, *own.spec.pod_cidrs)
        reserved = [cidr for report in reports.values() for subnet in report.subnets for cidr in subnet.reserved]
        return Ruleset(
            masquerade=self._policy.masquerade,
            pods=own.spec.pod_cidrs,
            port=self._policy.port,
            masqueraded=without_nested((*LINK_LOCAL_SERVICES, *reserved, *self._policy.always)),
            networks=without_nested((*cluster, *subnets, *self._policy.exceptions)),
            hosts=self._roster.hosts,
            peers=self._roster.cidrs,
            transit=frozenset(self._pools(me)) if me.transit else frozenset(),
            interface=me.interface if me.transit else "",
        )


def _led_back(own: NodeRoute, report: RouteTableObject) -> Iterator[Cidr]:
    """Yield the CIDRs of a table's subnets in the families in which an aggregate of it leads to this node's pods."""
    for pods in own.spec.pod_cidrs:
        use = report.families.get(pods.family)
        if use and any(aggregate.destination.covers(pods) for aggregate in use.gateways):
            for subnet in report.subnets:
                yield from (cidr for cidr in subnet.cidrs if cidr.family == pods.family)


def _no_entries() -> dict[Kind, dict[Any, Any]]:
    return {kind: {} for kind in _FOR_PEERS}


def accept_ra(interface: str) -> str:
    """Path of the sysctl for router advertisements."""
    return f"net/ipv6/conf/{interface}/accept_ra"


def sysctls(me: LocalNode, host: Host, tunnels: Sequence[str] = (VTEP,)) -> dict[str, str]:
    """Sysctls for forwarding in each family, and for loose reverse path filters.

    A path may change in one direction first, and pods answer nodes by another path than the request took: a strict
    filter would drop these packets. The kernel takes the higher value of `all` and the device, and 2 is loose. A
    machine that forwards accepts router advertisements only where accept_ra is 2, else it loses its default route: so
    accept_ra comes before forwarding.

    A gateway sends packets for direct peers out by the NIC that they came in by, which Linux answers by redirects: a
    sender that obeys one keeps to that peer past any change. It sends them where `all` or the NIC has them on
    (include/linux/inetdevice.h, IN_DEV_TX_REDIRECTS). IPv6 needs no setting: a redirect names the gateway of the route
    if it is link-local, and is not sent otherwise; a peer's address never is (net/ipv6/ndisc.c, ndisc_send_redirect).

    New devices skip duplicate address detection. With it, the host's end of a new pod's veth pair would neither answer
    for the gateway nor ask for the pod for two seconds, since its link-local address may not be used before.
    """
    wanted: dict[str, str] = {}
    if "ipv4" in me.families:
        wanted |= {f"net/ipv4/conf/{device}/rp_filter": "2" for device in (me.interface, *tunnels)}
        wanted["net/ipv4/ip_forward"] = "1"
        wanted |= {f"net/ipv4/conf/{device}/forwarding": "1" for device in (me.interface, *tunnels)}
        if me.transit:
            wanted |= {f"net/ipv4/conf/{device}/send_redirects": "0" for device in ("all", me.interface)}
    if "ipv6" in me.families:
        if host.accepts_ra:
            wanted[accept_ra(me.interface)] = "2"
        wanted |= {f"net/ipv6/conf/{device}/disable_ipv6": "0" for device in tunnels}
        wanted["net/ipv6/conf/default/accept_dad"] = "0"
        wanted["net/ipv6/conf/all/forwarding"] = "1"
        wanted |= {f"net/ipv6/conf/{device}/forwarding": "1" for device in (me.interface, *tunnels)}
    return wanted


def _addresses(own: NodeRoute) -> dict[AddressKey, None]:
    return dict.fromkeys(AddressKey(VTEP, base(cidr), BITS[cidr.family]) for cidr in own.spec.pod_cidrs)

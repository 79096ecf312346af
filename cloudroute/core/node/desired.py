"""From NodeRoutes and RouteTables to the tables of one node's kernel: pure, but for remembering what it has made.

Nothing here knows what is in the kernel. `DesiredStateBuilder.compose` says what should be there; the trackers find the
difference. What depends on nothing that has changed is taken over as it was, so that one peer's change of path among
5,000 makes one new entry, and entries that are the same objects cost nothing to compare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

from cloudroute.core.node.peers import Entries, LocalNode, NodeUnusable, Peer, base, peer_entries, vtep_mac
from cloudroute.core.node.roster import Roster, apart, roster, same_membership
from cloudroute.core.paths import node_path
from cloudroute.dataplane import (
    GUARD_METRIC,
    TABLE,
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
    Ruleset,
    Vxlan,
)
from cloudroute.types import BITS, Cidr, NodePath, NodeRoute, Path, RouteTableObject

LINK_LOCAL_SERVICES = (Cidr.parse("169.254.168.0/22"), Cidr.parse("fd00:ec2::/32"))
"""Ranges of AWS's services on each machine, instance metadata and the Resolver among them: they answer the addresses of
its interfaces alone, and no route leads there (VPC user guide, "Configure route tables")."""


class AgentPolicy(NamedTuple):
    """What the operator wants alike on every node."""

    pools: tuple[Cidr, ...]
    vni: int
    port: int
    masquerade: bool
    exceptions: tuple[Cidr, ...]
    """Where pods keep their address all the same."""
    always: tuple[Cidr, ...] = ()
    """Where they never keep it."""
    mtu: int | None = None
    """Of the pods and of the tunnels, in bytes; None: what the NIC leaves."""


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What should be in the kernel, and what it amounts to."""

    tables: Mapping[Kind, Mapping[Any, Any]]
    """Of every kind but "files"."""
    pod_cidrs: tuple[Cidr, ...]
    mtu: int
    """Of the pods, in bytes."""
    path: NodePath
    paths: Mapping[Path, int]
    """How many peers are reached by each path."""
    peers: Mapping[str, Peer]
    peer_cidrs: Mapping[str, tuple[Cidr, ...]]
    problems: Mapping[str, str]
    """By the name of a NodeRoute: why it is not used, or not as it should be."""


def _on(device: str, what: str) -> Callable[[Entries], Iterable[tuple[Any, Any]]]:
    """A field of the entries for a peer, if its tunnel is on that device."""
    field = attrgetter(what)
    return lambda entries: field(entries) if entries.device == device else ()


_ENTRIES: Mapping[Kind, Callable[[Entries], Iterable[tuple[Any, Any]]]] = {
    **{fdb: _on(device, "fdb") for device, (fdb, _) in TUNNELS.items()},
    **{neighbours: _on(device, "neighbours") for device, (_, neighbours) in TUNNELS.items()},
    "nexthops": attrgetter("nexthops"),
    "routes": attrgetter("routes"),
}
"""What a peer adds to each table."""


class DesiredStateBuilder:
    """Makes `DesiredState`. Not for several threads."""

    def __init__(self, policy: AgentPolicy) -> None:
        self._policy = policy
        self._known: dict[Cidr, int] = {}
        self._taken: frozenset[int] = frozenset()
        self._seen: tuple[LocalNode, NodeRoute, Mapping[str, NodeRoute], Host] | None = None
        """What the rest was made from."""
        self._roster = Roster({}, {}, {}, frozenset(), frozenset(), {})
        self._peers: dict[str, Peer] = {}
        self._bulk: dict[Kind, dict[Any, Any]] = {}

    def adopt(self, ids: Mapping[Cidr, int]) -> None:
        """Keep the nexthops that were found in the kernel."""
        self._known = {**ids}
        self._seen = None

    def avoid(self, ids: Collection[int]) -> None:
        """Give others' nexthop ids to nobody."""
        self._taken |= frozenset(ids)
        self._known = {cidr: id_ for cidr, id_ in self._known.items() if id_ not in self._taken}
        self._seen = None

    def compose(
        self, own: NodeRoute, routes: Mapping[str, NodeRoute], reports: Mapping[str, RouteTableObject], host: Host
    ) -> DesiredState:
        """Raises NodeUnusable when this node's own NodeRoute (`own`) or NIC does not serve."""
        me = LocalNode.of(own.spec, host, self._policy.pools)
        changed = self._changed(me, own, routes, host)
        if changed is None:
            self._roster = roster(own, routes, host, self._known, self._taken, self._policy.pools)
            self._known = dict(self._roster.ids)
            self._peers, self._bulk = {}, {**{kind: {} for kind in _ENTRIES}, "routes": self._guards(me, own)}
            changed = self._roster.pod_cidrs.keys()
        if changed:
            self._remake(me, routes, changed)
        self._seen = (me, own, routes, host)
        mtu = self._mtu(me, host)
        tunnels = (VTEP, VTEP6) if self._bulk["fdb6"] else (VTEP,)
        alike = Counter(self._peers.values())
        counts: Counter[Path] = Counter()
        for peer, number in alike.items():
            counts[peer.path] += number
        poor = {name: peer.problem for name, peer in self._peers.items() if peer.problem}
        return DesiredState(
            {
                "links": self._links(own, me, host, tunnels),
                "sysctls": sysctls(me, host, tunnels),
                "addresses": _addresses(own),
                "bridges": dict.fromkeys(own.spec.pod_cidrs),
                **self._bulk,
                "nftables": {TABLE: self._ruleset(own, reports)},
            },
            own.spec.pod_cidrs,
            mtu,
            node_path(me.kind, {peer.sends_by for peer in alike}),
            counts,
            self._peers,
            self._roster.pod_cidrs,
            {**self._roster.problems, **poor},
        )

    def _changed(
        self, me: LocalNode, own: NodeRoute, routes: Mapping[str, NodeRoute], host: Host
    ) -> Collection[str] | None:
        """The usable peers that have changed; None when more has changed than paths."""
        if self._seen is None:
            return None
        then_me, then_own, then, then_host = self._seen
        if me != then_me or host != then_host or not same_membership(own, then_own) or len(routes) != len(then):
            return None
        changed = [name for name, route in routes.items() if route is not then.get(name)]
        if any(name not in then or not same_membership(routes[name], then[name]) for name in changed):
            return None
        return [name for name in changed if name in self._peers]

    def _remake(self, me: LocalNode, routes: Mapping[str, NodeRoute], names: Collection[str]) -> None:
        """Make the entries of these peers anew. A table in which nothing differs stays the same object."""

        def entries_of(name: str, all_routes: Mapping[str, NodeRoute]) -> Entries:
            return peer_entries(me, all_routes[name].spec, self._roster.addresses[name], self._roster.ids)

        # What a peer had comes from what it was made from: to keep it would cost 4 MB with 5,000 peers.
        before = [entries_of(name, self._seen[2]) for name in names if name in self._peers] if self._seen else []
        now = {name: entries_of(name, routes) for name in names}
        self._peers = {**self._peers, **{name: entries.peer for name, entries in now.items()}}
        for kind, of_kind in _ENTRIES.items():
            old = list(chain.from_iterable(map(of_kind, before)))
            new = list(chain.from_iterable(map(of_kind, now.values())))
            if old != new:
                table = self._bulk[kind] = dict(self._bulk[kind])
                for key, _ in old:
                    table.pop(key, None)
                table.update(new)

    def _links(self, own: NodeRoute, me: LocalNode, host: Host, tunnels: Sequence[str]) -> dict[str, Link]:
        mac, vnis = vtep_mac(own.spec.pod_cidrs), (self._policy.vni, self._policy.port)
        return {
            device: Link(
                "vxlan",
                mac,
                min(self._mtu(me, host), host.mtu - VXLAN_OVERHEAD[family]),
                True,
                Vxlan(*vnis, end, host.interface),
            )
            for device, (family, end) in zip(tunnels, me.ends.items(), strict=False)
        }

    def _mtu(self, me: LocalNode, host: Host) -> int:
        """Of the pods. Raises NodeUnusable when that of the operator does not fit the NIC."""
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
        """Packets for no known pod end here as unreachable.

        By the default route, one for a pod of this node that is gone would go round between node and VPC until its
        TTL is used up.
        """
        return {
            RouteKey(base(cidr), cidr.length, GUARD_METRIC): Route(0, b"")
            for cidr in (*self._policy.pools, *own.spec.pod_cidrs)
            if cidr.family in me.families
        }

    def _ruleset(self, own: NodeRoute, reports: Mapping[str, RouteTableObject]) -> Ruleset:
        native = [reports[table_id] for table_id in own.spec.native_in if table_id in reports]
        subnets = [cidr for report in native for subnet in report.subnets for cidr in subnet.cidrs]
        # Without --cluster-cidr the cluster is what the NodeRoutes say.
        cluster = self._policy.pools or (*self._roster.cidrs, *own.spec.pod_cidrs)
        reserved = [cidr for report in reports.values() for subnet in report.subnets for cidr in subnet.reserved]
        return Ruleset(
            self._policy.masquerade,
            own.spec.pod_cidrs,
            self._policy.port,
            apart((*LINK_LOCAL_SERVICES, *reserved, *self._policy.always)),
            apart((*cluster, *subnets, *self._policy.exceptions)),
            self._roster.hosts,
            self._roster.cidrs,
        )


def accept_ra(interface: str) -> str:
    """The sysctl for router advertisements."""
    return f"net/ipv6/conf/{interface}/accept_ra"


def sysctls(me: LocalNode, host: Host, tunnels: Sequence[str] = (VTEP,)) -> dict[str, str]:
    """Forwarding for each family, and loose reverse path filters.

    A path may change in one direction first, and pods answer nodes by another way than they were asked: a strict
    filter would drop that. The kernel takes the higher of `all` and the device, and 2 is loose. A machine that forwards
    takes router advertisements only where accept_ra is 2, and forgets its default route before: so that comes first.

    New devices do no duplicate address detection: for two seconds the host's end of a new pod's cable would answer for
    no gateway, and ask for no pod, since its link-local address may not be used before.
    """
    wanted: dict[str, str] = {}
    if "ipv4" in me.families:
        wanted |= {f"net/ipv4/conf/{device}/rp_filter": "2" for device in (me.interface, *tunnels)}
        wanted["net/ipv4/ip_forward"] = "1"
        wanted |= {f"net/ipv4/conf/{device}/forwarding": "1" for device in (me.interface, *tunnels)}
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

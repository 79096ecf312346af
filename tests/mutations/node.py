"""Mutations of an agent's decisions."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_NODE = "cloudroute/core/node"

NODE = (
    Mutation(
        "A forged NodeRoute takes over the address of the machine's own gateway.",
        f"{_NODE}/roster.py",
        " | set(host.gateways)",
        "",
        ("tests/core/test_roster.py",),
    ),
    Mutation(
        "Of two NodeRoutes with one CIDR, the first by name keeps it, and not the older.",
        f"{_NODE}/roster.py",
        'by_name[name].created if name in by_name else ""',
        '""',
        ("tests/core/test_roster.py",),
    ),
    Mutation(
        "A nexthop id that another program uses by now is kept, and its route never works.",
        f"{_NODE}/peers.py",
        "id_ not in used and id_ not in taken:",
        "id_ not in used:",
        ("tests/core/test_roster.py",),
    ),
    Mutation(
        "A node that reports its IPv6 address first tunnels by IPv6, and its peers with IPv4 do not.",
        f"{_NODE}/peers.py",
        "mine = sorted((address for text in spec.node_ips if (address := packed_or_none(text))), key=len)",
        "mine = [address for text in spec.node_ips if (address := packed_or_none(text))]",
        ("tests/core/test_roster.py",),
    ),
    Mutation(
        "Packets to a peer with several addresses go to its last one.",
        f"{_NODE}/peers.py",
        "for address in reversed(addresses)",
        "for address in addresses",
        ("tests/core/test_roster.py",),
    ),
    Mutation(
        "A node with a pod CIDR of four addresses refuses to work.",
        f"{_NODE}/peers.py",
        "cidr.size < LEAST_ADDRESSES",
        "cidr.size <= LEAST_ADDRESSES",
        ("tests/core/test_roster.py",),
    ),
    Mutation(
        "Entries of a peer that has left stay.",
        f"{_NODE}/desired.py",
        " or len(routes) != len(then.routes)",
        "",
        ("tests/agent/test_sync.py",),
    ),
    Mutation(
        "The IPv6 tunnel's MTU is too large: long packets to peers with IPv6 alone are lost.",
        f"{_NODE}/desired.py",
        "min(self._mtu(me, host), host.mtu - VXLAN_OVERHEAD[family])",
        "self._mtu(me, host)",
        ("tests/core/test_families.py",),
    ),
    Mutation(
        "A machine forwards IPv6 before it accepts router advertisements as a router: it loses its default route.",
        f"{_NODE}/desired.py",
        "        if host.accepts_ra:\n",
        '        wanted["net/ipv6/conf/all/forwarding"] = "1"\n        if host.accepts_ra:\n',
        ("tests/agent/test_loop.py",),
    ),
    Mutation(
        "A route whose nexthop id was taken by another program is never tried with another id.",
        f"{_NODE}/desired.py",
        "if id_ not in self._taken}\n        self._seen = None",
        "if id_ not in self._taken}",
        ("tests/agent/test_sync.py",),
    ),
    Mutation(
        "Pods keep their own address toward subnets that have no route back.",
        f"{_NODE}/desired.py",
        "for table_id in own.spec.native_in if table_id in reports]",
        "for table_id in reports]",
        ("tests/agent/test_sync.py",),
    ),
    Mutation(
        "Pods keep their own address toward the Resolver of their VPC, which does not answer it.",
        f"{_NODE}/desired.py",
        "(*LINK_LOCAL_SERVICES, *reserved, *self._policy.always)",
        "(*LINK_LOCAL_SERVICES, *self._policy.always)",
        ("tests/agent/test_sync.py",),
    ),
    Mutation(
        "A failure is reported for good although another program has mended it.",
        f"{_NODE}/tracker.py",
        "self._settled = None\n        self._drop_obsolete_failures()",
        "self._settled = None",
        ("tests/core/test_tracker.py",),
    ),
    Mutation(
        "No difference is seen any more after a write.",
        f"{_NODE}/tracker.py",
        "        self._settled = None\n        if not (self.failed",
        "        if not (self.failed",
        ("tests/core/test_tracker.py",),
    ),
    Mutation(
        "The CNI configuration names a plugin that is not installed: no pod starts.",
        f"{_NODE}/conflist.py",
        'all(plugin["type"] in plugins for plugin in first)',
        'any(plugin["type"] in plugins for plugin in first)',
        ("tests/core/test_conflist.py",),
    ),
    Mutation(
        "A node that joins gives other peers new nexthop ids: each of their routes is replaced.",
        f"{_NODE}/desired.py",
        "self._known = dict(self._roster.ids)",
        "self._known = {}",
        ("tests/core/test_roster.py",),
    ),
)

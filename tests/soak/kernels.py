"""Kernels' tables: counted, to see leftovers, and compared with the tables that their agents should want."""

from __future__ import annotations

import json
from collections.abc import Mapping

from cloudroute.adapters.kernel import HostKernel
from cloudroute.adapters.kube import project
from cloudroute.agent.sync import Sync, describe
from cloudroute.core.node.conflist import conflist
from cloudroute.core.node.desired import AgentPolicy, DesiredStateBuilder
from cloudroute.dataplane import CONFLIST, KINDS, network
from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.netns import Namespace, execute, leftovers
from cloudroute.types import Cidr

VNI, PORT = 1, 8472
"""The agents' defaults."""
Counts = Mapping[str, int]
"""Number of entries by kind."""

_LISTS = {
    "links": ("ip", "-j", "link", "show"),
    "addresses": ("ip", "-j", "address", "show"),
    "routes": ("ip", "-j", "route", "show", "table", "all"),
    "routes of IPv6": ("ip", "-6", "-j", "route", "show", "table", "all"),
    "rules": ("ip", "-j", "rule", "show"),
    "nexthops": ("ip", "-j", "nexthop", "show"),
    "neighbours": ("ip", "-j", "neigh", "show", "nud", "permanent"),
    "FDB entries": ("bridge", "-j", "fdb", "show"),
}
_NFT = ("nft", "-j", "list", "ruleset")


def inventory(lab: HostLab) -> dict[str, Counts]:
    """Of every namespace of a lab, by its name."""
    return {one.name: counts(one) for one in leftovers(lab.prefix)}


def counts(namespace: Namespace | None) -> Counts:
    """Of one namespace; None is the machine's own."""
    found = {}
    for kind, argv in _LISTS.items():
        listed = json.loads(_run(namespace, *argv) or "[]")
        inner = [len(one["addr_info"]) for one in listed] if kind == "addresses" else [1] * len(listed)
        found[kind] = sum(inner)
    objects = json.loads(_run(namespace, *_NFT))["nftables"]
    found["nft objects"] = sum("metainfo" not in one for one in objects)
    found["nft elements"] = sum(len(one["set"].get("elem", ())) for one in objects if "set" in one)
    found["nft elements"] += sum(len(one["map"].get("elem", ())) for one in objects if "map" in one)
    return found


def _run(namespace: Namespace | None, *argv: str) -> str:
    return namespace.run(*argv) if namespace else execute(*argv)


def compared(before: Mapping[str, Counts], after: Mapping[str, Counts]) -> list[str]:
    """Return a sentence for each count that is higher or lower than before."""
    words = [f"the namespace {name} is new" for name in after.keys() - before.keys()]
    words += [f"the namespace {name} is gone" for name in before.keys() - after.keys()]
    for name in sorted(before.keys() & after.keys()):
        words += [
            f"{name}: {before[name][kind]} {kind} have become {after[name][kind]}"
            for kind in before[name]
            if before[name][kind] != after[name][kind]
        ]
    return words


def drift(lab: HostLab) -> list[str]:
    """Return a sentence for each entry of a host's kernel that differs from its NodeRoutes."""
    return [f"{host.name}: {words}" for host in lab.hosts.values() for words in _drift(lab, host)]


def _drift(lab: HostLab, host: LabHost) -> list[str]:
    routes = {raw["metadata"]["name"]: project.node_route(raw) for raw in lab.node_routes()}
    reports = {raw["metadata"]["name"]: project.route_table_object(raw) for raw in lab.kube.list("routetables")}
    builder = DesiredStateBuilder(
        AgentPolicy(tuple(map(Cidr.parse, lab.pools)), VNI, PORT, masquerade=True, exceptions=())
    )
    with host.namespace.inside():
        kernel = HostKernel(str(host.conf_dir))
        try:
            sync = Sync(kernel)
            found = sync.read("routes").actual
            nexthops = {network(key.destination, key.length): to.nexthop for key, to in found.items() if to[0]}
            builder.adopt(nexthops)
            wanted = builder.compose(routes[host.name], routes, reports, kernel.host("eth0"))
            plugins, _ = kernel.plugins()
            file = {f"{host.conf_dir}/{CONFLIST}": conflist(wanted.pod_cidrs, wanted.mtu, plugins)}
            sync.want({**wanted.tables, "files": file})
            words = [f"{name}: {why}" for name, why in wanted.problems.items()]
            for kind in KINDS:
                tracker = sync.read(kind)
                words += [f"{describe(kind, key)} is not as it should be" for key in tracker.puts()]
                words += [f"{describe(kind, key)} should not be there" for key in tracker.drops()]
                words += filter(None, [sync.broken.get(kind)])
            return words
        finally:
            kernel.close()

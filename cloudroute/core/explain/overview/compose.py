"""The status in JSON's types: dicts, lists, text and numbers. docs/status-page.md explains each key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from cloudroute.core.cluster.notices import agent_trouble
from cloudroute.core.cluster.tables import TableUse
from cloudroute.core.explain.overview.cycle import Cycle, timestamp
from cloudroute.core.explain.overview.findings import findings
from cloudroute.core.explain.overview.pairs import Pairs, count_pairs
from cloudroute.core.explain.overview.why import LONGEST, Reasons
from cloudroute.types import NODE_PATHS, PATHS, Family, Node, NodeRoute

MOST_WARNINGS = 100
MOST_WAITS = 5


def compose(cycle: Cycle) -> dict[str, Any]:
    """The whole status. Never raises, whatever is in the snapshot. 5,000 nodes take a tenth of a second."""
    snapshot, decision = cycle.snapshot, cycle.decision
    policy = decision.policy
    names = sorted({*snapshot.nodes, *snapshot.node_routes})
    zones = {name: _zone(cycle, name) for name in names}
    pairs = count_pairs({name: record.spec for name, record in snapshot.node_routes.items()}, zones)
    reasons = Reasons(cycle, pairs)
    why = {name: reasons.of(name) for name in names}
    told = Counter(words for words in why.values() if words)
    order = {words: number for number, (words, _) in enumerate(told.most_common())}
    warnings = list(_warnings(cycle))
    owners = {record.spec.network_interface_id: name for name, record in snapshot.node_routes.items()}
    return {
        "vpc": snapshot.vpc_id,
        "settings": {
            "routeLimit": snapshot.limit,
            "routeReserve": policy.route_reserve,
            "directRouting": policy.direct_routing,
            "overlay": policy.overlay,
        },
        "pools": [
            {"cidr": str(pool), "free": free, "all": _parts(cycle, pool.family, pool.length)}
            for pool, free in decision.free.items()
        ],
        "did": cycle.did,
        "left": cycle.left,
        "waits": _waits(cycle),
        "tables": [
            _table(use, family, policy.route_reserve, owners)
            for use in reasons.uses.values()
            for family in use.families
        ],
        "paths": _paths(pairs, len(names)),
        "pairs": dict(zip(PATHS, pairs.total, strict=True)),
        "reasons": [{"text": words, "nodes": number} for words, number in told.most_common()],
        "matrix": {"by": pairs.by, "names": pairs.names, "cells": pairs.cells},
        "nodes": [
            _node(
                name, snapshot.nodes.get(name), snapshot.node_routes.get(name), pairs, zones[name], order.get(why[name])
            )
            for name in names
        ],
        "warnings": warnings[:MOST_WARNINGS],
        "moreWarnings": max(0, len(warnings) - MOST_WARNINGS),
    }


def _parts(cycle: Cycle, family: Family, length: int) -> int:
    """Number of pod CIDRs in a pool, used or free."""
    return 1 << max(0, cycle.decision.policy.node_mask[family] - length)


def _paths(pairs: Pairs, nodes: int) -> dict[str, int]:
    """Number of nodes by path; "none" for nodes without a NodeRoute."""
    counts = Counter(pairs.path.values())
    return {**{path: counts[path] for path in NODE_PATHS}, "none": nodes - len(pairs.path)}


def _zone(cycle: Cycle, name: str) -> str:
    """A node's zone: from EC2, else from the Node."""
    snapshot = cycle.snapshot
    node, record = snapshot.nodes.get(name), snapshot.node_routes.get(name)
    instance = snapshot.instances.get(record.spec.instance_id if record else node.instance_id if node else "")
    if instance and instance.zone:
        return instance.zone
    subnet = snapshot.subnets.get(record.spec.subnet_id) if record else None
    return subnet.zone if subnet else node.zone_hint[:LONGEST] if node else ""


def _table(use: TableUse, family: Family, reserve: int, owners: Mapping[str, str]) -> dict[str, Any]:
    """One family of a route table. ours + foreign + reserved + free is the limit, unless the table has more entries.

    `owners`: name of the node by interface.
    """
    fill, limit = use.families[family], use.limit(family)
    room = max(0, limit - fill.used)
    reserved = min(reserve, room) if use.managed else 0
    return {
        "id": use.table.id,
        "family": family,
        "managed": use.managed,
        "zones": sorted({subnet.zone for subnet in use.subnets}),
        "subnets": [subnet.id for subnet in use.subnets],
        "limit": limit,
        "configuredLimit": fill.limit,
        "learnedLimit": fill.learned_limit,
        "used": fill.used,
        "ours": fill.ours,
        "blackholes": sum(1 for cidr, route in use.ours.items() if route.blackhole and cidr.family == family),
        "foreign": fill.foreign,
        "gateways": [
            {"destination": str(cidr), "node": owners.get(route.target, "") if route else ""}
            for cidr, route in use.aggregates.items()
            if cidr.family == family
        ],
        "reserved": reserved,
        "free": room - reserved,
    }


def _node(
    name: str, node: Node | None, record: NodeRoute | None, pairs: Pairs, zone: str, why: int | None
) -> dict[str, Any]:
    spec = record.spec if record else None
    cidrs = spec.pod_cidrs if spec else node.pod_cidrs if node else ()
    return {
        "name": name,
        "path": pairs.path.get(name),
        "why": why,
        "peers": pairs.peers.get(name, [0] * len(PATHS)),
        "zone": zone,
        "table": spec.route_table_id if spec else "",
        "podCIDRs": [str(cidr) for cidr in cidrs],
        "nodeIPs": list(spec.node_ips if spec else node.node_ips if node else ()),
        "instanceID": spec.instance_id if spec else node.instance_id if node else "",
        "agent": _agent(record),
    }


def _agent(record: NodeRoute | None) -> str:
    """State of the agent: "ready", "behind", "silent", or its own description of the problem."""
    if record is None or not record.status:
        return "silent"
    status = record.status
    if trouble := agent_trouble(status):
        return trouble[:LONGEST]
    if status.get("ready") is False:
        return str(status.get("message") or status.get("reason") or "not ready")[:LONGEST]
    observed = status.get("observedGeneration")
    return "behind" if isinstance(observed, int) and observed < record.generation else "ready"


def _waits(cycle: Cycle) -> dict[str, Any]:
    """Work that has to wait: its number, the first few items, and the time of the first one."""
    waits = sorted(cycle.decision.plan.waits)
    shift = cycle.at - cycle.snapshot.now
    return {
        "count": len(waits),
        "until": timestamp(waits[0].until + shift) if waits else "",
        "first": [wait.what for wait in waits[:MOST_WAITS]],
    }


def _warnings(cycle: Cycle) -> Iterator[Mapping[str, str]]:
    """The controller's notices, then doctor's findings."""
    for notice in dict.fromkeys(cycle.notices):
        yield {
            "state": "warning" if notice.warning else "note",
            "about": f"{notice.kind.lower()}/{notice.name}"[:LONGEST],
            "reason": notice.reason,
            "message": notice.message[: 2 * LONGEST],
            "todo": "",
        }
    for finding in findings(cycle.snapshot, cycle.decision.policy):
        yield {
            "state": finding.state,
            "about": f"doctor: {finding.group}",
            "reason": finding.check,
            "message": finding.found[: 2 * LONGEST],
            "todo": finding.todo,
        }

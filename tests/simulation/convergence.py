"""Checks that must pass after the last fault; the scenario repeats them until they do, up to a deadline."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, permutations
from typing import TYPE_CHECKING

from cloudroute.core.cluster.model import Carryover
from cloudroute.core.cluster.planner import decide
from tests.simulation.packet import lost, parse, path

if TYPE_CHECKING:
    from tests.simulation.cluster import SimCluster
    from tests.simulation.replica import Replica


def leader(sim: SimCluster) -> Replica | None:
    """The leading replica; None while there is none or more than one."""
    leading = [r for r in sim.replicas if r.group.alive and r.lease and r.lease.held and r.loop]
    return leading[0] if len(leading) == 1 else None


def problem(sim: SimCluster) -> str:
    """First check that fails, in words; "" when the cluster has converged."""
    found = leader(sim)
    if found is None:
        return "no replica leads, or more than one does"
    assert found.loop
    # It does not know of later changes by others yet where its reads of EC2 have failed since, or hang.
    age = found.loop.snapshot().now - found.loop.reader.cache.tables_read
    if sim.scheduler.now - age < max(sim.tampered.values(), default=0.0):
        return "the leader has not read the tables since somebody else changed them"
    return _plan(found) or _nodes(sim) or _routes(sim) or _pairs(sim) or sim.gateways.problem()


def _plan(replica: Replica) -> str:
    """Check that planning again gives nothing, from the leader's memory and from an empty one."""
    assert replica.loop
    loop = replica.loop
    if not loop.reader.cache.complete:
        return "the leader has not read EC2"
    snapshot = loop.snapshot()
    plan = decide(snapshot, loop.reader.policy).plan
    if not plan.empty or plan.waits:
        return f"the leader still plans {[step.key for step in (*plan.steps, *plan.publish)]} {plan.waits}"
    afresh = decide(replace(snapshot, carryover=Carryover()), loop.reader.policy).plan
    return (
        "" if afresh.empty else f"a fresh process would plan {[step.key for step in (*afresh.steps, *afresh.publish)]}"
    )


def _nodes(sim: SimCluster) -> str:
    nodes = [node for node in sim.nodes if node.running and node.registered]
    routes = sim.checks.node_routes()
    for node in nodes:
        if node.name in sim.duplicates:
            continue
        item = sim.api.get("nodes", node.name)
        found = [c for c in item.get("status", {}).get("conditions", ()) if c["type"] == "NetworkUnavailable"]
        if not found or found[0]["status"] != "False":
            return f"{node.name} is not available: {found}"
        if not sim.checks.cidrs(node):
            return f"{node.name} has no NodeRoute"
        if sim.cloud.checked(node.machine.interface_id):
            return f"the source/dest check of {node.name} is on"
        if not routes[node.name].get("status", {}).get("ready"):
            return f"the agent of {node.name} is not ready"
    names = {node.name for node in nodes}
    if extra := routes.keys() - names:
        return f"there are NodeRoutes without a Node: {sorted(extra)}"
    return ""


def _routes(sim: SimCluster) -> str:
    """Check that foreign routes are there, that our routes are those that NodeRoutes list, and that they fit."""
    published = {
        (table, cidr): spec["networkInterfaceID"]
        for spec in sim.checks.specs()
        for cidr in spec["podCIDRs"]
        for table in spec["nativeIn"]
        if sim.cloud.takes(spec["networkInterfaceID"], cidr)
    }
    for table in sim.tables:
        routes = sim.cloud.routes(table)
        for where, destination in sim.foreign:
            if where == table and routes.get(destination, ("", False))[0] != sim.cloud.gateway:
                return f"the foreign route {destination} in {table} is gone"
        ours = {to: eni for to, (eni, _) in routes.items() if eni.startswith("eni-")}
        nodes = {to: eni for to, eni in ours.items() if not sim.gateways.is_aggregate(to)}
        if nodes != {to: eni for (where, to), eni in published.items() if where == table}:
            return f"{table} has {ours}, NodeRoutes list {published}"
        for family, used in sim.cloud.used(table).items():
            mine = len([to for to in nodes if parse(to).family == family])
            if used > sim.replicas[0].settings.route_limit and mine:  # type: ignore[operator] # never auto here
                return f"{table} has {used} {family} entries, more than its limit, and {mine} are ours"
    return ""


def _pairs(sim: SimCluster) -> str:
    nodes = [node for node in sim.nodes if node.running and node.registered and node.name not in sim.duplicates]
    for source, target in permutations(nodes, 2):
        for cidr in sim.checks.cidrs(target):
            if why := lost(sim, source, target, parse(cidr)):
                return f"from {source.name} to {target.name} ({cidr}): {why}"
    for source, target in combinations(nodes, 2):
        there = {parse(cidr).family: path(source, parse(cidr)) for cidr in sim.checks.cidrs(target)}
        back = {parse(cidr).family: path(target, parse(cidr)) for cidr in sim.checks.cidrs(source)}
        whole = all(len(node.machine.addresses) == len(there) for node in (source, target))
        if there != back or (whole and len({*there.values()}) > 1):
            return f"from {source.name} to {target.name} by {there}, and back by {back}"
    return ""

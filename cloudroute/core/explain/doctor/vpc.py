"""Checks of the VPC's tables, addresses and interfaces against the cluster."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from cloudroute.core.cluster.model import FALLBACK_LIMIT, Policy, Snapshot
from cloudroute.core.cluster.tables import TableUse, select, table_by_subnet, table_uses
from cloudroute.core.explain.doctor.facts import Facts
from cloudroute.core.explain.doctor.findings import (
    Check,
    Lacking,
    Outcome,
    Unknown,
    counted,
    failed,
    known,
    listed,
    ok,
    warning,
)
from cloudroute.types import CLUSTER_TAG, Cidr, Family, RouteTable

T = TypeVar("T")


def snapshot_of(facts: Facts) -> Snapshot:
    """The planner's snapshot of these facts. Facts that are not needed to find the tables may be Unknown.

    Raises Lacking.
    """
    kube, aws = facts.kubernetes, facts.aws
    quota = aws.quota if isinstance(aws.quota, int) else FALLBACK_LIMIT
    return Snapshot(
        now=0.0,
        nodes=_or_none(kube.nodes),
        node_routes=_or_none(kube.node_routes),
        route_table_objects=_or_none(kube.route_table_objects),
        vpc_id=known(aws.vpc_id),
        instances=_or_none(aws.instances),
        tables=known(aws.tables),
        subnets=_or_none(aws.subnets),
        limit=quota if facts.route_limit == "auto" else facts.route_limit,
        prefix_lists=_or_none(aws.prefix_lists),
    )


def _or_none(fact: Mapping[str, T] | Unknown) -> Mapping[str, T]:
    return {} if isinstance(fact, Unknown) else fact


# --- tables -------------------------------------------------------------------------------------


def managed(snapshot: Snapshot, policy: Policy) -> list[RouteTable]:
    """The tables that the controller would fill, by id."""
    ids = select(snapshot, policy).managed
    return [table for id_, table in sorted(snapshot.tables.items()) if id_ in ids]


def _tables(facts: Facts) -> Outcome:
    snapshot, policy = snapshot_of(facts), facts.policy
    if missing := [id_ for id_ in policy.table_ids if id_ not in snapshot.tables]:
        return failed(
            f"{snapshot.vpc_id} has no {listed(missing)}", "name tables of this VPC with --route-table, or none"
        )
    found = listed(table.id for table in managed(snapshot, policy))
    if policy.table_ids:
        return _with_subnets(snapshot, policy, f"{found}: named by --route-table")
    tag = CLUSTER_TAG + policy.cluster_name
    if any(tag in table.tags for table in snapshot.tables.values()):
        return _with_subnets(snapshot, policy, f"{found}: tagged {tag}")
    known(facts.kubernetes.nodes)
    known(facts.aws.instances)
    if not found:
        return failed(
            f"no table of {snapshot.vpc_id} is tagged {tag}, and no node's instance is there to find one by",
            f"tag the tables {tag}, or name them with --route-table",
        )
    return _with_subnets(snapshot, policy, f"{found}: of the nodes' subnets, since none is tagged {tag}")


def _with_subnets(snapshot: Snapshot, policy: Policy, found: str) -> Outcome:
    """Outcome for found tables: ok if all nodes' subnets use them."""
    table_of = table_by_subnet(snapshot)
    ids = {table.id for table in managed(snapshot, policy)}
    subnets = {i.primary.subnet_id for i in snapshot.instances.values() if i.primary and i.vpc_id == snapshot.vpc_id}
    others = sorted(
        f"{subnet} uses {table_of.get(subnet) or 'none'}" for subnet in subnets if _other(table_of, subnet, ids)
    )
    if others:
        return warning(
            f"{found}; but of the nodes' subnets {listed(others)}",
            "tag or name those tables too: their nodes reach all others by the overlay alone",
        )
    return ok(found)


def _other(table_of: Mapping[str, str], subnet: str, ids: Collection[str]) -> bool:
    return table_of.get(subnet) not in ids


def _entries(facts: Facts) -> Outcome:
    uses = table_uses_of(facts)
    policy, nodes = facts.policy, known(facts.kubernetes.nodes)
    instances = known(facts.aws.instances)
    subnets = [i.primary.subnet_id for n in nodes.values() if (i := instances.get(n.instance_id)) and i.primary]
    short, fine = [], []
    for id_, use in uses.items():
        needed = sum(1 for subnet in subnets if policy.direct_routing == "off" or subnet != use.only_subnet)
        for family in policy.families:
            room = _room(use, family, policy.route_reserve)
            if room < needed:
                short.append(f"{id_}: room for {room} of {counted(needed, 'node')} ({family})")
            fine.append(f"{id_}: {needed} of {room} ({family})")
    if not short:
        return ok(f"entries that the nodes need: {listed(fine)}")
    todo = "have the quota L-93826ACB raised and set --route-limit, use a table per zone, or free entries of others"
    return warning(listed(short), todo) if policy.overlay else failed(listed(short), f"{todo}; or --overlay on")


def _room(use: TableUse, family: Family, reserve: int) -> int:
    """Number of nodes' routes that the table can hold. Present ones may use the reserve, new ones may not."""
    present = sum([cidr.family == family for cidr in use.ours])
    missing = sum([cidr.family == family and route is None for cidr, route in use.aggregates.items()])
    grown = present + max(0, use.free(family) - missing - reserve)
    return max(0, min(grown, use.room_for_ours(family)))


def table_uses_of(facts: Facts) -> Mapping[str, TableUse]:
    """Use of the managed tables, by id. Raises Lacking."""
    facts.pools()
    known(facts.kubernetes.nodes)
    known(facts.aws.instances)
    snapshot = snapshot_of(facts)
    ids = [table.id for table in managed(snapshot, facts.policy)]
    if not ids:
        raise Lacking("no route table was found")
    return table_uses(snapshot, facts.policy, select(snapshot, facts.policy)._replace(table_ids=ids))


def _foreign(facts: Facts) -> Outcome:
    pools, aggregates = facts.policy.pools, facts.policy.aggregates
    inside = [
        f"{cidr} in {id_}"
        for id_, use in table_uses_of(facts).items()
        for cidr in sorted(use.foreign)
        if any(pool.covers(cidr) for pool in pools)
        and cidr not in aggregates
        and use.table.routes[cidr].target != "local"
    ]
    if inside:
        return warning(
            listed(inside),
            "delete these routes if nothing needs them; cloudroute never touches them, nor gives them out",
        )
    return ok("no route of others leads into the cluster CIDR")


# --- addresses ----------------------------------------------------------------------------------


def _overlap(facts: Facts, ranges: Iterable[tuple[Cidr, str]], where: str) -> Outcome:
    pools = facts.pools()
    every = list(ranges)
    hits = [f"{pool} and {cidr} of {whose}" for pool in pools for cidr, whose in every if pool.overlaps(cidr)]
    if hits:
        return failed(
            f"--cluster-cidr overlaps: {listed(hits)}",
            "choose a range that nobody else has (100.64.0.0/10 often is free); nodes keep the pod CIDRs they have",
        )
    return ok(
        f"{listed(map(str, pools))}: no overlap with {where} ({listed(str(cidr) for cidr, _ in every) or 'none'})"
    )


def _overlap_vpc(facts: Facts) -> Outcome:
    return _overlap(facts, [(cidr, "the VPC") for cidr in facts.vpc_ranges()], "the VPC")


def _overlap_peers(facts: Facts) -> Outcome:
    peers = known(facts.aws.peers)
    return _overlap(facts, [(cidr, peer.id) for peer in peers for cidr in peer.cidrs], "peers")


def _overlap_services(facts: Facts) -> Outcome:
    services = known(facts.kubernetes.services)
    return _overlap(facts, [(cidr, "the Services") for cidr in services], "the Services")


# --- interfaces ---------------------------------------------------------------------------------


def _instances(facts: Facts) -> Outcome:
    nodes, instances = known(facts.kubernetes.nodes), known(facts.aws.instances)
    vpc_id = known(facts.aws.vpc_id)
    absent, elsewhere = [], []
    for name, node in sorted(nodes.items()):
        instance = instances.get(node.instance_id)
        if node.instance_id and instance is None:
            absent.append(f"{name} ({node.instance_id})")
        elif instance is not None and instance.vpc_id not in ("", vpc_id):
            elsewhere.append(f"{name} ({instance.vpc_id})")
    if absent or elsewhere:
        words = [f"EC2 shows no instance of {listed(absent)}"] if absent else []
        words += [f"not in {vpc_id}: {listed(elsewhere)}"] if elsewhere else []
        return failed("; ".join(words), "check --region, --vpc-id and the account, and each Node's spec.providerID")
    return ok(f"EC2 shows the instances of {counted(len(nodes), 'node')}")


def _source_dest_check(facts: Facts) -> Outcome:
    nodes, instances = known(facts.kubernetes.nodes), known(facts.aws.instances)
    routes = known(facts.kubernetes.node_routes)
    checked = [
        name
        for name, node in sorted(nodes.items())
        if (i := instances.get(node.instance_id)) and i.primary and i.primary.source_dest_check
    ]
    again = [
        name for name in checked if name in routes and (routes[name].spec.subnet_id or routes[name].spec.native_in)
    ]
    if again:
        return failed(
            f"on, though published as off: {listed(again)}",
            "see who switches it on (Terraform's source_dest_check?); the controller switches it off at each resync",
        )
    if checked:
        return ok(f"on at {counted(len(checked), 'node')}: the controller switches it off")
    return ok("off at the primary interface of each node")


CHECKS: tuple[Check[Facts], ...] = (
    Check("VPC", "instances", "routes lead to the network interfaces of the nodes' instances", _instances),
    Check("VPC", "tables", "a node reaches others natively only if its own subnet's table is kept", _tables),
    Check("VPC", "free-entries", "a node that finds no free entry is reached by the overlay, or not at all", _entries),
    Check("VPC", "foreign-routes", "part of the pool that leads elsewhere can't be given to nodes", _foreign),
    Check("VPC", "overlap-vpc", "inside the VPC's own range EC2 takes no route to pods", _overlap_vpc),
    Check(
        "VPC",
        "overlap-peers",
        "pods would reach other pods instead of the peer, and the peer not at all",
        _overlap_peers,
    ),
    Check("VPC", "overlap-services", "a packet to a Service would be sent to a node's pods", _overlap_services),
    Check(
        "VPC", "source-dest-check", "while it is on, EC2 drops packets from and to pods' addresses", _source_dest_check
    ),
)

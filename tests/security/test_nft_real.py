"""Hostile NodeRoutes and RouteTables, written by the real nft in a network namespace."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloudroute.adapters.kube import project
from cloudroute.adapters.nft.client import Nft
from cloudroute.core.node.desired import AgentPolicy, DesiredStateBuilder
from cloudroute.dataplane import TABLE
from tests.agent.in_memory import HOST, POOLS, node_route
from tests.hosts import Namespace
from tests.security import hostile

OWN = node_route(1, ["rtb-1"])
GUARD = "add table ip guard; add chain ip guard c; add rule ip guard c counter"
"""A foreign table, which an injected `flush ruleset` would delete."""


def every_text(texts: tuple[str, ...], most: int) -> list[list[str]]:
    return [list(texts[start : start + most]) for start in range(0, len(texts), most)]


def peers() -> list[dict[str, Any]]:
    """NodeRoutes with every bad CIDR and every bad address, two of each at a time."""
    bad_cidrs = [{"podCIDRs": some, "nodeIPs": ["10.0.0.9"]} for some in every_text(hostile.CIDRS + hostile.WORDS, 2)]
    sound = [f"100.64.{100 + number}.0/24" for number in range(100)]
    bad_ips = [
        {"podCIDRs": [sound[number]], "nodeIPs": some}
        for number, some in enumerate(every_text(hostile.ADDRESSES + hostile.WORDS, 1))
    ]
    return [*bad_cidrs, *bad_ips]


@pytest.mark.parametrize("pools", [POOLS, ()], ids=["with --cluster-cidr", "without"])
def test_nft_takes_what_hostile_objects_come_to_and_nothing_else_changes(
    host: Namespace, nft: Nft, pools: tuple[Any, ...]
) -> None:
    """The table reads back as written, without another set, chain or rule; the foreign table is unchanged."""
    host.run("nft", GUARD)
    before = host.run("nft", "list", "table", "ip", "guard")
    routes = {"n1": OWN, "n7": node_route(7)}
    for number, spec in enumerate(peers()):
        name = f"hostile-{number}"
        routes[name] = project.agent_node_route("n1")({"metadata": hostile.meta(name, number), "spec": spec})
    subnets = [{"id": word, "zone": word, "cidrs": [word, "10.0.16.0/20"]} for word in hostile.WORDS]
    report = project.route_table_object(
        {"metadata": hostile.meta("rtb-1", 1), "spec": {"vpcID": "vpc-1", "subnets": subnets}}
    )
    wanted = DesiredStateBuilder(AgentPolicy(pools, vni=1, port=8472, masquerade=True, exceptions=())).compose(
        OWN, routes, {"rtb-1": report}, HOST
    )
    ruleset = wanted.tables["nftables"][TABLE]
    assert nft.table.write({TABLE: ruleset}, ()) == {}
    assert nft.table.read(()) == {TABLE: ruleset}
    assert nft.table.write({TABLE: replace_peers(ruleset)}, ()) == {}, "a change of elements"
    assert nft.table.write({TABLE: ruleset}, ()) == {}
    assert nft.table.read(()) == {TABLE: ruleset}
    assert host.run("nft", "list", "table", "ip", "guard") == before
    listed = json.loads(host.run("nft", "-j", "list", "tables"))["nftables"]
    assert sorted(one["table"]["name"] for one in listed if "table" in one) == [TABLE, "guard"]


def replace_peers(ruleset: Any) -> Any:
    return ruleset._replace(hosts=frozenset(), peers=frozenset(list(ruleset.peers)[:1]))

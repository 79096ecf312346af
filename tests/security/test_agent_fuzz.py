"""Hostile NodeRoutes and RouteTables in an agent: nothing raises, and the kernel gets only the cluster's entries."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudroute.adapters.kube import project
from cloudroute.adapters.nft.client import RulesetTable
from cloudroute.adapters.nft.command import Command
from cloudroute.adapters.nft.ruleset import Json
from cloudroute.core.node.conflist import conflist
from cloudroute.core.node.desired import AgentPolicy, DesiredState, DesiredStateBuilder
from cloudroute.core.node.peers import NodeUnusable, is_unicast
from cloudroute.dataplane import KINDS, TABLE, TUNNELS, Host, network
from cloudroute.types import NEVER_ROUTED, Cidr, NodeRoute
from tests.agent.in_memory import HOST, POOLS, Node, node_route
from tests.security import hostile

EVERYWHERE = (Cidr.parse("0.0.0.0/0"), Cidr.parse("::/0"))
KNOWN = st.sampled_from([POOLS, ()])
"""--cluster-cidr, which an agent may lack."""
OWN, HONEST = node_route(1), node_route(7)
MINE = {address for address, _ in HOST.addresses} | set(HOST.gateways)
NEAR = [network(address, length) for address, length in HOST.addresses]

ROUTES = hostile.specs_of_node_routes(hostile.texts(hostile.ADDRESSES), hostile.texts(hostile.CIDRS))
CREDIBLE = st.builds(
    lambda cidrs, ips: {"spec": {"podCIDRs": cidrs, "nodeIPs": ips, "routeTableID": "rtb-1", "nativeIn": ["rtb-1"]}},
    st.lists(hostile.texts(hostile.CIDRS), min_size=1, max_size=2),
    st.one_of(st.just(["10.0.0.9"]), st.lists(hostile.texts(hostile.ADDRESSES, ("10.0.0.9",)), max_size=2)),
)
BODIES = st.one_of(ROUTES, CREDIBLE, CREDIBLE)


def projected(name: str, number: int, body: dict[str, Any]) -> NodeRoute:
    return project.agent_node_route("n1")({"metadata": hostile.meta(name, number), **body})


def world(bodies: list[dict[str, Any]]) -> dict[str, NodeRoute]:
    """This node, a valid peer, and the hostile NodeRoutes, which are younger."""
    others = {f"hostile-{number}": projected(f"hostile-{number}", number, body) for number, body in enumerate(bodies)}
    return {"n1": OWN, "n7": HONEST, **others}


def check_kernel(wanted: DesiredState, pools: tuple[Cidr, ...]) -> None:
    """Every entry that an agent would program lies in the pools, concerns other hosts, and covers no local address."""
    tables = wanted.tables
    for key, route in tables["routes"].items():
        destination = network(key.destination, key.length)
        assert any(pool.covers(destination) for pool in pools or EVERYWHERE)
        assert not any(destination.overlaps(other) for other in (*NEAR, *NEVER_ROUTED))
        if route.nexthop:
            assert not any(destination.overlaps(own) for own in OWN.spec.pod_cidrs)
            assert route.nexthop in tables["nexthops"]
    for host in (*tables["fdb"].values(), *tables["fdb6"].values(), *tables["nftables"][TABLE].hosts):
        assert is_unicast(host)
        assert host not in MINE
    for address in (*tables["neighbours"], *tables["neighbours6"]):
        assert len(address) == 16 or any(pool.covers(network(address, 32)) for pool in pools or EVERYWHERE)
    for nexthop in tables["nexthops"].values():
        assert nexthop.device in (*TUNNELS, HOST.interface)
    for cidr in tables["nftables"][TABLE].peers:
        assert any(pool.covers(cidr) for pool in pools or EVERYWHERE)


def check_words(wanted: DesiredState) -> None:
    for words in wanted.problems.values():
        assert hostile.is_clean(words)


@settings(max_examples=250)
@given(st.lists(BODIES, max_size=4), KNOWN)
def test_hostile_node_routes_are_left_out_and_said(bodies: list[dict[str, Any]], pools: tuple[Cidr, ...]) -> None:
    """The valid peer's entries are as without them; each unused NodeRoute is named with a reason."""
    routes = world(bodies)
    policy = AgentPolicy(pools, vni=1, port=8472, masquerade=True, exceptions=())
    alone = DesiredStateBuilder(policy).compose(OWN, {"n1": OWN, "n7": HONEST}, {}, HOST)
    wanted = DesiredStateBuilder(policy).compose(OWN, routes, {}, HOST)
    check_kernel(wanted, pools)
    check_words(wanted)
    for kind in ("fdb", "neighbours", "fdb6", "neighbours6", "nexthops", "routes"):
        assert alone.tables[kind].items() <= wanted.tables[kind].items()
    for name in routes.keys() - {"n1"}:
        assert (name in wanted.peers) or (name in wanted.problems)


@settings(max_examples=200)
@given(BODIES, st.sampled_from([HOST, HOST._replace(addresses=HOST.addresses[:1], gateways=())]), KNOWN)
def test_a_hostile_node_route_of_its_own_stops_the_agent_in_words(
    body: dict[str, Any], host: Host, pools: tuple[Cidr, ...]
) -> None:
    """A node's own NodeRoute is used if valid, else refused as a whole; each used one gives a CNI configuration."""
    own = projected("n1", 0, body)
    own = replace(own, spec=replace(own.spec, node_ips=(*own.spec.node_ips, "10.0.0.1")))
    wanted, words = composed(own, host, pools)
    assert hostile.is_clean(words)
    if wanted is None:
        return
    check_words(wanted)
    near = [network(address, length) for address, length in host.addresses]
    for cidr in wanted.pod_cidrs:
        assert any(pool.covers(cidr) for pool in pools or EVERYWHERE)
        assert not any(cidr.overlaps(other) for other in (*near, *NEVER_ROUTED))
        assert cidr.size >= 4, "host-local refuses it"
    content = json.loads(conflist(wanted.pod_cidrs, wanted.mtu, ()))
    assert content["plugins"][0]["type"] == "ptp"


def composed(own: NodeRoute, host: Host, pools: tuple[Cidr, ...]) -> tuple[DesiredState | None, str]:
    """Desired state of the agent, or the reason why there is none."""
    try:
        return DesiredStateBuilder(AgentPolicy(pools, vni=1, port=8472, masquerade=True, exceptions=())).compose(
            own, {"n1": own, "n7": HONEST}, {}, host
        ), ""
    except NodeUnusable as error:
        return None, str(error)


REPORT = st.fixed_dictionaries(
    {
        "spec": hostile.maybe(
            vpcID=hostile.mostly(st.just("vpc-1")),
            subnets=hostile.some(hostile.maybe(id=hostile.anything, zone=hostile.anything, cidrs=hostile.some(
                hostile.texts(hostile.CIDRS)))),
        ),
        "status": hostile.maybe(ipv4=hostile.anything, ipv6=hostile.anything),
    }
)  # fmt: skip


class Recorder(Command):
    """Records the commands that nft would get."""

    def __init__(self) -> None:
        self.commands: list[Json] = []

    def transaction(self, commands: Sequence[Json]) -> None:
        self.commands += commands


@given(st.lists(BODIES, max_size=3), REPORT, KNOWN)
def test_nft_gets_only_what_our_serializer_writes(
    bodies: list[dict[str, Any]], report: dict[str, Any], pools: tuple[Cidr, ...]
) -> None:
    """Each word of the nft transaction is ours, an address or a number; no text of an object is among them."""
    own = replace(OWN, spec=replace(OWN.spec, native_in=("rtb-1",)))
    table = project.route_table_object({"metadata": hostile.meta("rtb-1", 1), **report})
    wanted = DesiredStateBuilder(AgentPolicy(pools, vni=1, port=8472, masquerade=True, exceptions=())).compose(
        own, world(bodies), {"rtb-1": table}, HOST
    )
    recorder = Recorder()
    assert RulesetTable(recorder).write(wanted.tables["nftables"], ()) == {}
    for word in words_of(recorder.commands):
        assert OURS.fullmatch(word) or SETS.fullmatch(word) or is_address(word), word


OURS = re.compile(
    r"(accept|add|addr|base|chain|cloudroute|count|counter|cr0|cr6|daddr|delete|dport|elem|element|expr|"
    r"family|field|filter|flags|fully-random|goto|hook|inet|ip|ip6|ipv4_addr|ipv6_addr|key|"
    r"leaving|left|len|masquerade|match|meta|name|nat|notrack|offset|oifname|op|output|payload|policy|"
    r"postrouting|prefix|prerouting|prio|protocol|received|return|right|routed|rule|saddr|set|stmt|table|target|th|"
    r"type|udp|&|==|!=)"
)
SETS = re.compile(r"@?(hosts|masqueraded|networks|overlay|routed)[46](_\d{1,3})?")


def words_of(value: object) -> set[str]:
    """All strings in a JSON value, keys included."""
    if isinstance(value, dict):
        return set().union(*map(words_of, (*value.keys(), *value.values())))
    if isinstance(value, list):
        return set().union(*map(words_of, value))
    return {value} if isinstance(value, str) else set()


def is_address(word: str) -> bool:
    try:
        return str(ipaddress.ip_address(word)) == word or "." in word
    except ValueError:
        return False


@given(st.lists(BODIES, min_size=1, max_size=3))
def test_an_agent_lives_through_hostile_peers_and_reaches_the_others(bodies: list[dict[str, Any]]) -> None:
    """Hostile NodeRoutes appear, change and go in a whole agent; the kernel ends as if they had never existed."""
    node = Node(OWN, HONEST)
    before = node.settle() and node.kernel.state
    for number, body in enumerate(bodies):
        node.publish(projected(f"hostile-{number % 2}", number, body))
        node.turn()
        report = node.settle()
        assert report.ready, report
    node.withdraw(*(name for name in node.agents.node_routes.items() if name.startswith("hostile")))
    node.settle()
    assert {kind: node.kernel.state[kind] for kind in KINDS} == before
    assert all(hostile.is_clean(str(status["message"])) for status in node.agents.written)


@given(hostile.anything)
def test_an_agents_status_reaches_no_other_agent(status: Any) -> None:
    """An agent keeps only the spec of other nodes' NodeRoutes: no status has an effect."""
    raw = {"metadata": hostile.meta("n7", 7), "spec": project.node_route_spec(HONEST.spec)}
    project_of = project.agent_node_route("n1")
    assert project_of({**raw, "status": status}) == project_of(raw)

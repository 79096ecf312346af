"""The questions of `cloudroute verify`: every check of each pair and each pod, with what it expects.

What is expected of a pair comes from `core.explain.trace`, as `cloudroute path` says it: so a failure is a difference
between what cloudroute has published and what packets do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal

from cloudroute.core.explain.trace import End, end_at, trace
from cloudroute.core.paths import Explanation
from cloudroute.core.verify.judge import answered, nothing_lost, reached, refused_as_too_big, replied, resolved, told
from cloudroute.core.verify.model import Asker, Judge, Question
from cloudroute.errors import CloudrouteError
from cloudroute.types import Family, NodeRouteSpec, RouteTableObject, family_of

HOST_PORT = 8471
"""On the nodes: a port of the host that leads to a pod."""
KUBELET_PORT = 10250
SMALL_BYTES = 100
TCP_BYTES = 100_000
"""Enough for many full segments."""
TIMEOUT_SECONDS = 1.0
TRIES = 3
STREAM_MS = 20.0
"""Between two packets: with six nodes a probe answers 500 a second, in a hundredth of its CPU."""
RESOLVERS: Mapping[Family, str] = {"ipv4": "169.254.169.253", "ipv6": "fd00:ec2::253"}
"""Fixed addresses of the VPC's Resolver (VPC user guide, "Understanding Amazon DNS")."""
METADATA = "169.254.169.254"
INSIDE_NAME = "kubernetes.default.svc"
CONTROLLED = frozenset({"dns-outside", "dns-resolver", "internet", "vpc-host"})
"""Checks that are asked of the node, too: a pod has a way only where its node has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The pods that ask, and everything that they ask for. Addresses are of both families, where there are two."""

    specs: Mapping[str, NodeRouteSpec]
    tables: Mapping[str, RouteTableObject]
    pods: Mapping[Asker, tuple[str, ...]]
    """Addresses of the pods that run."""
    mtus: Mapping[Asker, int]
    """MTU of each pod's device, in bytes."""
    nodes: tuple[str, ...]
    """Nodes that the pods ask."""
    agents: frozenset[str] = frozenset()
    """Nodes whose agent's container asks and answers on the node's network."""
    services: Mapping[str, tuple[str, ...]]
    """By node: addresses of the Service of its second pod."""
    host_ports: frozenset[str] = frozenset()
    """Nodes with HOST_PORT."""
    api_server: tuple[str, ...] = ()
    """Addresses of the Service `kubernetes`."""
    outside_name: str
    internet: tuple[str, int]
    """A host of the internet, by name or address, and a TCP port of it."""
    vpc_hosts: tuple[tuple[str, int], ...] = ()
    keeps_source: bool = False
    """Whether the agents run with --gateway-keeps-source."""
    seconds: float
    """Of a stream."""


def questions(scene: Scene) -> Iterator[Question]:
    """All questions but those of `streams`."""
    for asker, target in permutations(scene.pods, 2):
        if asker.role == "pod" and (target.role == "pod" or target.node == asker.node):
            yield from _between(scene, asker, target)
    for asker in scene.pods:
        if asker.role == "pod":
            yield from _nodes(scene, asker)
            yield from _services(scene, asker)
            yield from _names(scene, asker)
            yield from _outside(scene, asker)
    for node in sorted(scene.agents):
        asker = Asker(node, "node")
        yield from _from_node(scene, asker)
        controls = (*_names(scene, asker), *_outside(scene, asker))
        yield from (replace(one, control=True) for one in controls if one.name in CONTROLLED)


def from_here(scene: Scene) -> Iterator[Question]:
    """The questions of one pod alone, which starts no other: nodes, and the cluster's DNS."""
    for asker in scene.pods:
        yield from _nodes(scene, asker)
        yield from (one for one in _names(scene, asker) if one.name == "dns-inside")


def streams(scene: Scene) -> Iterator[Question]:
    """Loss and latency from each pod to each other node's: asked last, when nothing else is."""
    for asker, target in permutations(scene.pods, 2):
        if asker.role == target.role == "pod":
            for mine, theirs in _shared(scene.pods[asker], scene.pods[target]):
                way = _trace(scene, asker, mine, target, theirs)
                ask = {"kind": "stream", "address": theirs, "seconds": scene.seconds}
                ask |= {"interval_ms": STREAM_MS, "size": SMALL_BYTES}
                yield _question("pod-loss", asker, target, theirs, ask, "no packet is lost", nothing_lost, way)


# --- pods ----------------------------------------------------------------------------------------


def _between(scene: Scene, asker: Asker, target: Asker) -> Iterator[Question]:
    mtu = min(scene.mtus[asker], scene.mtus[target])
    for mine, theirs in _shared(scene.pods[asker], scene.pods[target]):
        way = _trace(scene, asker, mine, target, theirs)
        expected, judge = f"an answer that saw {mine}", answered(mine)
        for name, ask, wanted, judged in (
            ("pod-udp", _udp(theirs, SMALL_BYTES), expected, judge),
            ("pod-tcp", _tcp(theirs), expected, judge),
            ("pod-full-size", _udp(theirs, mtu), f"an answer to a packet of {mtu} bytes", answered()),
            ("pod-oversize", _udp(theirs, mtu + 1), f"{mtu + 1} bytes are refused here", refused_as_too_big),
        ):
            yield _question(name, asker, target, theirs, ask, wanted, judged, way)


def _services(scene: Scene, asker: Asker) -> Iterator[Question]:
    """The Services of the own node's second pod, of another node's, and of a pod that asks for itself."""
    others = sorted(node for node in scene.services if node != asker.node)
    following = next((node for node in others if node > asker.node), others[0] if others else "")
    second = Asker(asker.node, "second")
    for name, who, node in (
        ("service-same-node", asker, asker.node),
        ("service-other-node", asker, following),
        ("service-itself", second, asker.node),
    ):
        if who not in scene.pods:
            continue
        for address in scene.services.get(node, ()):
            for ask in (_udp(address, SMALL_BYTES), _tcp(address)):
                yield Question(
                    name=name,
                    asker=who,
                    target=f"Service {address} of a pod on {node}",
                    target_node=node,
                    family=family_of(address),
                    ask=ask,
                    expected=f"an answer by {str(ask['kind']).upper()}",
                    judge=answered(),
                )


# --- nodes ---------------------------------------------------------------------------------------


def _nodes(scene: Scene, asker: Asker) -> Iterator[Question]:
    """From a pod to its own node and the others: to our echo there, else to the kubelet's port."""
    for node in scene.nodes:
        for mine, theirs in _shared(scene.pods[asker], scene.specs[node].node_ips):
            name = "pod-to-own-node" if node == asker.node else "pod-to-node"
            expected: tuple[str, Judge] = ("a connection to the kubelet", answered())
            asks = [{"kind": "connect", "address": theirs, "port": KUBELET_PORT, "timeout": TIMEOUT_SECONDS}]
            if node in scene.agents:
                expected = f"an answer that saw {mine}", answered(mine)
                asks = [_udp(theirs, SMALL_BYTES), _tcp(theirs)]
            way = _trace(scene, asker, mine, Asker(node, "node"), theirs)
            for ask in asks:
                yield _question(name, asker, Asker(node, "node"), theirs, ask, *expected, way)
            if node in scene.host_ports:
                ask = _tcp(theirs) | {"port": HOST_PORT}
                wanted = "an answer by the host's port"
                yield _question("host-port", asker, Asker(node, "node"), theirs, ask, wanted, answered(), way)


def _from_node(scene: Scene, asker: Asker) -> Iterator[Question]:
    """From a node to pods, its own too."""
    for target, addresses in scene.pods.items():
        if target.role != "pod":
            continue
        for mine, theirs in _shared(scene.specs[asker.node].node_ips, addresses):
            way = _trace(scene, asker, mine, target, theirs)
            seen = way.source if way else ""
            expected = f"an answer that saw {seen}" if seen else "an answer"
            for ask in (_udp(theirs, SMALL_BYTES), _tcp(theirs)):
                yield _question("node-to-pod", asker, target, theirs, ask, expected, answered(seen), way)


# --- names, and all that is no pod ---------------------------------------------------------------


def _names(scene: Scene, asker: Asker) -> Iterator[Question]:
    families = [family_of(address) for address in _own(scene, asker)]
    kinds: Mapping[Family, str] = {"ipv4": "A", "ipv6": "AAAA"}
    # Where the addresses of the API server's Service are not known, any of the first family will do.
    known = {family_of(address) for address in scene.api_server} or set(families[:1])
    for family in known & set(families):
        wanted = tuple(address for address in scene.api_server if family_of(address) == family)
        ask = _dns("", INSIDE_NAME, kinds[family])
        said = f"{', '.join(wanted) or 'an address'}, by the cluster's DNS"
        yield _plain("dns-inside", asker, f"{INSIDE_NAME} ({kinds[family]})", family, ask, said, resolved(wanted))
    # A name outside has IPv4 addresses, whatever the pods have.
    outside = _dns("", f"{scene.outside_name}.", "A")
    yield _plain("dns-outside", asker, scene.outside_name, "", outside, "an address, by the cluster's DNS", resolved())
    for family in families:
        ask = _dns(RESOLVERS[family], f"{scene.outside_name}.", "A")
        said = "an address, by the VPC's Resolver itself"
        yield _plain("dns-resolver", asker, f"Resolver {RESOLVERS[family]}", family, ask, said, resolved())


def _outside(scene: Scene, asker: Asker) -> Iterator[Question]:
    for mine, address in _shared(_own(scene, asker), scene.api_server):
        ask: dict[str, object] = {
            "kind": "https",
            "address": address,
            "port": 443,
            "path": "/version",
            "timeout": 2 * TIMEOUT_SECONDS,
        }
        yield _plain("api-server", asker, f"{address}:443", family_of(mine), ask, "a reply by HTTPS", replied)
    host, port = scene.internet
    ask = {"kind": "connect", "address": host, "port": port, "timeout": 2 * TIMEOUT_SECONDS}
    yield _plain("internet", asker, f"{host}:{port}", "", ask, "an answer, as the node has one", reached)
    for address, port in scene.vpc_hosts:
        for mine, _ in _shared(_own(scene, asker), (address,)):
            way = _trace_outside(scene, asker, mine, address)
            seen = way.source if way else ""
            for ask in (_udp(address, SMALL_BYTES), _tcp(address)):
                ask |= {"port": port}
                said = f"an answer that saw {seen}" if seen else "an answer"
                yield _plain("vpc-host", asker, f"{address}:{port}", family_of(mine), ask, said, answered(seen))
    ask = {"kind": "http", "address": METADATA, "port": 80, "path": "/latest/meta-data/"}
    ask |= {"timeout": TIMEOUT_SECONDS}
    said = "nothing: pods may reach it or not, by the instance's hop limit"
    yield _plain("metadata", asker, METADATA, "ipv4", ask, said, told)


# --- parts ---------------------------------------------------------------------------------------


def _udp(address: str, size: int) -> dict[str, object]:
    return {
        "kind": "udp", "address": address, "size": size, "timeout": TIMEOUT_SECONDS, "tries": TRIES
    }  # fmt: skip


def _tcp(address: str) -> dict[str, object]:
    return {"kind": "tcp", "address": address, "size": TCP_BYTES, "timeout": 3 * TIMEOUT_SECONDS}


def _dns(server: str, name: str, kind: str) -> dict[str, object]:
    return {"kind": "dns", "server": server, "name": name, "type": kind, "timeout": TIMEOUT_SECONDS}


def _shared(mine: tuple[str, ...], theirs: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Pairs of addresses of one family."""
    for own in mine:
        for other in theirs:
            if family_of(own) == family_of(other):
                yield own, other


def _own(scene: Scene, asker: Asker) -> tuple[str, ...]:
    """The asker's addresses."""
    return scene.specs[asker.node].node_ips if asker.role == "node" else scene.pods[asker]


def _end(asker: Asker, address: str) -> End:
    return End("node" if asker.role == "node" else "pod", asker.node, (address,))


def _trace(scene: Scene, asker: Asker, mine: str, target: Asker, theirs: str) -> Explanation | None:
    return _traced(scene, _end(asker, mine), _end(target, theirs))


def _trace_outside(scene: Scene, asker: Asker, mine: str, address: str) -> Explanation | None:
    return _traced(scene, _end(asker, mine), end_at(address, scene.specs))


def _traced(scene: Scene, source: End, target: End) -> Explanation | None:
    """The predicted path; None where no prediction can be made."""
    try:
        return trace(source, target, scene.specs, scene.tables, keeps_source=scene.keeps_source)
    except CloudrouteError:
        return None


def _question(
    name: str,
    asker: Asker,
    target: Asker,
    address: str,
    ask: Mapping[str, object],
    expected: str,
    judge: Judge,
    way: Explanation | None,
) -> Question:
    return Question(
        name=name,
        asker=asker,
        target=f"{target}, {address}",
        target_node=target.node,
        family=family_of(address),
        path=way.path if way else "",
        ask=ask,
        expected=expected,
        judge=judge,
    )


def _plain(
    name: str,
    asker: Asker,
    target: str,
    family: Family | Literal[""],
    ask: Mapping[str, object],
    expected: str,
    judge: Judge,
) -> Question:
    return Question(name=name, asker=asker, target=target, family=family, ask=ask, expected=expected, judge=judge)

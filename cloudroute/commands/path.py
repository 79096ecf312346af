"""`cloudroute path SRC DST`: the path of a packet between two places, and the reason for it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from cloudroute import wiring
from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.ending import lab_extra
from cloudroute.commands.output import Table, write_result
from cloudroute.config import ControllerSettings, OutputSettings, setting
from cloudroute.config.values import switch
from cloudroute.core.cluster.notices import agent_trouble
from cloudroute.core.explain.doctor.networks import agents_keep_source
from cloudroute.core.explain.trace import End, end_at, trace
from cloudroute.core.paths import Explanation
from cloudroute.errors import CloudrouteError, Forbidden, LostRace
from cloudroute.ports import Kube
from cloudroute.types import Cidr, NodeRoute, NodeRouteSpec, PodAddress, RouteTableObject

if TYPE_CHECKING:
    from cloudroute.lab.hosts.probe import Probe


class Place(NamedTuple):
    """One end of a path, and its description in words."""

    end: End
    words: str


def locate(text: str, specs: Mapping[str, NodeRouteSpec], pools: Collection[Cidr], kube: Kube) -> Place:
    """Resolve a node's name, a pod (namespace/name) or an address. Raises CloudrouteError for an unknown one.

    A node's name stands for the pods on it, its address for the node itself. `pools` are the cluster CIDRs.
    """
    if text in specs:
        return Place(End("pod", text, ()), f"any pod of node {text}")
    if _is_address(text):
        return _at(str(ipaddress.ip_address(text)), specs, pools, kube)
    namespace, slash, name = text.partition("/")
    if not slash:
        raise CloudrouteError(
            f"{text}: no node of that name has a NodeRoute; expected a node, a pod as namespace/name, or an address "
            "(cloudroute status lists the nodes)"
        )
    pod = kube.pod(namespace, name)
    if pod is None:
        raise CloudrouteError(f"{text}: there is no pod {name} in namespace {namespace}")
    return _of(pod, specs)


def _at(address: str, specs: Mapping[str, NodeRouteSpec], pools: Collection[Cidr], kube: Kube) -> Place:
    end = end_at(address, specs)
    if end.kind == "node":
        return Place(end, f"{address}, the own address of node {end.node}")
    if end.kind == "pod":
        return Place(end, f"{address} of node {end.node}'s pods")
    if pod := kube.pod_at(address):
        return _of(pod, specs)._replace(end=End("pod", pod.node, (address,)))
    here = Cidr.parse(address)
    if pool := next((pool for pool in pools if pool.covers(here)), None):
        raise CloudrouteError(
            f"{address}: is in --cluster-cidr {pool}, but in the pod CIDR of no node: every node answers that it is "
            "unreachable"
        )
    return Place(end, f"{address}, outside of the cluster")


def _of(pod: PodAddress, specs: Mapping[str, NodeRouteSpec]) -> Place:
    if not pod.node:
        raise CloudrouteError(f"{pod.namespace}/{pod.name}: is not scheduled to a node yet, so no packet reaches it")
    if pod.node not in specs:
        raise CloudrouteError(
            f"{pod.namespace}/{pod.name}: its node {pod.node} has no NodeRoute yet; cloudroute status says why"
        )
    where = f"pod {pod.namespace}/{pod.name} on node {pod.node}"
    if pod.host_network:
        return Place(End("node", pod.node, specs[pod.node].node_ips or pod.ips), f"{where} with its address")
    return Place(End("pod", pod.node, pod.ips), where)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class PathOptions:
    """Options that are flags only, without an environment variable or a key in the file."""

    probe: bool = setting(
        switch("on", "off"),
        "Path",
        "In a lab (cloudroute lab up): send packets from SRC to DST, and compare what happens with what should. The "
        "exit code is 1 when it differs.",
        default=False,
        bare="on",
    )


def run(invocation: Invocation) -> int:
    """Read Kubernetes once and explain the path; with --probe, send packets. Return 1 when they take another path."""
    from cloudroute.adapters.kube.client import KubeClient  # imported only here: it loads the Kubernetes client

    source, target = invocation.words
    settings = invocation[ControllerSettings]
    with wiring.observed(settings) as cluster:
        kube = KubeClient(cluster.transport, cluster)
        routes = cluster.node_routes.items()
        specs = {name: route.spec for name, route in routes.items()}
        one, other = (locate(text, specs, settings.cluster_cidr, kube) for text in (source, target))
        tables = cluster.route_table_objects.items()
    keeps, unread = _keeps_source(settings, tables)
    way = partial(trace, specs=specs, tables=tables, keeps_source=keeps)
    found = way(one.end, other.end)
    probes = _probe(settings.kubeconfig, one.end, other.end, way) if invocation[PathOptions].probe else []
    troubles = [*_troubles((one, other), routes), *unread]
    data = {
        "source": _end(source, one.end),
        "destination": _end(target, other.end),
        "path": found.path,
        "reason": found.reason,
        "steps": list(found.steps),
        "seen": {"as": found.seen_as, "address": found.source or None} if found.seen_as else None,
        "troubles": troubles,
        **({"probes": [{**asdict(one), "asSaid": not one.trouble} for one in probes]} if probes else {}),
    }
    lines = [
        ("from", one.words),
        ("to", other.words),
        ("path", found.path),
        ("because", found.reason),
        *((f"step {number}", step) for number, step in enumerate(found.steps, 1)),
        *((("seen as", _seen(found.seen_as, found.source)),) if found.seen_as else ()),
        *(("but", trouble) for trouble in troubles),
        *(("probed", one.words) for one in probes),
    ]
    write_result(invocation[OutputSettings].output, data, [Table((), lines)])
    return 1 if any(one.trouble for one in probes) else 0


def _keeps_source(settings: ControllerSettings, tables: Mapping[str, RouteTableObject]) -> tuple[bool, Sequence[str]]:
    """Return whether the agents run with --gateway-keeps-source, and a sentence where that can't be read.

    It matters only where a table leads to a gateway: nothing is read elsewhere.
    """
    from cloudroute.adapters.kube.review import Review  # only here: it loads the Kubernetes client

    if not any(use.gateways for table in tables.values() for use in table.families.values()):
        return False, ()
    review = Review(settings.kubeconfig or None)
    try:
        return agents_keep_source(review.daemon_sets(), settings.namespace), ()
    except LostRace:  # a lab, whose API has no DaemonSets
        return False, ()
    except Forbidden as error:
        return False, (f"the agents are taken to run without --gateway-keeps-source: {error}",)
    finally:
        review.close()


def _probe(kubeconfig: str, one: End, other: End, explain: Callable[[End, End], Explanation]) -> Sequence[Probe]:
    with lab_extra():  # only here: it loads the lab
        from cloudroute.lab.commands.hosts import demand_root
        from cloudroute.lab.hosts.probe import probe

    demand_root()
    return probe(kubeconfig, one, other, explain)


def _end(given: str, end: End) -> dict[str, object]:
    return {"given": given, "node": end.node or None, "kind": end.kind}


def _seen(kind: str, address: str) -> str:
    """Return in words the address that the receiver sees."""
    whose = {"pod": "the pod", "node": "the node", "outside": "the sender"}[kind]
    return f"{address}, of {whose}" if address else f"{whose}'s own address"


def _troubles(places: Collection[Place], routes: Mapping[str, NodeRoute]) -> list[str]:
    """Return a sentence for each agent that reports its node as not ready for the path in its NodeRoute."""
    names = dict.fromkeys(place.end.node for place in places if place.end.node)
    said = {name: agent_trouble(routes[name].status) for name in names}
    return [f"the agent of {name} is not ready, which says {trouble}" for name, trouble in said.items() if trouble]


COMMAND = Command(
    name="path",
    summary="explain which way a packet goes between two nodes, pods or addresses",
    text=(
        "Takes two places and says which way a packet goes from SRC to DST and how its reply comes back, with the "
        "reason and each step. A place is a pod (namespace/name or its address), a node's name, which stands for the "
        "pods on it, a node's own address, or any address outside. Between nodes the path is native (a route of the "
        "VPC), direct (the subnet they share) or overlay (the VXLAN tunnel), the same in both directions; local inside "
        "one node; vpc where the packet is for no pod of another node, so that the VPC carries it without cloudroute's "
        "part, masqueraded where a reply to the pod would find no way; none where nothing leads to the pod. The last "
        "line says whose address DST sees. It reads Kubernetes alone and needs no access to AWS; it takes agents to "
        "run with --masquerade on and without --masquerade-except and --masquerade-always. "
        "--gateway-keeps-source is read from the agents' DaemonSet."
    ),
    example=(
        "cloudroute path node-a node-b\ncloudroute path default/client 10.244.7.12 -o json\n"
        "cloudroute path default/client 10.0.9.4\n"
        "sudo cloudroute path node-1 node-6 --probe --kubeconfig /run/cloudroute-lab/lab/kubeconfig"
    ),
    run=run,
    kinds=(ControllerSettings, PathOptions, OutputSettings),
    words=("SRC", "DST"),
)

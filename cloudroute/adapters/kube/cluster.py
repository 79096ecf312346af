"""ports.Cluster: a reflector and a store for each of the three kinds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from cloudroute.adapters.kube import project
from cloudroute.adapters.kube.gateways import LABEL, GatewayLeases, gateway_lease
from cloudroute.adapters.kube.leases import leases_path
from cloudroute.adapters.kube.reflector import SILENCE_SECONDS, Reflector, Reflectors
from cloudroute.adapters.kube.selection import left_alone
from cloudroute.adapters.kube.stores import MemoryStore, SelectedNodes
from cloudroute.adapters.kube.transport import Json, Transport
from cloudroute.ports import Clock
from cloudroute.selector import EVERY, NOBODY, Selector
from cloudroute.types import LeftOut, Node, NodeRoute, RouteTableObject

NODES = "/api/v1/nodes"
NODE_ROUTES = f"/apis/{project.GROUP_VERSION}/noderoutes"
ROUTE_TABLES = f"/apis/{project.GROUP_VERSION}/routetables"


class Gateways(NamedTuple):
    """Nodes that may be gateways, and the namespace and duration of their Leases."""

    selector: Selector = NOBODY
    namespace: str = "cloudroute"
    lease_seconds: float = 3.0


class KubeCluster:
    """ports.Cluster. `kubeconfig` None means the pod's service account; `beat` is Health.beat.

    It leaves out Nodes by their kind or by `selector`, see `selection.left_alone`.
    `list_limit` is the page size of lists, kept small for memory's sake: at 10 KB a Node, 100 of them are 1 MB.
    """

    def __init__(
        self,
        kubeconfig: str | None,
        clock: Clock,
        beat: Callable[[str, float], None] = lambda _thread, _within: None,
        list_limit: int = 100,
        silence: float = SILENCE_SECONDS,
        selector: Selector = EVERY,
        gateways: Gateways = Gateways(),  # noqa: B008 - a value
    ) -> None:
        self.clock = clock
        self._selector, self._gateways = selector, gateways
        self.transport = Transport(kubeconfig)
        self._changed: Callable[[], None] = lambda: None
        self.nodes: MemoryStore[Node] = MemoryStore(self._on_change)
        # The loop needs no cycle for a Node that is left out: one that it served is removed from `nodes`.
        self.left_out: MemoryStore[LeftOut] = MemoryStore(lambda: None)
        self.node_routes: MemoryStore[NodeRoute] = MemoryStore(self._on_change, project.decided_upon)
        self.route_table_objects: MemoryStore[RouteTableObject] = MemoryStore(self._on_change)
        self.heartbeats = GatewayLeases(gateways.lease_seconds, clock, self._on_change)
        rest = (beat, list_limit, silence)
        reflectors: tuple[Reflector[Any], ...] = (
            Reflector(self.transport, NODES, self._node, SelectedNodes(self.nodes, self.left_out), *rest),
            Reflector(self.transport, NODE_ROUTES, project.node_route, self.node_routes, *rest),
            Reflector(self.transport, ROUTE_TABLES, project.route_table_object, self.route_table_objects, *rest),
        )
        if gateways.selector != NOBODY:
            path = leases_path(gateways.namespace)
            reflectors += (
                Reflector(self.transport, path, gateway_lease, self.heartbeats, *rest, labels=f"{LABEL}=true"),
            )
        self._reflectors = Reflectors(self.transport, reflectors)

    def put_node(self, raw: Json) -> Node:
        """Store the answer to a write of ours. A Node that is left alone by now is removed by the watch."""
        answer = project.node(raw, self._gateways.selector)
        if not left_alone(raw, self._selector):
            self.nodes.put(project.meta(raw), answer)
        return answer

    def _node(self, raw: Json) -> Node | LeftOut:
        node = project.node(raw, self._gateways.selector)
        if reason := left_alone(raw, self._selector):
            return LeftOut(node.name, node.version, node.instance_id, reason)
        return node

    def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._reflectors.start()

    def dead(self) -> str:
        return self._reflectors.dead()

    def stop(self) -> None:
        self._reflectors.stop()

    @property
    def threads(self) -> Sequence[threading.Thread]:
        """The reflectors' threads, for supervision."""
        return self._reflectors.threads

    @property
    def trouble(self) -> str:
        return self._reflectors.trouble

    def _on_change(self) -> None:
        self._changed()

"""ports.Agents: NodeRoutes and RouteTables as a node's agent watches them, and its own status."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from urllib.parse import quote

from cloudroute.adapters.kube import gateways, project
from cloudroute.adapters.kube.cluster import NODE_ROUTES, NODES, ROUTE_TABLES
from cloudroute.adapters.kube.reflector import SILENCE_SECONDS, Reflector, Reflectors
from cloudroute.adapters.kube.stores import MemoryStore
from cloudroute.adapters.kube.transport import MERGE_PATCH, Transport
from cloudroute.errors import LostRace, Refused
from cloudroute.types import NodeRoute, RouteTableObject


class KubeAgents:
    """ports.Agents. `kubeconfig` None means the pod's service account; `beat` is Health.beat."""

    def __init__(
        self,
        kubeconfig: str | None,
        node_name: str,
        namespace: str = "cloudroute",
        beat: Callable[[str, float], None] = lambda _thread, _within: None,
        list_limit: int = 500,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self.transport = Transport(kubeconfig)
        self._node_name, self._namespace = node_name, namespace
        self._changed: Callable[[], None] = lambda: None
        self._project = project.agent_node_route(node_name)
        self.node_routes: MemoryStore[NodeRoute] = MemoryStore(self._on_change)
        self.route_table_objects: MemoryStore[RouteTableObject] = MemoryStore(self._on_change)
        rest = (beat, list_limit, silence)
        reflectors = (
            Reflector(self.transport, NODE_ROUTES, self._project, self.node_routes, *rest),
            Reflector(self.transport, ROUTE_TABLES, project.route_table_object, self.route_table_objects, *rest),
        )
        self._reflectors = Reflectors(self.transport, reflectors)

    def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._reflectors.start()

    def dead(self) -> str:
        return self._reflectors.dead()

    def stop(self) -> None:
        self._reflectors.stop()

    def instance_id(self) -> str:
        try:
            return project.node(self.transport.request("GET", f"{NODES}/{quote(self._node_name, safe='')}")).instance_id
        except (LostRace, Refused):
            return ""  # no such Node, or no permission in an older manifest

    def write_status(self, route: NodeRoute, status: Mapping[str, object]) -> None:
        # The uid makes the patch fail where another NodeRoute has that name by now.
        body = {"metadata": {"uid": route.uid}, "status": dict(status)}
        path = f"{NODE_ROUTES}/{quote(route.name, safe='')}/status"
        raw = self.transport.request("PATCH", path, body=body, content_type=MERGE_PATCH)
        self.node_routes.put(project.meta(raw), self._project(raw))

    def renew_gateway_lease(self, own: NodeRoute) -> None:
        gateways.renew(self.transport, self._namespace, own, time.time())

    @property
    def trouble(self) -> str:
        return self._reflectors.trouble

    def _on_change(self) -> None:
        self._changed()

"""ports.Agents: NodeRoutes and RouteTables as a node's agent watches them, and its own status."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from cloudroute.adapters.kube import project
from cloudroute.adapters.kube.cluster import NODE_ROUTES, ROUTE_TABLES, STOP_SECONDS
from cloudroute.adapters.kube.reflector import SILENCE_SECONDS, Reflector
from cloudroute.adapters.kube.stores import MemoryStore
from cloudroute.adapters.kube.transport import MERGE_PATCH, Transport
from cloudroute.types import NodeRoute, TableReport


class KubeAgents:
    """`kubeconfig` None means the pod's service account; `beat` is Vitals.beat."""

    def __init__(
        self,
        kubeconfig: str | None,
        node_name: str,
        beat: Callable[[str, float], None] = lambda _thread, _within: None,
        list_limit: int = 500,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self.transport = Transport(kubeconfig)
        self._changed: Callable[[], None] = lambda: None
        self._project = project.agent_node_route(node_name)
        self.node_routes: MemoryStore[NodeRoute] = MemoryStore(self._on_change)
        self.table_reports: MemoryStore[TableReport] = MemoryStore(self._on_change)
        rest = (beat, list_limit, silence)
        self._reflectors: tuple[Reflector[Any], ...] = (
            Reflector(self.transport, NODE_ROUTES, self._project, self.node_routes, *rest),
            Reflector(self.transport, ROUTE_TABLES, project.table_report, self.table_reports, *rest),
        )

    def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        for reflector in self._reflectors:
            reflector.start()

    def write_status(self, route: NodeRoute, status: Mapping[str, object]) -> None:
        # The uid makes it fail where another NodeRoute has got that name meanwhile.
        body = {"metadata": {"uid": route.uid}, "status": dict(status)}
        path = f"{NODE_ROUTES}/{quote(route.name, safe='')}/status"
        raw = self.transport.request("PATCH", path, body=body, content_type=MERGE_PATCH)
        self.node_routes.put(project.meta(raw), self._project(raw))

    @property
    def trouble(self) -> str:
        return "; ".join(dict.fromkeys(reflector.trouble for reflector in self._reflectors if reflector.trouble))

    def dead(self) -> str:
        threads: Sequence[threading.Thread] = [reflector.thread for reflector in self._reflectors]
        return next((thread.name for thread in threads if thread.ident is not None and not thread.is_alive()), "")

    def stop(self) -> None:
        for reflector in self._reflectors:
            reflector.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for reflector in self._reflectors:
            if reflector.thread.ident is not None:
                reflector.thread.join(max(0.0, deadline - time.monotonic()))
        self.transport.close()

    def _on_change(self) -> None:
        self._changed()

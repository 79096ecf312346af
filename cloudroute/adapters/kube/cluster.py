"""ports.Cluster: a reflector and a store for each of the three kinds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from cloudroute.adapters.kube import project
from cloudroute.adapters.kube.reflector import SILENCE_SECONDS, Reflector
from cloudroute.adapters.kube.stores import MemoryStore
from cloudroute.adapters.kube.transport import Transport
from cloudroute.ports import Clock
from cloudroute.types import Node, NodeRoute, TableReport

NODES = "/api/v1/nodes"
NODE_ROUTES = f"/apis/{project.GROUP_VERSION}/noderoutes"
ROUTE_TABLES = f"/apis/{project.GROUP_VERSION}/routetables"
STOP_SECONDS = 0.8


class KubeCluster:
    """ports.Cluster. `kubeconfig` None means the pod's service account; `beat` is Telemetry.beat.

    `list_limit` is the page size of lists, kept small for memory's sake: at 10 KB a Node, 100 of them are 1 MB.
    """

    def __init__(
        self,
        kubeconfig: str | None,
        clock: Clock,
        beat: Callable[[str, float], None] = lambda _thread, _within: None,
        list_limit: int = 100,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self.clock = clock
        self.transport = Transport(kubeconfig)
        self._changed: Callable[[], None] = lambda: None
        self.nodes: MemoryStore[Node] = MemoryStore(self._on_change)
        self.node_routes: MemoryStore[NodeRoute] = MemoryStore(self._on_change, project.decided_upon)
        self.table_reports: MemoryStore[TableReport] = MemoryStore(self._on_change)
        rest = (beat, list_limit, silence)
        self._reflectors: tuple[Reflector[Any], ...] = (
            Reflector(self.transport, NODES, project.node, self.nodes, *rest),
            Reflector(self.transport, NODE_ROUTES, project.node_route, self.node_routes, *rest),
            Reflector(self.transport, ROUTE_TABLES, project.table_report, self.table_reports, *rest),
        )

    def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        for reflector in self._reflectors:
            reflector.start()

    def dead(self) -> str:
        threads = self.threads
        return next((thread.name for thread in threads if thread.ident is not None and not thread.is_alive()), "")

    def stop(self) -> None:
        for reflector in self._reflectors:
            reflector.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for reflector in self._reflectors:
            if reflector.thread.ident is not None:
                reflector.thread.join(max(0.0, deadline - time.monotonic()))
        self.transport.close()

    @property
    def threads(self) -> Sequence[threading.Thread]:
        """The reflectors' threads, for who watches over them."""
        return [reflector.thread for reflector in self._reflectors]

    @property
    def trouble(self) -> str:
        """Why a store is not up to date, in words; "" while all is well."""
        return "; ".join(dict.fromkeys(reflector.trouble for reflector in self._reflectors if reflector.trouble))

    def _on_change(self) -> None:
        self._changed()

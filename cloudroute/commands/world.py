"""One read of Kubernetes for `status`, `path` and `plan`, with errors in words for people.

Imported by commands when they run: it loads the Kubernetes client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cloudroute import telemetry
from cloudroute.adapters.kube import crds
from cloudroute.adapters.kube.cluster import KubeCluster
from cloudroute.clock import SystemClock
from cloudroute.config import ControllerSettings
from cloudroute.errors import CloudrouteError

PATIENCE_SECONDS = 60.0
_GLANCE_SECONDS = 0.05


def connect(
    settings: ControllerSettings, beat: Callable[[str, float], None] = lambda _thread, _within: None
) -> KubeCluster:
    """Set up logging, and return a cluster whose API answers and serves our kinds; nothing is watched yet.

    Raises CloudrouteError, which names the server, the failure and the remedy.
    """
    telemetry.setup_logging(settings.log_format, settings.log_level)
    clock = SystemClock()
    cluster = KubeCluster(settings.kubeconfig or None, clock, beat, selector=settings.node_selector)
    crds.check(cluster.transport, clock)
    return cluster


@contextmanager
def observed(settings: ControllerSettings) -> Iterator[KubeCluster]:
    """Yield the cluster with all three kinds read once. Raises CloudrouteError as `connect` does."""
    cluster = connect(settings)
    try:
        cluster.start(lambda: None)
        _await(cluster, time.monotonic() + PATIENCE_SECONDS)
        yield cluster
    finally:
        cluster.stop()


def _await(cluster: KubeCluster, deadline: float) -> None:
    """Wait for the first lists. A command gives up after a while, though the controller would keep trying."""
    for store in (cluster.nodes, cluster.node_routes, cluster.route_table_objects):
        while not store.wait_synced(_GLANCE_SECONDS):
            if cluster.trouble:
                raise CloudrouteError(cluster.trouble)
            if time.monotonic() > deadline:
                raise CloudrouteError(
                    f"{cluster.transport.url} took more than {PATIENCE_SECONDS:g} s to list nodes, noderoutes and "
                    "routetables: see whether it is overloaded, then try again"
                )

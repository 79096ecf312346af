"""Each program, put together: which adapters go into which loop.

    controller          KubeCluster, KubeClient, Ec2Client ──▶ Loop, fenced by the Lease ──▶ Controller
    plan, cleanup       the same Loop, fenced by ReadOnly, over one read of the cluster
    status, path        KubeCluster, read once
    agent               HostKernel, KubeAgents ──▶ Loop ──▶ Agent

Controller and Agent own the threads; commands add the process around them: flags, signals, exit code.
Each function imports its adapters itself: boto3 and the Kubernetes client take tenths of a second and tens of
megabytes, and neither `--help` nor an agent may pay for boto3.
"""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from cloudroute.clock import SystemClock
from cloudroute.config import AgentSettings, ControllerSettings
from cloudroute.core.identity import identity
from cloudroute.errors import CloudrouteError, LeaseLost
from cloudroute.ports import Fence

if TYPE_CHECKING:
    from cloudroute.adapters.kernel import HostKernel
    from cloudroute.adapters.kube.client import KubeClient
    from cloudroute.adapters.kube.cluster import KubeCluster
    from cloudroute.agent.process import Agent
    from cloudroute.controller.lease import Lease, NoLease
    from cloudroute.controller.loop import Loop
    from cloudroute.controller.process import Controller
    from cloudroute.controller.status_page import StatusPage
    from cloudroute.core.cluster.model import Snapshot
    from cloudroute.core.cluster.planner import Decision
    from cloudroute.telemetry import AgentTelemetry, ControllerTelemetry

LEASE = "cloudroute"
"""Name of the controllers' Lease."""
WRITE_SHARE = 0.75
"""Longest duration of one write, as a share of lease duration minus renew deadline."""
PATIENCE_SECONDS = 60.0
"""Seconds for which a command waits for the first lists."""
_GLANCE_SECONDS = 0.05


# --- the controller -----------------------------------------------------------------------------


def controller(
    settings: ControllerSettings, telemetry: ControllerTelemetry, *, leave: bool = False
) -> tuple[Controller, KubeClient, Callable[[], Decision | None]]:
    """Return a controller that has started no thread, and its client, whose Events outlive the loop.

    The function decides once more by what is known at the end; it returns None if EC2 was never read. `leave` makes
    the controller remove everything that is ours. Raises CloudrouteError as `connect` does.
    """
    from cloudroute.adapters.kube.client import KubeClient
    from cloudroute.controller.process import Controller
    from cloudroute.controller.status_page import StatusPage
    from cloudroute.core.cluster.planner import decide

    cluster = connect(settings, telemetry.beat)
    lease = _lease(settings, cluster)
    page = StatusPage(settings.cluster_name, lease) if settings.status_page and not leave else None
    if page:
        telemetry.pages |= page.pages()
    kube = KubeClient(cluster.transport, cluster, _write_seconds(settings))

    made: list[Loop] = []

    def make_loop() -> Loop:
        made.append(_loop(settings, kube, cluster, lease, telemetry, leave=leave, page=page))
        return made[0]

    def decision() -> Decision | None:
        read = [loop for loop in made if loop.reader.cache.complete]
        return decide(read[0].snapshot(), read[0].reader.policy) if read else None

    return Controller(settings, cluster, lease, make_loop, telemetry), kube, decision


def _lease(settings: ControllerSettings, cluster: KubeCluster) -> Lease | NoLease:
    from cloudroute.adapters.kube.leases import KubeLeases
    from cloudroute.controller.lease import Lease, NoLease

    if not settings.leader_elect:
        return NoLease()
    return Lease(
        KubeLeases(cluster.transport, settings.namespace, LEASE, settings.renew_deadline / 3),
        SystemClock(),
        identity(socket.gethostname(), uuid.uuid4().hex),
        settings.lease_duration,
        settings.renew_deadline,
        settings.retry_period,
    )


def _loop(
    settings: ControllerSettings,
    kube: KubeClient,
    cluster: KubeCluster,
    fence: Fence,
    telemetry: ControllerTelemetry,
    *,
    leave: bool,
    page: StatusPage | None = None,
) -> Loop:
    """Return a loop over a cluster that has been read once: if no region is set, its nodes' zones may tell it.

    Raises UsageError when the region is not known.
    """
    from cloudroute.adapters.ec2.client import Ec2Client
    from cloudroute.adapters.ec2.discover import find_region, find_vpc
    from cloudroute.controller.loop import Loop

    clock = SystemClock()
    zones = (node.zone_hint for node in cluster.nodes.items().values())
    region = settings.region or find_region(None, zones)
    return Loop(
        settings=settings,
        cluster=cluster,
        kube=kube,
        ec2=Ec2Client(None, region, fence, clock, _write_seconds(settings), telemetry.ec2_request),
        fence=fence,
        clock=clock,
        telemetry=telemetry,
        leave=leave,
        page=page,
        own_vpc=cache(lambda: find_vpc(None)),
    )


def _write_seconds(settings: ControllerSettings) -> float:
    """Return the timeout of a write to AWS or Kubernetes: it ends before another process can lead."""
    return WRITE_SHARE * (settings.lease_duration - settings.renew_deadline)


# --- one look ------------------------------------------------------------------------------------


class ReadOnly:
    """The fence of a command that only reads: it refuses every write."""

    def check(self) -> None:
        """Raise LeaseLost, always."""
        raise LeaseLost("this command only reads")


def look(settings: ControllerSettings, *, leave: bool = False) -> tuple[Snapshot, Decision]:
    """Read EC2 and Kubernetes, and return the decision of a controller with these settings. Nothing is written.

    Raises CloudrouteError.
    """
    from cloudroute.adapters.kube.client import KubeClient
    from cloudroute.core.cluster.planner import decide
    from cloudroute.telemetry import ControllerTelemetry

    with observed(settings) as cluster:
        kube = KubeClient(cluster.transport, cluster)
        loop = _loop(settings, kube, cluster, ReadOnly(), ControllerTelemetry(), leave=leave)
        loop.check()
        snapshot = loop.reader.read()
        if snapshot is None:
            raise CloudrouteError(
                "no VPC is known: EC2 has none of the instances that the nodes' providerIDs name; check --region, or "
                "pass --vpc-id"
            )
        return snapshot, decide(snapshot, loop.reader.policy)


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


def connect(
    settings: ControllerSettings, beat: Callable[[str, float], None] = lambda _thread, _within: None
) -> KubeCluster:
    """Set up logging, and return a cluster whose API answers and serves our kinds; nothing is watched yet.

    Raises CloudrouteError, which names the server, the failure and the remedy.
    """
    from cloudroute import telemetry
    from cloudroute.adapters.kube import crds
    from cloudroute.adapters.kube.cluster import Gateways, KubeCluster

    telemetry.setup_logging(settings.log_format, settings.log_level)
    clock = SystemClock()
    gateways = Gateways(settings.gateway_nodes, settings.namespace, settings.gateway_lease_seconds)
    cluster = KubeCluster(settings.kubeconfig or None, clock, beat, selector=settings.node_selector, gateways=gateways)
    crds.check(cluster.transport, clock)
    return cluster


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


# --- an agent ------------------------------------------------------------------------------------


def kernel(settings: AgentSettings) -> HostKernel:
    """Set up logging, and return this machine's kernel."""
    from cloudroute import telemetry
    from cloudroute.adapters.kernel import HostKernel

    telemetry.setup_logging(settings.log_format, settings.log_level)
    return HostKernel(settings.cni_conf_dir)


def agent(settings: AgentSettings, kernel: HostKernel, telemetry: AgentTelemetry) -> Agent:
    """Return an agent of this kernel that has started no thread."""
    from cloudroute.adapters.kube.agents import KubeAgents
    from cloudroute.agent.process import Agent

    agents = KubeAgents(settings.kubeconfig or None, settings.node_name, settings.namespace, telemetry.beat)
    return Agent(settings, agents, kernel, SystemClock(), telemetry)

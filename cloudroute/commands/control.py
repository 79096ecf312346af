"""Builds the controller from its settings: adapters, lease and loop.

Imported by commands when they run: it loads boto3 and the Kubernetes client.
"""

from __future__ import annotations

import os
import socket
import sys
import uuid
from functools import cache
from typing import NoReturn

import structlog

from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.adapters.ec2.discover import find_region, find_vpc
from cloudroute.adapters.kube.client import KubeClient
from cloudroute.adapters.kube.cluster import KubeCluster
from cloudroute.adapters.kube.leases import KubeLeases
from cloudroute.clock import SystemClock
from cloudroute.commands.ending import exit_code
from cloudroute.commands.serving import listening, stop_on_signal, tune_malloc
from cloudroute.commands.world import connect, observed
from cloudroute.config import ControllerSettings
from cloudroute.controller.lease import Lease, NoLease
from cloudroute.controller.loop import Loop
from cloudroute.controller.process import Controller
from cloudroute.controller.status_page import StatusPage
from cloudroute.core.cluster.model import Snapshot
from cloudroute.core.cluster.planner import Decision, decide
from cloudroute.core.identity import identity
from cloudroute.errors import CloudrouteError, LeaseLost
from cloudroute.ports import Fence
from cloudroute.telemetry import Telemetry

log = structlog.get_logger()

LEASE = "cloudroute"
WRITE_SHARE = 0.75
"""Longest duration of one write, as a share of lease duration minus renew deadline."""

FLUSH_SECONDS = 0.3
"""Longest wait for the last Events: after a signal the process ends within a second."""


class ReadOnly:
    """The fence of a command that only reads: it refuses every write."""

    def check(self) -> None:
        """Raise LeaseLost, always."""
        raise LeaseLost("this command only reads")


def write_seconds(settings: ControllerSettings) -> float:
    """Return the timeout of a write to AWS or Kubernetes: it ends before another process can lead."""
    return WRITE_SHARE * (settings.lease_duration - settings.renew_deadline)


def make_loop(
    settings: ControllerSettings,
    kube: KubeClient,
    cluster: KubeCluster,
    fence: Fence,
    telemetry: Telemetry,
    *,
    leave: bool,
    page: StatusPage | None = None,
) -> Loop:
    """Return a loop over a cluster that has been read once: if no region is set, its nodes' zones may tell it.

    `leave` makes the loop remove everything that is ours. Raises UsageError when the region is not known.
    """
    clock = SystemClock()
    zones = (node.zone_hint for node in cluster.nodes.items().values())
    region = settings.region or find_region(None, zones)
    ec2 = Ec2Client(None, region, fence, clock, write_seconds(settings), telemetry.ec2_request)
    own_vpc = cache(lambda: find_vpc(None))
    return Loop(
        settings=settings,
        cluster=cluster,
        kube=kube,
        ec2=ec2,
        fence=fence,
        clock=clock,
        telemetry=telemetry,
        leave=leave,
        page=page,
        own_vpc=own_vpc,
    )


def look(settings: ControllerSettings, leave: bool = False) -> tuple[Snapshot, Decision]:
    """Read EC2 and Kubernetes, and return the decision of a controller with these settings. Nothing is written.

    Raises CloudrouteError.
    """
    with observed(settings) as cluster:
        kube = KubeClient(cluster.transport, cluster)
        loop = make_loop(settings, kube, cluster, ReadOnly(), Telemetry(), leave=leave)
        loop.check()
        snapshot = loop.reader.read()
        if snapshot is None:
            raise CloudrouteError(
                "no VPC is known: EC2 has none of the instances that the nodes' providerIDs name; check --region, or "
                "pass --vpc-id"
            )
        return snapshot, decide(snapshot, loop.reader.policy)


def run_controller(settings: ControllerSettings, leave: bool = False) -> NoReturn:
    """Run until a signal comes, or with `once` until all is done; then end the process with the exit code.

    The process ends by os._exit: Python's own exit waits for threads, whose calls may hang, and after a lost lease no
    thread may complete another write. Raises CloudrouteError only before these threads are started.
    """
    tune_malloc()
    telemetry = Telemetry()
    cluster = connect(settings, telemetry.beat)
    lease = _lease(settings, cluster)
    page = StatusPage(settings.cluster_name, lease) if settings.status_page and not leave else None
    if page:
        telemetry.pages |= page.pages()
    if not leave:  # a cleanup ends by itself, needs no probes, and often runs where the address is in use
        with listening(settings.listen):
            port = telemetry.serve(*settings.listen)
        log.info("listening", port=port, page=settings.status_page)
    kube = KubeClient(cluster.transport, cluster, write_seconds(settings))
    controller = Controller(
        settings,
        cluster,
        lease,
        lambda: make_loop(settings, kube, cluster, lease, telemetry, leave=leave, page=page),
        telemetry,
    )
    stop_on_signal(controller.stop)
    code = exit_code(lambda: 0 if controller.run() else 1)
    kube.events.flush(FLUSH_SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _lease(settings: ControllerSettings, cluster: KubeCluster) -> Lease | NoLease:
    if not settings.leader_elect:
        return NoLease()
    leases = KubeLeases(cluster.transport, settings.namespace, LEASE, settings.renew_deadline / 3)
    return Lease(
        leases,
        SystemClock(),
        identity(socket.gethostname(), uuid.uuid4().hex),
        settings.lease_duration,
        settings.renew_deadline,
        settings.retry_period,
    )

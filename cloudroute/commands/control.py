"""The controller, put together: settings to adapters, adapters to lease and loop.

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
from cloudroute.controller.status import Status
from cloudroute.core.cluster.model import Snapshot
from cloudroute.core.cluster.planner import Decision, decide
from cloudroute.core.identity import identity
from cloudroute.errors import CloudrouteError, LeaseLost
from cloudroute.ports import Fence
from cloudroute.telemetry import Telemetry

log = structlog.get_logger()

LEASE = "cloudroute"
WRITE_SHARE = 0.75
"""Of the margin between a lease's end and its renewals' deadline: how long one write may take."""

FLUSH_SECONDS = 0.3
"""For the last Events: a process that was told to end does so within a second."""


class ReadOnly:
    """The fence of a command that only looks."""

    def check(self) -> None:
        """Refuse."""
        raise LeaseLost("this command only reads")


def write_seconds(settings: ControllerSettings) -> float:
    """How long a write to AWS or to Kubernetes may take, so that it ends before another process may lead."""
    return WRITE_SHARE * (settings.lease_duration - settings.renew_deadline)


def make_loop(
    settings: ControllerSettings,
    kube: KubeClient,
    cluster: KubeCluster,
    fence: Fence,
    telemetry: Telemetry,
    leave: bool,
    status: Status | None = None,
) -> Loop:
    """A loop over a cluster that has been read once: where no region is set, its nodes' zones may tell it.

    `leave` makes it remove all that is ours. Raises UsageError when the region is not known.
    """
    clock = SystemClock()
    zones = (node.zone_hint for node in cluster.nodes.items().values())
    region = settings.region or find_region(None, zones)
    ec2 = Ec2Client(None, region, fence, clock, write_seconds(settings), telemetry.ec2_request)
    own_vpc = cache(lambda: find_vpc(None))
    return Loop(settings, cluster, kube, ec2, fence, clock, telemetry, leave, status, own_vpc)


def look(settings: ControllerSettings, leave: bool = False) -> tuple[Snapshot, Decision]:
    """The world as it is, and what a controller with these settings would decide about it. Nothing is written.

    Raises CloudrouteError.
    """
    with observed(settings) as cluster:
        kube = KubeClient(cluster.transport, cluster)
        loop = make_loop(settings, kube, cluster, ReadOnly(), Telemetry(), leave)
        loop.check()
        snapshot = loop.look()
        if snapshot is None:
            raise CloudrouteError(
                "no VPC is known: EC2 has none of the instances that the nodes' providerIDs name; check --region, or "
                "pass --vpc-id"
            )
        return snapshot, decide(snapshot, loop.policy)


def run_controller(settings: ControllerSettings, leave: bool = False) -> NoReturn:
    """Run until a signal comes, or with `once` until all is done; then end the process with the exit code.

    At once, and not as Python would: its exit waits for threads, whose calls may hang, and after a lost lease no
    thread may finish what it is about to do. Raises CloudrouteError only before there are such threads.
    """
    tune_malloc()
    telemetry = Telemetry()
    cluster = connect(settings, telemetry.beat)
    lease = _lease(settings, cluster)
    status = Status(settings.cluster_name, lease) if settings.status_page and not leave else None
    if status:
        telemetry.pages |= status.pages()
    if not leave:  # a cleanup ends by itself, often where the address is taken: nobody asks how it is
        with listening(settings.listen):
            port = telemetry.serve(*settings.listen)
        log.info("listening", port=port, page=settings.status_page)
    kube = KubeClient(cluster.transport, cluster, write_seconds(settings))
    controller = Controller(
        settings, cluster, lease, lambda: make_loop(settings, kube, cluster, lease, telemetry, leave, status), telemetry
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

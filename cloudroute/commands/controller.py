"""`cloudroute controller`: the leader-elected process that talks to EC2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from cloudroute import wiring
from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.ending import exit_code
from cloudroute.commands.serving import listening, stop_on_signal, tune_malloc
from cloudroute.config import ControllerSettings

if TYPE_CHECKING:
    from cloudroute.core.cluster.planner import Decision

FLUSH_SECONDS = 0.3
"""Longest wait for the last Events: after a signal the process ends within a second."""


def run(invocation: Invocation) -> int:
    """Run until a signal comes, or with --once until all is done."""
    run_process(invocation[ControllerSettings])


def run_process(
    settings: ControllerSettings, *, leave: bool = False, report: Callable[[Decision], None] | None = None
) -> NoReturn:
    """Run until a signal comes, or with `once` until all is done; then end the process with the exit code.

    `leave` removes everything that is ours; `report` is called at the end with what is known then. The process ends by
    os._exit: Python's own exit waits for threads, whose calls may hang, and after a lost lease no thread may complete
    another write. Raises CloudrouteError only before these threads are started.
    """
    import structlog  # imported only here: start-up time

    from cloudroute.telemetry import ControllerTelemetry

    tune_malloc()
    telemetry = ControllerTelemetry()
    controller, kube, decision = wiring.controller(settings, telemetry, leave=leave)
    if not leave:  # a cleanup ends by itself, needs no probes, and often runs where the address is in use
        with listening(settings.listen):
            port = telemetry.serve(*settings.listen)
        structlog.get_logger().info("listening", port=port, page=settings.status_page)
    stop_on_signal(controller.stop)

    def complete() -> int:
        done = controller.run()
        if report and (last := decision()):
            report(last)
        return 0 if done else 1

    code = exit_code(complete)
    kube.events.flush(FLUSH_SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


COMMAND = Command(
    name="controller",
    summary="give nodes pod CIDRs, and the VPC's route tables a route to each",
    text=(
        "Watches Nodes, NodeRoutes and RouteTables in Kubernetes, and keeps EC2 in line: a pod CIDR for each node, "
        "source/dest checks off, one route per node and table while the table has room, and a NodeRoute that tells the "
        "agents which way to send. Run two or more: one leads by a Lease, the others stand by. Routes of others are "
        "never touched. SIGTERM ends what is under way, releases the Lease and exits with 0. AWS credentials and "
        "endpoints are read as boto3 reads them."
    ),
    example=(
        "cloudroute controller --cluster-name prod --cluster-cidr 10.244.0.0/16 --kubeconfig ~/.kube/config\n"
        "cloudroute controller --cluster-cidr 10.244.0.0/16 --cluster-cidr fd00:10:244::/48 --once"
    ),
    run=run,
    kinds=(ControllerSettings,),
    required=("cluster_cidr",),
)

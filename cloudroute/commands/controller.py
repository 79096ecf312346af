"""`cloudroute controller`: the leader-elected process that talks to EC2."""

from __future__ import annotations

from cloudroute.commands.command import Command, Invocation
from cloudroute.config import ControllerSettings


def run(invocation: Invocation) -> int:
    """Run until a signal comes, or with --once until all is done."""
    from cloudroute.commands.control import run_controller  # only here: it loads boto3 and the Kubernetes client

    return run_controller(invocation[ControllerSettings])


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

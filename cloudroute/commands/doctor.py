"""`cloudroute doctor`: checks all requirements of cloudroute, and prints the remedy for each that is not met."""

from __future__ import annotations

from collections.abc import Sequence

from cloudroute.clock import SystemClock
from cloudroute.commands.command import Command, Invocation
from cloudroute.commands.ending import DONE, FAILED
from cloudroute.commands.output import write_lines, write_result
from cloudroute.config import ControllerSettings, OutputSettings
from cloudroute.core.explain.doctor import Finding, examine, lines


def run(invocation: Invocation) -> int:
    """Run all checks and print the findings. Return 1 when a check failed."""
    from cloudroute import telemetry  # imported only here: they load boto3, the Kubernetes client and structlog
    from cloudroute.commands.doctor_facts import gather, look_at_machine, own_session

    settings = invocation[ControllerSettings]
    telemetry.setup_logging(settings.log_format, settings.log_level)
    return tell(invocation, examine(gather(settings, own_session(), SystemClock(), look_at_machine)))


def tell(invocation: Invocation, findings: Sequence[Finding]) -> int:
    """Print the findings. Return 1 when a check failed."""
    form = invocation[OutputSettings].output
    if form == "table":
        write_lines(lines(findings))
    else:
        write_result(form, [finding._asdict() for finding in findings], ())
    return FAILED if any(finding.state == "failed" for finding in findings) else DONE


COMMAND = Command(
    name="doctor",
    summary="check all that cloudroute needs: permissions, VPC, cluster, this node",
    text=(
        "Reads Kubernetes, AWS and, as root on a node, the machine, and says for each check what was found: ok, "
        "warning, failed, or not checked with the reason. A warning or failure comes with its meaning and a remedy. It "
        "writes nothing. IAM is asked by DryRun, for the credentials that doctor runs with: run it in the controller's "
        "pod to ask for the controller's. RBAC is asked by SubjectAccessReview for the accounts of controller and "
        "agents, which an administrator may, else for the account in use. Run it as an administrator also to see what "
        "the controller may not: security groups, network ACLs, peers, other networks. Where AWS or Kubernetes does "
        "not answer, all else is checked. Exits with 1 when a check failed."
    ),
    example=(
        "cloudroute doctor --cluster-name prod --cluster-cidr 10.244.0.0/16 --kubeconfig ~/.kube/config\n"
        """cloudroute doctor -o json | jq '.[] | select(.state == "failed")'"""
    ),
    run=run,
    kinds=(ControllerSettings, OutputSettings),
)

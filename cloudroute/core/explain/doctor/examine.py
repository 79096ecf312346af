"""All checks, in the order of the report."""

from __future__ import annotations

from collections.abc import Sequence

from cloudroute.core.explain.doctor import (
    acls,
    aws,
    cluster,
    control_plane,
    gateways,
    groups,
    instances,
    leader,
    networks,
    node,
    policies,
    vpc,
)
from cloudroute.core.explain.doctor.facts import Facts
from cloudroute.core.explain.doctor.findings import Check, Finding

CHECKS: Sequence[Check[Facts]] = (
    *cluster.CHECKS,
    *leader.CHECKS,
    *networks.CHECKS,
    *aws.CHECKS,
    *vpc.CHECKS,
    *groups.CHECKS,
    *control_plane.CHECKS,
    *acls.CHECKS,
    *instances.CHECKS,
    *gateways.CHECKS,
    *node.CHECKS,
    *policies.CHECKS,
)


def examine(facts: Facts) -> list[Finding]:
    """A finding for each check."""
    return [check.answer(facts) for check in CHECKS]

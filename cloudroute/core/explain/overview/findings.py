"""Findings of `cloudroute doctor` that need only the leader's snapshot: no API is called for them."""

from __future__ import annotations

from collections.abc import Sequence

from cloudroute.core.cluster.model import Policy, Snapshot
from cloudroute.core.explain.doctor import cluster, vpc
from cloudroute.core.explain.doctor.facts import AwsFacts, Facts, KubernetesFacts
from cloudroute.core.explain.doctor.findings import Check, Finding, Unknown

_NOT_READ = Unknown("the leader does not read it; cloudroute doctor does")
CHECKS: Sequence[Check[Facts]] = (
    *(check for check in cluster.CHECKS if check.name in ("nodes", "agents", "mtu")),
    *vpc.CHECKS,
)
"""Checks that need only a snapshot; a check that turns out to need more facts ends as not checked."""


def findings(snapshot: Snapshot, policy: Policy) -> list[Finding]:
    """The findings that are warnings or failures."""
    facts = Facts(
        policy,
        snapshot.limit,
        0,
        KubernetesFacts(
            _NOT_READ, _NOT_READ, _NOT_READ, _NOT_READ, snapshot.nodes, snapshot.node_routes,
            snapshot.route_table_objects, _NOT_READ, _NOT_READ, _NOT_READ,
        ),
        AwsFacts(
            _NOT_READ, _NOT_READ, _NOT_READ, {}, _NOT_READ, snapshot.vpc_id, snapshot.instances, snapshot.tables,
            snapshot.subnets, snapshot.prefix_lists, _NOT_READ, _NOT_READ,
        ),
        _NOT_READ,
    )  # fmt: skip
    answers = (check.answer(facts) for check in CHECKS)
    return [finding for finding in answers if finding.state in ("warning", "failed")]

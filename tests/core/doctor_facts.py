"""Facts of doctor that tests fill in."""

from __future__ import annotations

from cloudroute.core.cluster.model import Policy
from cloudroute.core.explain.doctor import Facts, Finding, examine
from cloudroute.core.explain.doctor.facts import (
    AwsFacts,
    KubernetesFacts,
)
from cloudroute.core.explain.doctor.findings import Unknown
from cloudroute.types import Cidr

NOTHING = Unknown("it was not read")
POOL = Cidr.parse("100.64.0.0/16")
UNREAD = Facts(
    Policy("test", (POOL,), {"ipv4": 24, "ipv6": 80}),
    50,
    8472,
    KubernetesFacts(*[NOTHING] * 10),
    AwsFacts(NOTHING, NOTHING, NOTHING, {}, *[NOTHING] * 8),
    NOTHING,
)


def found(facts: Facts, check: str) -> Finding:
    """The finding of that check."""
    (one,) = [finding for finding in examine(facts) if finding.check == check]
    return one

"""Check of the controllers' leader election: the leader, or the reason why there is none."""

from __future__ import annotations

from datetime import datetime

from cloudroute.core.explain.doctor.cluster import TOLERATED_SECONDS
from cloudroute.core.explain.doctor.facts import Election, Facts
from cloudroute.core.explain.doctor.findings import Check, Lacking, Outcome, Unknown, failed, known, listed, ok, warning
from cloudroute.core.identity import host_of
from cloudroute.types import LeaseRecord


def _leader(facts: Facts) -> Outcome:
    election = known(facts.kubernetes.election)
    lease, namespace = election.lease, election.namespace
    if lease is None:
        raise Lacking(f"there is no Lease in namespace {namespace}: the controller has not run yet")
    if not lease.holder:
        return warning(
            "nobody leads: the last leader has released the Lease",
            f"start a controller; where its pods are up, see their logs: kubectl -n {namespace} get pods",
        )
    age = _age(lease, election.now)
    if age is None or age > lease.duration_seconds + TOLERATED_SECONDS:
        said = "has never renewed" if age is None else f"renewed {age:.0f} s ago"
        return failed(
            f"nobody leads: {lease.holder} holds the Lease for {lease.duration_seconds} s, which it {said}",
            f"see that the controllers' pods run and reach the API server: kubectl -n {namespace} get pods",
        )
    return _held(lease, age, election)


def _held(lease: LeaseRecord, age: float, election: Election) -> Outcome:
    """Outcome for a Lease that has not expired, by its holder, its renew time and the holder's host."""
    namespace, holder = election.namespace, lease.holder
    free = f"kubectl -n {namespace} delete lease cloudroute, and restart the controllers"
    host = host_of(holder)
    if not host:
        return failed(
            f"the Lease is held by {holder}, which is no controller of cloudroute: all of them stand by",
            f"find who writes the Lease, and end that; then {free}",
        )
    if -age > lease.duration_seconds:
        return warning(
            f"{holder} renewed the Lease {-age:.0f} s in the future",
            f"synchronise the clock of {host} (chrony; in AWS 169.254.169.123 tells the time); where no such process "
            f"runs any more, {free}",
        )
    pods = {} if isinstance(election.pods, Unknown) else election.pods
    if pods and _short(host) not in map(_short, pods):
        return warning(
            f"{holder} leads, and none of the controllers' pods runs on {host}: "
            f"{listed(f'{pod} on {place}' for place, pod in sorted(pods.items()))}",
            f"find the process on {host}: a controller or a cleanup that somebody has started by hand. When it has "
            "ended, a pod leads within the Lease's duration",
        )
    return ok(f"{holder} leads")


def _age(lease: LeaseRecord, now: float) -> float | None:
    """Seconds since the last renewal, below 0 for one in the future; None where there was none."""
    return now - datetime.fromisoformat(lease.renew_time).timestamp() if lease.renew_time else None


def _short(host: str) -> str:
    """Name of a host without its domain, in which the kernel and Kubernetes may differ."""
    return host.partition(".")[0].lower()


CHECKS: tuple[Check[Facts], ...] = (
    Check(
        "Kubernetes",
        "leader",
        "while no controller leads, a new node gets no route, and one of a node that is gone stays",
        _leader,
    ),
)

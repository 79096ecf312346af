"""The two APIs of events: the same objects with different field names. The older form (v1) is stored."""

from __future__ import annotations

from collections.abc import Mapping

from cloudroute.lab.kube.status import Object

_NEW_NAMES: Mapping[str, str] = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_OLD_NAMES = {new: old for old, new in _NEW_NAMES.items()}


def to_new(event: Object) -> Object:
    """Convert from v1 to events.k8s.io/v1.

    >>> to_new({"message": "full", "reason": "RouteLimit"})
    {'note': 'full', 'reason': 'RouteLimit'}
    """
    return {_NEW_NAMES.get(name, name): value for name, value in event.items()}


def to_old(event: Object) -> Object:
    """Convert from events.k8s.io/v1 to v1."""
    return {_OLD_NAMES.get(name, name): value for name, value in event.items()}

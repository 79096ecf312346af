"""Recent warnings of the controller: refusals, limits, foreign routes. Its Events are the only record of them.

Imported by `status` when it runs: it loads the Kubernetes client.
"""

from __future__ import annotations

from typing import Any, TypedDict

from cloudroute.adapters.kube import events
from cloudroute.adapters.kube.transport import Transport
from cloudroute.errors import ApiError

_PAGE = 500


class Warned(TypedDict):
    """One of `warnings[]`: time, object, reason and message."""

    time: str
    kind: str
    name: str
    reason: str
    message: str


def read(transport: Transport) -> list[Warned]:
    """Return the warnings that Kubernetes still keeps (an hour by default), the newest per object and reason.

    An account that may not list Events gets none: `status` is useful without them.
    """
    found: dict[tuple[str, str, str], tuple[str, str]] = {}
    query: dict[str, str | int] = {
        "fieldSelector": f"type=Warning,reportingController={events.CONTROLLER}",
        "limit": _PAGE,
    }
    try:
        while True:
            page = transport.request("GET", events.PATH, query)
            for event in page.get("items") or ():
                subject, when = _subject(event), str(event.get("eventTime") or "")
                found[subject] = max(found.get(subject, ("", "")), (when, str(event.get("note") or "")))
            query["continue"] = (page.get("metadata") or {}).get("continue") or ""
            if not query["continue"]:
                break
    except ApiError:
        return []
    return [
        {"time": time, "kind": kind, "name": name, "reason": reason, "message": message}
        for (kind, name, reason), (time, message) in sorted(found.items())
    ]


def _subject(event: dict[str, Any]) -> tuple[str, str, str]:
    regarding = event.get("regarding") or {}
    return str(regarding.get("kind")), str(regarding.get("name")), str(event.get("reason"))

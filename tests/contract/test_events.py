"""Events of events.k8s.io/v1, and the same in the older API that kubectl reads."""

from __future__ import annotations

import pytest

from tests.contract.conftest import Api, Json

NEW = "/apis/events.k8s.io/v1/namespaces/default/events"
OLD = "/api/v1/namespaces/default/events"


def event(name: str, **changes: Json) -> Json:
    return {
        "metadata": {"name": name},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "cloudroute.io/controller",
        "reportingInstance": "controller-1",
        "action": "Reconcile",
        "reason": "OverlayFallback",
        "type": "Warning",
        "note": "rtb-1 is full",
        "regarding": {"apiVersion": "v1", "kind": "Node", "name": name, "uid": name},
        **changes,
    }


def test_both_apis_show_one_event(kube_api: Api, name: str) -> None:
    """An Event written by the new API is read by the old one with the old field names, also by its object."""
    assert kube_api.ask("POST", NEW, event(name)).body["note"] == "rtb-1 is full"
    selector = f"involvedObject.kind%3DNode,involvedObject.name%3D{name}"
    (found,) = kube_api.ask("GET", f"{OLD}?fieldSelector={selector}").body["items"]
    assert (found["message"], found["reason"], found["type"]) == ("rtb-1 is full", "OverlayFallback", "Warning")
    assert (found["involvedObject"]["name"], found["reportingComponent"]) == (name, "cloudroute.io/controller")


@pytest.mark.parametrize(
    "changes",
    [
        {"eventTime": None},
        {"reportingController": ""},
        {"reportingInstance": ""},
        {"action": ""},
        {"reason": ""},
        {"type": "Error"},
        {"note": "x" * 1025},
        {"action": "x" * 129},
    ],
)
def test_an_incomplete_event_is_refused(kube_api: Api, name: str, changes: Json) -> None:
    """Controller, action, reason and time are required; the type is Normal or Warning; texts have limits."""
    assert kube_api.ask("POST", NEW, event(name, **changes)).status == 422


def test_an_event_changes_in_its_series_only(kube_api: Api, name: str) -> None:
    """The series of an Event may change; all else is immutable."""
    kube_api.ask("POST", NEW, event(name))
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:05.000000Z"}
    assert kube_api.ask("PATCH", f"{NEW}/{name}", {"series": series}, "merge").body["series"] == series
    assert kube_api.ask("PATCH", f"{NEW}/{name}", {"note": "rtb-2 is full"}, "merge").status == 422

"""Lists in pages, selectors and watches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from tests.contract.conftest import Api, Json

MAPS = "/api/v1/namespaces/default/configmaps"
NODES = "/api/v1/nodes"
ROUTES = "/apis/cloudroute.io/v1alpha1/noderoutes"


def make(api: Api, name: str, path: str = MAPS, **labels: str) -> str:
    """Create an object and return its version."""
    return api.ask("POST", path, {"metadata": {"name": name, "labels": labels}}).version


def names(body: Json) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


def path_of(path: str, **query: str) -> str:
    return f"{path}?" + "&".join(f"{key}={value}" for key, value in query.items())


# --- Lists --------------------------------------------------------------------------------------


def test_a_list_is_in_the_order_of_names(kube_api: Api, name: str) -> None:
    """A list has the version to watch from; only items of custom resources have apiVersion and kind."""
    versions = [make(kube_api, f"{name}-{suffix}", set=name) for suffix in "bca"]
    answer = kube_api.ask("GET", path_of(MAPS, labelSelector=f"set%3D{name}"))
    assert names(answer.body) == [f"{name}-{suffix}" for suffix in "abc"]
    assert int(answer.version) >= int(versions[-1])
    assert (answer.body["kind"], answer.body["apiVersion"]) == ("ConfigMapList", "v1")
    assert not {"kind", "apiVersion"} & answer.body["items"][0].keys()
    kube_api.create(
        {
            "apiVersion": "cloudroute.io/v1alpha1",
            "kind": "NodeRoute",
            "metadata": {"name": name},
            "spec": {
                "podCIDRs": ["10.1.0.0/24"],
                "instanceID": "i-1",
                "networkInterfaceID": "eni-1",
                "routeTableID": "rtb-1",
            },
        }
    )
    custom = kube_api.ask("GET", path_of(ROUTES, fieldSelector=f"metadata.name%3D{name}")).body
    assert [item["kind"] for item in custom["items"]] == ["NodeRoute"]


def test_pages_are_of_one_moment(kube_api: Api, name: str) -> None:
    """Pages of one list show the state of its first page."""
    for suffix in "abcde":
        make(kube_api, f"{name}-{suffix}", set=name)
    query = {"labelSelector": f"set%3D{name}", "limit": "2"}
    first = kube_api.ask("GET", path_of(MAPS, **query))
    kube_api.ask("DELETE", f"{MAPS}/{name}-c")
    make(kube_api, f"{name}-dd", set=name)
    kube_api.ask("PATCH", f"{MAPS}/{name}-e", {"data": {"new": "1"}}, "merge")
    second = kube_api.ask("GET", path_of(MAPS, **query, **{"continue": first.body["metadata"]["continue"]}))
    third = kube_api.ask("GET", path_of(MAPS, **query, **{"continue": second.body["metadata"]["continue"]}))
    assert [names(page.body) for page in (first, second, third)] == [
        [f"{name}-a", f"{name}-b"],
        [f"{name}-c", f"{name}-d"],
        [f"{name}-e"],
    ]
    assert "data" not in third.body["items"][0]
    assert "continue" not in third.body["metadata"]
    assert first.version == second.version == third.version


def test_a_list_says_how_many_remain(kube_api: Api, name: str) -> None:
    """A page has remainingItemCount, except the last."""
    for suffix in "abc":
        make(kube_api, f"{name}-{suffix}")
    whole = len(kube_api.ask("GET", MAPS).body["items"])
    page = kube_api.ask("GET", path_of(MAPS, limit="2")).body
    assert (len(page["items"]), page["metadata"]["remainingItemCount"]) == (2, whole - 2)
    assert "remainingItemCount" not in kube_api.ask("GET", path_of(MAPS, limit=str(whole))).body["metadata"]


def test_a_list_that_began_too_long_ago_is_expired(kube_api: Api, name: str) -> None:
    """After a compaction its next page answers 410."""
    for suffix in "abc":
        make(kube_api, f"{name}-{suffix}")
    first = kube_api.ask("GET", path_of(MAPS, limit="2"))
    make(kube_api, f"{name}-d")
    kube_api.compact()
    token = first.body["metadata"]["continue"]
    answer = kube_api.ask("GET", path_of(MAPS, limit="2", **{"continue": token}))
    assert (answer.status, answer.body["reason"]) == (410, "Expired")


@pytest.mark.parametrize(
    "query", ["limit=x", "limit=1&continue=zzz", "labelSelector=a%20b", "fieldSelector=spec.x%3Dy"]
)
def test_a_bad_query_is_refused(kube_api: Api, query: str) -> None:
    """400 for a limit, a token or a selector that can't be understood."""
    assert kube_api.ask("GET", f"{MAPS}?{query}").status == 400


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("kind%3Dx", "a"),
        ("kind%3D%3Dx", "a"),
        ("kind!%3Dx", "bc"),
        ("kind", "ab"),
        ("!kind", "c"),
        ("kind%20in%20(x,y)", "ab"),
        ("kind%20notin%20(x)", "bc"),
        ("kind%20in%20(x,y),more", "b"),
    ],
)
def test_label_selectors(kube_api: Api, name: str, selector: str, expected: str) -> None:
    """All operators; an absent label is unequal to everything."""
    for suffix, labels in (("a", {"kind": "x"}), ("b", {"kind": "y", "more": "1"}), ("c", {})):
        make(kube_api, f"{name}-{suffix}", set=name, **labels)
    answer = kube_api.ask("GET", path_of(MAPS, labelSelector=f"set%3D{name},{selector}"))
    assert names(answer.body) == [f"{name}-{suffix}" for suffix in expected]


def test_field_selectors_of_pods(kube_api: Api, name: str) -> None:
    """By node, phase and first address. status.podIPs may be named and finds nothing."""
    pods = "/api/v1/namespaces/default/pods"
    spec = {"nodeName": name, "containers": [{"name": "c", "image": "i"}]}
    kube_api.ask("POST", pods, {"metadata": {"name": name}, "spec": spec})
    address, second = "10.9.9.9", "fd00:9::9"
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}, {"ip": second}]}
    kube_api.ask("PATCH", f"{pods}/{name}/status", {"status": status}, "merge")
    found = {
        selector: names(
            kube_api.ask("GET", path_of("/api/v1/pods", fieldSelector=f"spec.nodeName={name},{selector}")).body
        )
        for selector in (
            "status.phase=Running",
            "status.phase!=Running",
            "spec.hostNetwork=false",
            f"status.podIP={address}",
            f"status.podIP={second}",
            f"status.podIPs={address}",
        )
    }
    assert list(found.values()) == [[name], [], [name], [name], [], []]
    assert kube_api.ask("GET", "/api/v1/pods?fieldSelector=spec.none%3Dx").status == 400
    kube_api.delete("pods", name, "default")


# --- Watches ------------------------------------------------------------------------------------


def brief(events: Iterator[tuple[str, Json]], count: int) -> list[tuple[str, str]]:
    """The next events as type and name."""
    return [(kind, item["metadata"]["name"]) for kind, item in islice(events, count)]


def test_a_watch_goes_on_from_a_version(kube_api: Api, name: str) -> None:
    """It replays what happened since, in order, and nothing else; a deletion carries a version of its own."""
    query = {"labelSelector": f"set={name}"}
    start = make(kube_api, f"{name}-a", set=name)
    make(kube_api, f"{name}-b", set=name)
    make(kube_api, f"{name}-x", set="other")
    kube_api.ask("PATCH", f"{MAPS}/{name}-a", {"data": {"k": "v"}}, "merge")
    kube_api.ask("DELETE", f"{MAPS}/{name}-b")
    events = list(islice(kube_api.events(MAPS, resourceVersion=start, **query), 3))
    assert [(kind, item["metadata"]["name"]) for kind, item in events] == [
        ("ADDED", f"{name}-b"),
        ("MODIFIED", f"{name}-a"),
        ("DELETED", f"{name}-b"),
    ]
    versions = [int(item["metadata"]["resourceVersion"]) for _, item in events]
    assert versions == sorted(set(versions))
    assert (events[1][1]["kind"], events[1][1]["apiVersion"]) == ("ConfigMap", "v1")


def test_a_watch_without_a_version_begins_with_all(kube_api: Api, name: str) -> None:
    """A watch without a version begins with an ADDED event for each object."""
    for suffix in "ab":
        make(kube_api, f"{name}-{suffix}", set=name)
    events = brief(kube_api.events(MAPS, labelSelector=f"set={name}"), 2)
    assert sorted(events) == [("ADDED", f"{name}-a"), ("ADDED", f"{name}-b")]


def test_a_watch_hears_of_changes_as_they_happen(kube_api: Api, name: str) -> None:
    """An open watch gets the event of a later write."""
    start = make(kube_api, f"{name}-a", set=name)
    later = threading.Timer(0.2, make, (kube_api, f"{name}-b"), {"set": name})
    later.start()
    events = brief(kube_api.events(MAPS, resourceVersion=start, labelSelector=f"set={name}"), 1)
    later.join()
    assert events == [("ADDED", f"{name}-b")]


def test_a_watch_speaks_the_language_of_its_selector(kube_api: Api, name: str) -> None:
    """With a selector an object that begins to match is ADDED, one that ceases to match is DELETED."""
    start = make(kube_api, name, set="other")
    for label in (name, "other"):
        kube_api.ask("PATCH", f"{MAPS}/{name}", {"metadata": {"labels": {"set": label}}}, "merge")
    events = brief(kube_api.events(MAPS, resourceVersion=start, labelSelector=f"set={name}"), 2)
    assert events == [("ADDED", name), ("DELETED", name)]


def test_a_watch_ends_at_its_timeout(kube_api: Api, name: str) -> None:
    """The stream ends whole, without an error."""
    start = make(kube_api, name)
    query = {"resourceVersion": start, "timeoutSeconds": "1", "fieldSelector": f"metadata.name={name}"}
    assert list(kube_api.events(MAPS, **query)) == []


def test_a_bookmark_comes_before_the_end(kube_api: Api, name: str) -> None:
    """A quiet watch gets a bookmark with its version before it ends, so that no new list is needed."""
    make(kube_api, name, NODES)
    start = kube_api.ask("GET", NODES).version
    later = threading.Timer(0.3, make, (kube_api, f"{name}-other", NODES))
    later.start()
    query = {"resourceVersion": start, "timeoutSeconds": "4", "fieldSelector": f"metadata.name={name}"}
    events = list(kube_api.events(NODES, allowWatchBookmarks="true", **query))
    later.join()
    last = int(kube_api.ask("GET", f"{NODES}/{name}-other").version)
    assert {kind for kind, _ in events} == {"BOOKMARK"}
    assert events[-1][1]["kind"] == "Node"
    assert int(events[-1][1]["metadata"]["resourceVersion"]) >= last


def test_a_watch_from_too_long_ago_is_expired(kube_api: Api, name: str) -> None:
    """After a compaction it answers one event, ERROR with a Status of code 410."""
    start = make(kube_api, f"{name}-a")
    for suffix in "bc":
        make(kube_api, f"{name}-{suffix}")
    kube_api.compact()
    ((kind, status),) = islice(kube_api.events(MAPS, resourceVersion=start), 1)
    assert (kind, status["kind"], status["code"], status["reason"]) == ("ERROR", "Status", 410, "Expired")


def test_many_watches_hear_the_same(kube_api: Api, name: str) -> None:
    """Each of several watches gets every event."""
    start = make(kube_api, f"{name}-a", set=name)
    heard: list[Any] = []

    def listen() -> None:
        heard.append(brief(kube_api.events(MAPS, resourceVersion=start, labelSelector=f"set={name}"), 3))

    listeners = [threading.Thread(target=listen) for _ in range(5)]
    for listener in listeners:
        listener.start()
    for suffix in "bcd":
        make(kube_api, f"{name}-{suffix}", set=name)
    for listener in listeners:
        listener.join()
    assert heard == [[("ADDED", f"{name}-{suffix}") for suffix in "bcd"]] * 5

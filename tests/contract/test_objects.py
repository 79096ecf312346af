"""Creating, replacing and deleting objects."""

from __future__ import annotations

import pytest

from tests.contract.conftest import Api, Json

NODES = "/api/v1/nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


def node(name: str, **spec: Json) -> Json:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec}


def lease(name: str, holder: str, version: str = "") -> Json:
    metadata = {"name": name} | ({"resourceVersion": version} if version else {})
    return {"metadata": metadata, "spec": {"holderIdentity": holder, "renewTime": "2026-01-01T00:00:00.000000Z"}}


def test_a_new_object_gets_its_identity(kube_api: Api, name: str) -> None:
    """uid, creationTimestamp in whole seconds and resourceVersion are the server's; reading it back shows the same."""
    created = kube_api.ask("POST", NODES, node(name))
    assert created.status == 201
    metadata = created.body["metadata"]
    assert metadata["uid"]
    assert len(metadata["creationTimestamp"]) == len("2026-01-01T00:00:00Z")
    read = kube_api.ask("GET", f"{NODES}/{name}")
    assert (read.status, read.body) == (200, created.body)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"metadata": {"name": "Not_A_Name"}}, 422, "Invalid"),
        ({"metadata": {}}, 422, "Invalid"),
        ({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x"}}, 400, "BadRequest"),
        ({"kind": "Node", "apiVersion": "v2", "metadata": {"name": "x"}}, 400, "BadRequest"),
        ([], 400, "BadRequest"),
    ],
)
def test_malformed_objects_are_refused(kube_api: Api, body: Json, status: int, reason: str) -> None:
    """A malformed name is invalid; another kind or a non-object is a bad request."""
    answer = kube_api.ask("POST", NODES, body)
    assert (answer.status, answer.body["reason"], answer.body["code"]) == (status, reason, status)
    assert (answer.body["kind"], answer.body["status"]) == ("Status", "Failure")


def test_a_name_is_given_once(kube_api: Api, name: str) -> None:
    """The second create answers 409 AlreadyExists and names the object."""
    kube_api.ask("POST", NODES, node(name))
    answer = kube_api.ask("POST", NODES, node(name))
    assert (answer.status, answer.body["reason"]) == (409, "AlreadyExists")
    assert answer.body["details"] == {"name": name, "kind": "nodes"}


def test_a_version_in_a_create_is_refused(kube_api: Api, name: str) -> None:
    """A create with a resourceVersion is refused."""
    body = node(name)
    body["metadata"]["resourceVersion"] = "7"
    assert kube_api.ask("POST", NODES, body).status == 500
    assert kube_api.ask("GET", f"{NODES}/{name}").status == 404


def test_a_name_is_generated(kube_api: Api, name: str) -> None:
    """generateName is a prefix."""
    made = {
        kube_api.ask("POST", NODES, {"metadata": {"generateName": f"{name}-"}}).body["metadata"]["name"] for _ in "ab"
    }
    assert len(made) == 2
    assert all(one.startswith(f"{name}-") and len(one) > len(name) + 1 for one in made)


def test_a_dry_run_leaves_no_trace(kube_api: Api, name: str) -> None:
    """Dry runs of create, patch and delete answer as real ones, errors included, and change nothing."""
    assert kube_api.ask("POST", f"{NODES}?dryRun=All", node(name)).status == 201
    assert kube_api.ask("GET", f"{NODES}/{name}").status == 404
    before = kube_api.ask("POST", NODES, node(name)).body
    path = f"{NODES}/{name}?dryRun=All"
    patched = kube_api.ask("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, "merge")
    assert patched.body["metadata"]["labels"] == {"a": "b"}
    assert kube_api.ask("PATCH", path, {"metadata": {"labels": {"a": "b c"}}}, "merge").status == 422
    assert kube_api.ask("DELETE", path).status == 200
    assert kube_api.ask("GET", f"{NODES}/{name}").body == before


def test_a_namespace_must_be_there(kube_api: Api, name: str) -> None:
    """An object can't be created in a namespace that does not exist."""
    answer = kube_api.ask("POST", f"/apis/coordination.k8s.io/v1/namespaces/{name}/leases", lease("x", "a"))
    assert (answer.status, answer.body["details"]["kind"]) == (404, "namespaces")


# --- PUT ----------------------------------------------------------------------------------------


def test_a_put_against_an_old_version_is_a_conflict(kube_api: Api, name: str) -> None:
    """Of two writers that have read the same version, one gets 409 and changes nothing."""
    first = kube_api.ask("POST", LEASES, lease(name, "a"))
    second = kube_api.ask("PUT", f"{LEASES}/{name}", lease(name, "b", first.version))
    assert second.status == 200
    late = kube_api.ask("PUT", f"{LEASES}/{name}", lease(name, "c", first.version))
    assert (late.status, late.body["reason"]) == (409, "Conflict")
    assert kube_api.ask("GET", f"{LEASES}/{name}").body["spec"]["holderIdentity"] == "b"


def test_a_put_of_a_lease_needs_a_version_or_creates(kube_api: Api, name: str) -> None:
    """A PUT without a version creates a missing Lease, and is refused for an existing one."""
    assert kube_api.ask("PUT", f"{LEASES}/{name}", lease(name, "a")).status == 201
    again = kube_api.ask("PUT", f"{LEASES}/{name}", lease(name, "b"))
    assert (again.status, again.fields) == (422, ["metadata.resourceVersion"])


def test_a_put_of_a_node_needs_no_version(kube_api: Api, name: str) -> None:
    """A Node may be replaced whatever its version; its identity stays, and another name or uid is refused."""
    created = kube_api.ask("POST", NODES, node(name)).body["metadata"]
    body = node(name)
    body["metadata"]["labels"] = {"a": "b"}
    replaced = kube_api.ask("PUT", f"{NODES}/{name}", body)
    assert replaced.status == 200
    metadata = replaced.body["metadata"]
    assert (metadata["uid"], metadata["creationTimestamp"]) == (created["uid"], created["creationTimestamp"])
    assert metadata["labels"] == {"a": "b"}
    body["metadata"]["uid"] = "0"
    assert kube_api.ask("PUT", f"{NODES}/{name}", body).status == 409
    assert kube_api.ask("PUT", f"{NODES}/{name}", node("another")).status == 400
    assert kube_api.ask("PUT", f"{NODES}/{name}-none", node(f"{name}-none")).status == 404


def test_a_lease_keeps_microseconds(kube_api: Api, name: str) -> None:
    """Times of a lease come back as written, and one without microseconds is refused."""
    kube_api.ask("POST", LEASES, lease(name, "a"))
    patch = {"spec": {"renewTime": "2026-01-01T00:00:02.123456Z"}}
    assert kube_api.ask("PATCH", f"{LEASES}/{name}", patch, "merge").body["spec"]["renewTime"].endswith("02.123456Z")
    patch = {"spec": {"renewTime": "2026-01-01T00:00:02Z"}}
    assert kube_api.ask("PATCH", f"{LEASES}/{name}", patch, "merge").status == 422
    assert kube_api.ask("PATCH", f"{LEASES}/{name}", {"spec": {"leaseDurationSeconds": 0}}, "merge").status == 422


# --- DELETE -------------------------------------------------------------------------------------


def test_a_deleted_object_is_gone(kube_api: Api, name: str) -> None:
    """DELETE answers with the object's identity; afterwards it is gone, and the name is free."""
    uid = kube_api.ask("POST", NODES, node(name)).body["metadata"]["uid"]
    answer = kube_api.ask("DELETE", f"{NODES}/{name}")
    assert (answer.status, answer.body["status"], answer.body["details"]["uid"]) == (200, "Success", uid)
    again = kube_api.ask("DELETE", f"{NODES}/{name}")
    assert (again.status, again.body["reason"]) == (404, "NotFound")
    assert kube_api.ask("POST", NODES, node(name)).body["metadata"]["uid"] != uid


@pytest.mark.parametrize("field", ["uid", "resourceVersion"])
def test_a_delete_can_be_bound_to_one_object(kube_api: Api, name: str, field: str) -> None:
    """With a precondition on another uid or version it answers 409 and deletes nothing."""
    created = kube_api.ask("POST", NODES, node(name)).body["metadata"]
    other = kube_api.ask("DELETE", f"{NODES}/{name}", {"preconditions": {field: "1"}})
    assert (other.status, other.body["reason"]) == (409, "Conflict")
    assert kube_api.ask("DELETE", f"{NODES}/{name}", {"preconditions": {field: created[field]}}).status == 200


def test_a_finalizer_holds_an_object(kube_api: Api, name: str) -> None:
    """DELETE marks an object with finalizers; removing the last finalizer deletes it."""
    body = node(name)
    body["metadata"]["finalizers"] = ["cloudroute.io/test"]
    kube_api.ask("POST", NODES, body)
    marked = kube_api.ask("DELETE", f"{NODES}/{name}")
    assert (marked.status, marked.body["kind"]) == (200, "Node")
    assert marked.body["metadata"]["deletionTimestamp"]
    again = kube_api.ask("DELETE", f"{NODES}/{name}")
    assert again.version == marked.version, "a second delete changes nothing"
    assert kube_api.ask("GET", f"{NODES}/{name}").status == 200
    assert kube_api.ask("PATCH", f"{NODES}/{name}", {"metadata": {"finalizers": None}}, "merge").status == 200
    assert kube_api.ask("GET", f"{NODES}/{name}").status == 404


def test_a_collection_is_deleted_by_label(kube_api: Api, name: str) -> None:
    """DELETE of a collection deletes the objects that the selector matches."""
    for suffix, labels in (("a", {"set": name}), ("b", {"set": name}), ("c", {"set": "other"})):
        body = node(f"{name}-{suffix}")
        body["metadata"]["labels"] = labels
        kube_api.ask("POST", NODES, body)
    assert kube_api.ask("DELETE", f"{NODES}?labelSelector=set%3D{name}").status == 200
    assert [kube_api.ask("GET", f"{NODES}/{name}-{suffix}").status for suffix in "abc"] == [404, 404, 200]


# --- Paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nothings", 404),
        ("GET", "/api/v1/nodes/none", 404),
        ("GET", "/apis/cloudroute.io/v9/noderoutes", 404),
        ("POST", "/api/v1/nodes/x", 405),
        ("PATCH", "/api/v1/nodes", 405),
        ("PUT", "/api/v1/nodes", 405),
        ("GET", "/readyz", 200),
        ("GET", "/version", 200),
    ],
)
def test_a_path_is_served_or_not(kube_api: Api, method: str, path: str, status: int) -> None:
    """An unknown path answers 404, an unsupported method 405."""
    body: Json = None if method == "GET" else {}
    patch = "" if method == "GET" else "merge"
    assert kube_api.ask(method, path, body, patch).status == status

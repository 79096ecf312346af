"""The four kinds of patch, and how they detect races."""

from __future__ import annotations

import pytest

from tests.contract.conftest import Answer, Api, Json

MAPS = "/api/v1/namespaces/default/configmaps"
ROUTES = "/apis/cloudroute.io/v1alpha1/noderoutes"
SPEC = {
    "podCIDRs": ["10.1.0.0/24"],
    "nodeIPs": ["10.0.0.1"],
    "instanceID": "i-1",
    "networkInterfaceID": "eni-1",
    "routeTableID": "rtb-1",
}


def make(api: Api, name: str, **data: str) -> Answer:
    return api.ask("POST", MAPS, {"metadata": {"name": name}, "data": data})


def route(name: str, **spec: Json) -> Json:
    return {"apiVersion": "cloudroute.io/v1alpha1", "kind": "NodeRoute", "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize("kind", ["merge", "strategic"])
def test_merge_patches_add_change_and_remove(kube_api: Api, name: str, kind: str) -> None:
    """null removes a key; other keys stay."""
    make(kube_api, name, a="1", b="2", c="3")
    answer = kube_api.ask("PATCH", f"{MAPS}/{name}", {"data": {"a": None, "b": "5", "d": "6"}}, kind)
    assert answer.body["data"] == {"b": "5", "c": "3", "d": "6"}


def test_a_json_patch_adds_changes_and_removes(kube_api: Api, name: str) -> None:
    """A JSON patch applies its operations in order, a test included."""
    make(kube_api, name, a="1", b="2")
    patch = [
        {"op": "test", "path": "/data/a", "value": "1"},
        {"op": "remove", "path": "/data/a"},
        {"op": "replace", "path": "/data/b", "value": "5"},
        {"op": "add", "path": "/data/d", "value": "6"},
        {"op": "add", "path": "/metadata/labels", "value": {"x": "y"}},
    ]
    answer = kube_api.ask("PATCH", f"{MAPS}/{name}", patch, "json")
    assert (answer.body["data"], answer.body["metadata"]["labels"]) == ({"b": "5", "d": "6"}, {"x": "y"})


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ([{"op": "test", "path": "/metadata/resourceVersion", "value": "1"}], 422),
        ([{"op": "remove", "path": "/data/none"}], 422),
        ([{"op": "replace", "path": "/none/none", "value": "1"}], 422),
        ([{"op": "frobnicate", "path": "/data/a"}], 422),
        ({"op": "remove", "path": "/data/a"}, 400),
    ],
)
def test_a_json_patch_that_does_not_fit_changes_nothing(kube_api: Api, name: str, operation: Json, status: int) -> None:
    """A failed test or a missing path is 422; a body that is no list of operations 400."""
    made = make(kube_api, name, a="1")
    change = [{"op": "add", "path": "/data/b", "value": "2"}]
    patch = [*change, *operation] if isinstance(operation, list) else operation
    assert kube_api.ask("PATCH", f"{MAPS}/{name}", patch, "json").status == status
    assert kube_api.ask("GET", f"{MAPS}/{name}").body == made.body


def test_a_json_patch_can_name_the_version_it_is_for(kube_api: Api, name: str) -> None:
    """A test on metadata.resourceVersion lets one of two writers through."""
    made = make(kube_api, name, a="1")
    patch: Json = [{"op": "test", "path": "/metadata/resourceVersion", "value": made.version}]
    patch.append({"op": "replace", "path": "/data/a", "value": "2"})
    assert [kube_api.ask("PATCH", f"{MAPS}/{name}", patch, "json").status for _ in "ab"] == [200, 422]


@pytest.mark.parametrize("kind", ["merge", "strategic"])
def test_a_merge_patch_can_name_the_version_it_is_for(kube_api: Api, name: str, kind: str) -> None:
    """A merge patch with an old resourceVersion answers 409; without one it never does."""
    made = make(kube_api, name, a="1")
    kube_api.ask("PATCH", f"{MAPS}/{name}", {"data": {"a": "2"}}, kind)
    late = {"metadata": {"resourceVersion": made.version}, "data": {"a": "3"}}
    answer = kube_api.ask("PATCH", f"{MAPS}/{name}", late, kind)
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert kube_api.ask("PATCH", f"{MAPS}/{name}", {"data": {"a": "4"}}, kind).body["data"] == {"a": "4"}


@pytest.mark.parametrize("kind", ["merge", "strategic"])
def test_a_patch_can_name_the_uid_it_is_for(kube_api: Api, name: str, kind: str) -> None:
    """A patch for an object that was deleted and created anew is refused: 422, unlike a stale version."""
    make(kube_api, name, a="1")
    patch = {"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}, "data": {"a": "2"}}
    answer = kube_api.ask("PATCH", f"{MAPS}/{name}", patch, kind)
    assert (answer.status, set(answer.fields)) == (422, {"metadata.uid"})


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("merge", {"data": {"a": "1"}, "metadata": {"labels": {"x": None}}}),
        ("strategic", {}),
        ("json", [{"op": "replace", "path": "/data/a", "value": "1"}]),
    ],
)
def test_a_patch_that_changes_nothing_keeps_the_version(kube_api: Api, name: str, kind: str, patch: Json) -> None:
    """A patch without a change keeps the version and sends no watch event."""
    made = make(kube_api, name, a="1")
    answer = kube_api.ask("PATCH", f"{MAPS}/{name}", patch, kind)
    assert (answer.status, answer.version) == (200, made.version)


def test_a_patch_has_a_kind(kube_api: Api, name: str) -> None:
    """A patch in plain JSON, and a strategic merge patch of a custom resource, are refused."""
    make(kube_api, name)
    assert kube_api.ask("PATCH", f"{MAPS}/{name}", {}).status == 415
    kube_api.ask("POST", ROUTES, route(name, **SPEC))
    assert kube_api.ask("PATCH", f"{ROUTES}/{name}", {}, "strategic").status == 415
    assert kube_api.ask("PATCH", f"{MAPS}/{name}-none", {}, "merge").status == 404


# --- Server-side apply --------------------------------------------------------------------------


def apply(api: Api, name: str, manager: str, spec: Json, *, force: bool = False) -> Answer:
    query = f"fieldManager={manager}&force={str(force).lower()}"
    return api.ask("PATCH", f"{ROUTES}/{name}?{query}", route(name, **spec), "apply")


def test_apply_creates_and_changes(kube_api: Api, name: str) -> None:
    """Server-side apply creates, changes nothing when repeated, and changes values."""
    made = apply(kube_api, name, "a", SPEC)
    assert (made.status, made.body["spec"]) == (201, SPEC)
    again = apply(kube_api, name, "a", SPEC)
    assert (again.status, again.version) == (200, made.version)
    changed = apply(kube_api, name, "a", {**SPEC, "nodeIPs": ["10.0.0.2"]})
    assert changed.body["spec"]["nodeIPs"] == ["10.0.0.2"]


def test_apply_removes_what_a_manager_no_longer_states(kube_api: Api, name: str) -> None:
    """A field is removed once its last manager no longer applies it."""
    apply(kube_api, name, "a", {**SPEC, "subnetID": "subnet-1", "nativeIn": ["rtb-1"]})
    apply(kube_api, name, "b", {"nativeIn": ["rtb-1"]})
    answer = apply(kube_api, name, "a", SPEC)
    assert answer.body["spec"] == {**SPEC, "nativeIn": ["rtb-1"]}


def test_apply_to_a_field_of_another_manager_is_a_conflict(kube_api: Api, name: str) -> None:
    """Apply to a field of another manager answers 409 and names the field; with force it takes the field over."""
    apply(kube_api, name, "a", {**SPEC, "subnetID": "subnet-1"})
    refused = apply(kube_api, name, "b", {"subnetID": "subnet-2"})
    assert (refused.status, refused.fields) == (409, [".spec.subnetID"])
    taken = apply(kube_api, name, "b", {"subnetID": "subnet-2"}, force=True)
    assert taken.body["spec"]["subnetID"] == "subnet-2"
    assert apply(kube_api, name, "a", SPEC).body["spec"]["subnetID"] == "subnet-2"


def test_apply_needs_a_manager(kube_api: Api, name: str) -> None:
    """A patch without fieldManager is refused."""
    answer = kube_api.ask("PATCH", f"{ROUTES}/{name}", route(name, **SPEC), "apply")
    assert (answer.status, answer.fields) == (422, ["fieldManager"])

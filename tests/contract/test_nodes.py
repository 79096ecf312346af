"""Changes that a Node allows: pod CIDRs and providerID once, conditions in its status only, taints as a whole."""

from __future__ import annotations

import pytest

from tests.contract.conftest import Answer, Api, Json

NODES = "/api/v1/nodes"
V4, OTHER, V6 = "10.1.0.0/24", "10.2.0.0/24", "fd00:1::/80"


def make(api: Api, name: str, **spec: Json) -> Answer:
    return api.ask("POST", NODES, {"metadata": {"name": name}, "spec": spec})


def conditions(answer: Answer) -> dict[str, str]:
    return {item["type"]: item["status"] for item in answer.body.get("status", {}).get("conditions", [])}


@pytest.mark.parametrize(
    ("spec", "single", "several"),
    [
        ({"podCIDR": V4}, V4, [V4]),
        ({"podCIDRs": [V4, V6]}, V4, [V4, V6]),
        ({"podCIDRs": [V6, V4]}, V6, [V6, V4]),
        ({"podCIDR": V4, "podCIDRs": [OTHER]}, V4, [V4]),
        ({"podCIDR": "10.1.0.7/24"}, "10.1.0.7/24", ["10.1.0.7/24"]),
    ],
)
def test_one_pod_cidr_field_fills_the_other(
    kube_api: Api, name: str, spec: Json, single: str, several: list[str]
) -> None:
    """podCIDR is the first of podCIDRs, whichever was given; where they differ podCIDR wins."""
    made = make(kube_api, name, **spec).body["spec"]
    assert (made["podCIDR"], made["podCIDRs"]) == (single, several)


@pytest.mark.parametrize("cidrs", [["10.1.0.0/99"], ["nonsense"], [V4, OTHER], [V4, V6, "fd00:2::/80"]])
def test_bad_pod_cidrs_are_refused(kube_api: Api, name: str, cidrs: list[str]) -> None:
    """Each is a CIDR, and there is at most one of a family."""
    answer = make(kube_api, name, podCIDRs=cidrs)
    assert answer.status == 422
    assert all(field.startswith("spec.podCIDRs") for field in answer.fields)


@pytest.mark.parametrize("kind", ["strategic", "merge"])
def test_pod_cidrs_are_set_later(kube_api: Api, name: str, kind: str) -> None:
    """A Node without pod CIDRs can be given both families, and the same again changes nothing."""
    make(kube_api, name)
    given = kube_api.ask("PATCH", f"{NODES}/{name}", {"spec": {"podCIDRs": [V4, V6]}}, kind)
    assert (given.body["spec"]["podCIDR"], given.body["spec"]["podCIDRs"]) == (V4, [V4, V6])
    again = kube_api.ask("PATCH", f"{NODES}/{name}", {"spec": {"podCIDRs": [V4, V6]}}, kind)
    assert (again.status, again.version) == (200, given.version)


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("strategic", {"spec": {"podCIDRs": [OTHER]}}),
        ("merge", {"spec": {"podCIDRs": [OTHER]}}),
        ("json", [{"op": "replace", "path": "/spec/podCIDRs", "value": [OTHER]}]),
    ],
)
def test_other_pod_cidrs_are_silently_ignored(kube_api: Api, name: str, kind: str, patch: Json) -> None:
    """A patch of podCIDRs alone, with another value, answers 200 and changes nothing: a lost race without an error."""
    made = make(kube_api, name, podCIDRs=[V4])
    answer = kube_api.ask("PATCH", f"{NODES}/{name}", patch, kind)
    assert (answer.status, answer.version) == (200, made.version)
    assert answer.body["spec"]["podCIDRs"] == [V4]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("strategic", {"podCIDR": OTHER, "podCIDRs": [OTHER]}),
        ("strategic", {"podCIDRs": [V4, V6]}),
        ("merge", {"podCIDR": OTHER, "podCIDRs": [OTHER]}),
        ("merge", {"podCIDR": OTHER}),
        ("merge", {"podCIDRs": [V4, V6]}),
        ("merge", {"podCIDR": None, "podCIDRs": None}),
    ],
)
def test_pod_cidrs_never_change(kube_api: Api, name: str, kind: str, spec: Json) -> None:
    """Both fields with another value, a second family, or none at all are refused."""
    made = make(kube_api, name, podCIDRs=[V4])
    answer = kube_api.ask("PATCH", f"{NODES}/{name}", {"spec": spec}, kind)
    assert answer.status == 422
    assert set(answer.fields) == {"spec.podCIDRs"}
    assert kube_api.ask("GET", f"{NODES}/{name}").body == made.body


def test_two_nodes_may_have_one_pod_cidr(kube_api: Api, name: str) -> None:
    """The API server accepts one pod CIDR on two Nodes: the allocator must compare."""
    assert [make(kube_api, f"{name}-{suffix}", podCIDRs=[V4]).status for suffix in "ab"] == [201, 201]


def test_a_provider_id_is_set_once(kube_api: Api, name: str) -> None:
    """It can be added, and never changed."""
    make(kube_api, name)
    added = kube_api.ask("PATCH", f"{NODES}/{name}", {"spec": {"providerID": "aws:///a/i-1"}}, "merge")
    assert added.body["spec"]["providerID"] == "aws:///a/i-1"
    changed = kube_api.ask("PATCH", f"{NODES}/{name}", {"spec": {"providerID": "aws:///a/i-2"}}, "merge")
    assert (changed.status, changed.fields) == (422, ["spec.providerID"])


def test_taints_are_atomic(kube_api: Api, name: str) -> None:
    """A strategic merge patch of one taint replaces all of them."""
    make(kube_api, name, taints=[{"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "NoExecute"}])
    patch = {"spec": {"taints": [{"key": "c", "effect": "NoSchedule"}]}}
    answer = kube_api.ask("PATCH", f"{NODES}/{name}", patch, "strategic")
    assert [taint["key"] for taint in answer.body["spec"]["taints"]] == ["c"]


def test_conditions_are_merged_by_type(kube_api: Api, name: str) -> None:
    """A strategic merge patch of the status adds or changes one condition and leaves the others."""
    make(kube_api, name)
    path = f"{NODES}/{name}/status"
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Kubelet"}]}}
    kube_api.ask("PATCH", path, ready, "strategic")
    network = {"status": {"conditions": [{"type": "NetworkUnavailable", "status": "True"}]}}
    both = kube_api.ask("PATCH", path, network, "strategic")
    assert conditions(both) == {"NetworkUnavailable": "True", "Ready": "True"}
    network["status"]["conditions"][0]["status"] = "False"
    changed = kube_api.ask("PATCH", path, network, "strategic")
    assert conditions(changed) == {"NetworkUnavailable": "False", "Ready": "True"}
    gone = {"status": {"conditions": [{"type": "NetworkUnavailable", "$patch": "delete"}]}}
    assert conditions(kube_api.ask("PATCH", path, gone, "strategic")) == {"Ready": "True"}


def test_a_merge_patch_replaces_all_conditions(kube_api: Api, name: str) -> None:
    """A merge patch of conditions replaces all of them, so it must not be used."""
    make(kube_api, name)
    path = f"{NODES}/{name}/status"
    for kind in ("Ready", "NetworkUnavailable"):
        answer = kube_api.ask("PATCH", path, {"status": {"conditions": [{"type": kind, "status": "True"}]}}, "merge")
    assert conditions(answer) == {"NetworkUnavailable": "True"}


def test_conditions_are_written_to_the_status_only(kube_api: Api, name: str) -> None:
    """Without /status a patch of conditions answers 200 and is ignored."""
    made = make(kube_api, name)
    patch = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    answer = kube_api.ask("PATCH", f"{NODES}/{name}", patch, "strategic")
    assert (answer.status, answer.version, conditions(answer)) == (200, made.version, {})


def test_the_status_carries_metadata_but_no_spec(kube_api: Api, name: str) -> None:
    """A patch of /status may annotate a Node, as kubelets do; its spec stays."""
    make(kube_api, name)
    patch = {"metadata": {"annotations": {"a": "b"}}, "spec": {"unschedulable": True, "podCIDR": V4}}
    answer = kube_api.ask("PATCH", f"{NODES}/{name}/status", patch, "strategic")
    assert answer.body["metadata"]["annotations"] == {"a": "b"}
    assert not {"unschedulable", "podCIDR"} & answer.body["spec"].keys()


def test_a_node_is_born_with_its_status(kube_api: Api, name: str) -> None:
    """A kubelet registers its addresses in the create."""
    status = {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}
    made = kube_api.ask("POST", NODES, {"metadata": {"name": name}, "status": status})
    assert made.body["status"]["addresses"] == status["addresses"]
    assert "generation" not in made.body["metadata"]

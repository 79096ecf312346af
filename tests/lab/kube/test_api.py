"""The embedded API as tests and the demo use it: direct access, counts, refusals, size."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import urllib3

from cloudroute.crds import manifests
from cloudroute.lab.kube import KubeApi, KubeServer, StatusError

Json = Any


@pytest.fixture
def kube() -> KubeApi:
    kube = KubeApi()
    for definition in manifests():
        kube.create(definition)
    return kube


def node(name: str, **more: Json) -> Json:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, **more}


def test_direct_access_follows_the_same_rules(kube: KubeApi) -> None:
    """Create with a status, read, patch, delete; refusals come as StatusError."""
    pod: Json = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n"}}
    created = kube.create({**pod, "status": {"phase": "Running", "podIP": "10.1.0.2"}})
    assert created["status"]["podIP"] == "10.1.0.2"
    assert kube.get("pods", "p", "default") == created
    assert [item["metadata"]["name"] for item in kube.list("pods")] == ["p"]
    kube.create(node("n", spec={"podCIDRs": ["10.1.0.0/24"]}))
    with pytest.raises(StatusError) as refused:
        kube.patch("nodes", "n", {"spec": {"podCIDR": "10.2.0.0/24"}})
    assert refused.value.code == 422
    assert kube.patch_status("nodes", "n", {"phase": "x"})["status"] == {"phase": "x"}
    kube.delete("nodes", "n")
    with pytest.raises(StatusError) as missing:
        kube.get("nodes", "n")
    assert missing.value.code == 404
    with pytest.raises(KeyError):
        kube.create({"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "x"}})


def test_protobuf_is_refused_with_what_to_do(server: KubeServer) -> None:
    """Protobuf, which `kubectl create namespace` sends, is refused with the remedy."""
    headers = {"Content-Type": "application/vnd.kubernetes.protobuf"}
    with urllib3.PoolManager() as http:
        answer = http.request("POST", f"{server.url}/api/v1/namespaces", body=b"k8s\0", headers=headers)
    assert (answer.status, "kubectl apply -f -" in answer.json()["message"]) == (415, True)


def test_requests_and_changes_are_counted(kube: KubeApi, server: KubeServer) -> None:
    """Requests and changes are counted by verb and resource. Direct access does not count."""
    kube.create(node("a"))
    merge = {"Content-Type": "application/merge-patch+json"}
    with urllib3.PoolManager() as http:
        for value in ("1", "1"):
            body = json.dumps({"metadata": {"labels": {"x": value}}})
            http.request("PATCH", f"{server.url}/api/v1/nodes/a", body=body, headers=merge)
        body = json.dumps({"status": {"phase": "x"}})
        http.request("PATCH", f"{server.url}/api/v1/nodes/a/status", body=body, headers=merge)
        http.request("GET", f"{server.url}/api/v1/nodes")
    assert kube.calls == {("patch", "nodes"): 2, ("patch", "nodes/status"): 1, ("list", "nodes"): 1}
    assert kube.changes == {("patch", "nodes"): 1, ("patch", "nodes/status"): 1}
    kube.reset_counts()
    assert not kube.calls
    assert not kube.changes


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"x-kubernetes-validations": [{"rule": "self.vpcID.startsWith('vpc-')"}]}, "x-kubernetes-validations[0].rule"),
        ({"oneOf": [{"required": ["vpcID"]}]}, "oneOf"),
        ({"x-kubernetes-preserve-unknown-fields": True, "x-kubernetes-embedded-resource": True}, "embedded-resource"),
    ],
)
def test_a_schema_that_it_cannot_evaluate_is_refused(change: Json, field: str) -> None:
    """A rule that it can't evaluate is refused: a real server would enforce it."""
    definition = copy.deepcopy(manifests()[1])
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] |= change
    with pytest.raises(StatusError) as refused:
        KubeApi().create(definition)
    assert refused.value.code == 422
    assert field in str(refused.value)
    assert "embedded API can't evaluate" in str(refused.value)


def test_an_exact_old_version_is_refused(server: KubeServer) -> None:
    """It keeps no old versions, and refuses an exact one instead of answering with the newest."""
    with urllib3.PoolManager() as http:
        answer = http.request("GET", f"{server.url}/api/v1/nodes?resourceVersion=1001&resourceVersionMatch=Exact")
    assert answer.status == 400


def test_everybody_may_do_everything(server: KubeServer) -> None:
    """SelfSubjectAccessReview allows everything, since no permission is checked."""
    with urllib3.PoolManager() as http:
        url = f"{server.url}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = http.request(
            "POST", url, json={"spec": {"resourceAttributes": {"verb": "delete", "resource": "nodes"}}}
        )
    assert answer.json()["status"]["allowed"] is True


def test_five_thousand_nodes(kube: KubeApi, server: KubeServer) -> None:
    """Nodes of 10 KB are listed in ten pages of 500, all of them once and in order."""
    images = [{"names": [f"registry.example.org/image-{number}:latest" * 3], "sizeBytes": 1} for number in range(60)]
    for number in range(5_000):
        kube.create(node(f"node-{number:05}", status={"images": images}))
    names: list[str] = []
    query = {"limit": "500"}
    with urllib3.PoolManager() as http:
        while True:
            page = http.request("GET", f"{server.url}/api/v1/nodes", fields=query).json()
            names += [item["metadata"]["name"] for item in page["items"]]
            if not page["metadata"].get("continue"):
                break
            query["continue"] = page["metadata"]["continue"]
    assert names == [f"node-{number:05}" for number in range(5_000)]
    assert kube.calls["list", "nodes"] == 10

"""Permissions of a stolen agent token, on a real API server with the admission policy in force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cloudroute.lab.kube.real import RealKubeApi
from tests.contract.conftest import Answer, Api
from tests.deploy.test_admission import GROUP, NODES, SPACE, token
from tests.waiting import eventually

ROUTE, STATUS = f"{GROUP}/noderoutes/{NODES[0]}", f"{GROUP}/noderoutes/{NODES[0]}/status"
ACCOUNTS = f"/api/v1/namespaces/{SPACE}/serviceaccounts"
REVIEW: dict[str, Any] = {"spec": {}}
HEAD: dict[str, Any] = {"metadata": {"name": "x"}}
BODIES = {"POST": HEAD, "PUT": HEAD, "PATCH": {"metadata": {"labels": {"a": "b"}}}}


@pytest.fixture(scope="module")
def thief(policed: RealKubeApi) -> Iterator[Api]:
    """A client with the token of the agent's pod on node-1."""
    api = Api(policed.url, token(policed, "agent", "Pod", "agent"), policed.ca_file, policed.compact)
    yield api
    api.pool.clear()
    api.disconnect()


def ask(thief: Api, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    return thief.ask(method, path, body, "merge" * (method == "PATCH"), **headers)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/secrets"),
        ("GET", f"/api/v1/namespaces/{SPACE}/secrets"),
        ("GET", f"/api/v1/namespaces/{SPACE}/configmaps"),
        ("GET", "/api/v1/nodes"),
        ("GET", f"/api/v1/nodes/{NODES[0]}/proxy/pods"),
        ("GET", f"/api/v1/namespaces/{SPACE}/pods"),
        ("GET", f"/api/v1/namespaces/{SPACE}/pods/agent/log"),
        ("POST", f"/api/v1/namespaces/{SPACE}/pods"),
        ("POST", f"/api/v1/namespaces/{SPACE}/pods/agent/exec"),
        ("POST", f"{ACCOUNTS}/cloudroute-agent/token"),
        ("POST", f"{ACCOUNTS}/cloudroute-controller/token"),
        ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
        ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests"),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews"),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews"),
        ("PATCH", f"/api/v1/nodes/{NODES[0]}"),
        ("PATCH", f"/api/v1/nodes/{NODES[0]}/status"),
        ("PATCH", f"{GROUP}/noderoutes/{NODES[0]}"),
        ("PUT", f"{GROUP}/noderoutes/{NODES[0]}/status"),
        ("DELETE", f"{GROUP}/noderoutes/{NODES[0]}"),
        ("DELETE", f"{GROUP}/noderoutes"),
        ("POST", f"{GROUP}/noderoutes"),
        ("POST", f"{GROUP}/routetables"),
        ("PATCH", f"{GROUP}/routetables/rtb-1"),
        ("PATCH", f"{GROUP}/routetables/rtb-1/status"),
        ("PATCH", f"/apis/coordination.k8s.io/v1/namespaces/{SPACE}/leases/cloudroute"),
        ("PATCH", f"/apis/coordination.k8s.io/v1/namespaces/{SPACE}/leases/gw-{NODES[1]}"),
        ("GET", f"/apis/coordination.k8s.io/v1/namespaces/{SPACE}/leases"),
        ("PUT", f"/apis/coordination.k8s.io/v1/namespaces/{SPACE}/leases/cloudroute"),
        ("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{SPACE}/leases/gw-{NODES[1]}"),
        ("POST", "/apis/events.k8s.io/v1/namespaces/default/events"),
        ("PATCH", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/noderoutes.cloudroute.io"),
        ("DELETE", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/cloudroute"),
        ("GET", "/metrics"),
        ("GET", "/logs/"),
    ],
)
def test_all_that_is_not_its_work_is_refused(thief: Api, method: str, path: str) -> None:
    """Secrets, lists of Nodes, pods, tokens, RBAC, specs, RouteTables and the Leases of others are refused with 403."""
    answer = ask(thief, method, path, BODIES.get(method))
    assert (answer.status, answer.body["reason"]) == (403, "Forbidden"), answer.body


def test_it_reads_nodes_by_name_only(thief: Api) -> None:
    """The token reads a Node by name: an agent needs its instance id, lest its pods get addresses without a route."""
    answer = ask(thief, "GET", f"/api/v1/nodes/{NODES[0]}", None)
    assert (answer.status, answer.body["metadata"]["name"]) == (200, NODES[0])


@pytest.mark.parametrize(
    "who",
    [
        {"Impersonate_User": f"system:serviceaccount:{SPACE}:cloudroute-controller"},
        {"Impersonate_User": f"system:serviceaccount:{SPACE}:cloudroute-agent"},
        {"Impersonate_User": "system:admin", "Impersonate_Group": "system:masters"},
        {"Impersonate_User": f"system:node:{NODES[1]}", "Impersonate_Group": "system:nodes"},
    ],
)
def test_it_can_impersonate_nobody(thief: Api, who: dict[str, str]) -> None:
    """The token can't impersonate the controller, another agent, a node or an administrator."""
    answer = ask(thief, "GET", f"{GROUP}/noderoutes", **who)
    assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
    assert "cannot impersonate" in answer.body["message"]


def test_it_writes_the_status_of_its_own_node_alone(thief: Api, policed: RealKubeApi) -> None:
    """The token writes the status of its own node only, by every kind of patch."""
    status: dict[str, Any] = {"status": {"ready": False}}
    other = f"{GROUP}/noderoutes/{NODES[1]}/status"
    assert ask(thief, "PATCH", other, status).status == 403
    assert ask(thief, "PATCH", other, {"metadata": {"name": NODES[0]}, **status}).status == 400
    assert ask(thief, "PATCH", f"{GROUP}/noderoutes/node-9/status", status).status == 404
    patches = [{"op": "add", "path": "/status", "value": {"ready": False}}]
    assert thief.ask("PATCH", other, patches, "json").status == 403
    assert "status" not in policed.get("noderoutes", NODES[1])


def test_a_status_carries_nothing_else_along(thief: Api, policed: RealKubeApi) -> None:
    """Changes of spec, labels, annotations, owners and finalizers in a status patch are ignored."""
    before = policed.get("noderoutes", NODES[0])
    node = policed.get("nodes", NODES[0])["metadata"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": node["name"], "uid": node["uid"], "controller": True}
    metadata = {
        "labels": {"a": "b"},
        "annotations": {"a": "b"},
        "finalizers": ["example.com/never"],
        "ownerReferences": [owner],
        "deletionTimestamp": "2026-01-01T00:00:00Z",
    }
    for part in metadata:
        patch = {"metadata": {part: metadata[part]}, "spec": {"nativeIn": ["rtb-1"]}, "status": {"reason": part}}
        answer = ask(thief, "PATCH", STATUS, patch)
        assert answer.status == 200, answer.body
    after = policed.get("noderoutes", NODES[0])
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert not after["metadata"].keys() & metadata.keys(), after["metadata"]


@pytest.mark.parametrize(
    "status",
    [
        {"message": "x" * 1025},
        {"reason": "x" * 129},
        {"path": "native; reboot"},
        {"ready": "false"},
        {"paths": {"native": -1}},
        {"since": "yesterday"},
        {"mtu": -1},
        {"message": ["x"]},
    ],
)
def test_an_oversized_or_ill_formed_status_is_refused(thief: Api, status: dict[str, Any]) -> None:
    """The CRD bounds the status that one agent can make all others read."""
    assert ask(thief, "PATCH", STATUS, {"status": status}).status == 422


def test_unknown_fields_of_a_status_are_pruned(thief: Api, policed: RealKubeApi) -> None:
    """A field that the CRD does not have is pruned, so that a status can't store other data."""
    answer = ask(thief, "PATCH", STATUS, {"status": {"ready": True, "loot": "x" * 100_000}})
    assert answer.status == 200
    assert "loot" not in policed.get("noderoutes", NODES[0])["status"]


def test_the_token_of_a_deleted_pod_is_invalid(policed: RealKubeApi) -> None:
    """A token is bound to its pod: deleting the pod invalidates it."""
    spec = {**policed.get("pods", "agent", SPACE)["spec"]}
    spec = {key: spec[key] for key in ("nodeName", "serviceAccountName")}
    spec["containers"] = [{"name": "agent", "image": "cloudroute"}]
    head = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "robbed", "namespace": SPACE}}
    policed.create({**head, "spec": spec})
    api = Api(policed.url, token(policed, "agent", "Pod", "robbed"), policed.ca_file, policed.compact)
    try:
        assert ask(api, "GET", f"{GROUP}/noderoutes").status == 200
        policed.request("DELETE", f"/api/v1/namespaces/{SPACE}/pods/robbed?gracePeriodSeconds=0")
        eventually(
            lambda: ask(api, "GET", f"{GROUP}/noderoutes").status == 401, "the token is no longer accepted", seconds=30
        )
    finally:
        api.pool.clear()
        api.disconnect()

"""The controller's account under a real API server: exactly the permissions that it needs."""

from __future__ import annotations

from itertools import chain

import pytest

from cloudroute.lab.kube.real import TOKENS, RealKubeApi
from tests.accounts import attributes
from tests.contract.conftest import Api

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

ALLOWED: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("", "", "nodes"): ("get", "list", "watch", "patch"),
    ("", "", "nodes/status"): ("patch",),
    ("", "", "pods"): ("get", "list"),
    ("", "networking.k8s.io", "servicecidrs"): ("list",),
    ("", "cloudroute.io", "noderoutes"): ("get", "list", "watch", "create", "patch", "delete"),
    ("", "cloudroute.io", "noderoutes/status"): (),
    ("", "cloudroute.io", "routetables"): ("get", "list", "watch", "create", "patch", "delete"),
    ("", "cloudroute.io", "routetables/status"): ("patch",),
    ("default", "events.k8s.io", "events"): ("create",),
    ("cloudroute", "coordination.k8s.io", "leases"): ("create",),
    ("kube-system", "events.k8s.io", "events"): (),
    ("kube-system", "coordination.k8s.io", "leases"): (),
    ("default", "", "events"): (),
    ("", "", "nodes/proxy"): (),
    ("", "", "secrets"): (),
    ("", "", "configmaps"): (),
    ("", "", "namespaces"): (),
    ("", "", "serviceaccounts"): (),
    ("", "", "services"): (),
    ("", "", "pods/exec"): (),
    ("", "apiextensions.k8s.io", "customresourcedefinitions"): (),
    ("", "rbac.authorization.k8s.io", "clusterroles"): (),
    ("", "rbac.authorization.k8s.io", "clusterrolebindings"): (),
}
"""Allowed verbs by namespace ("" for all), group and resource."""


@pytest.fixture(scope="module")
def api(real_kube: RealKubeApi) -> Api:
    """The real server, asked as the controller."""
    return Api(real_kube.url, TOKENS["controller"], real_kube.ca_file, real_kube.compact)


def may(api: Api, namespace: str, group: str, resource: str, verb: str, name: str = "") -> bool:
    review = {"spec": {"resourceAttributes": attributes(namespace, group, resource, verb, name)}}
    return bool(api.ask("POST", REVIEWS, review).body["status"]["allowed"])


@pytest.mark.parametrize(("where", "verbs"), ALLOWED.items(), ids=["-".join(filter(None, key)) for key in ALLOWED])
def test_each_verb_is_as_the_manifest_says(api: Api, where: tuple[str, str, str], verbs: tuple[str, ...]) -> None:
    """Of all verbs on a resource, the listed ones are allowed and the others refused."""
    assert tuple(verb for verb in VERBS if may(api, *where, verb)) == verbs


def test_only_its_own_lease(api: Api) -> None:
    """The lease called cloudroute can be read and renewed; others, and other verbs, are refused."""
    where = ("cloudroute", "coordination.k8s.io", "leases")
    assert [verb for verb in VERBS if may(api, *where, verb, "cloudroute")] == ["get", "create", "update"]
    assert [verb for verb in VERBS if may(api, *where, verb, "another")] == ["create"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/api/v1/nodes/n"),
        ("DELETE", "/api/v1/nodes/n"),
        ("POST", "/api/v1/nodes"),
        ("GET", "/api/v1/secrets"),
        ("GET", "/api/v1/namespaces/default/configmaps"),
        ("PATCH", "/apis/cloudroute.io/v1alpha1/noderoutes/n/status"),
        ("GET", "/apis/coordination.k8s.io/v1/namespaces/cloudroute/leases/another"),
        ("GET", "/apis/coordination.k8s.io/v1/namespaces/cloudroute/leases"),
        ("DELETE", "/apis/coordination.k8s.io/v1/namespaces/cloudroute/leases/cloudroute"),
        ("POST", "/apis/events.k8s.io/v1/namespaces/kube-system/events"),
    ],
)
def test_a_refusal_says_who_what_and_where(api: Api, method: str, path: str) -> None:
    """403 with a Status that names the account, the verb and the resource."""
    answer = api.ask(method, path, {} if method in ("PUT", "POST", "PATCH") else None, "merge" * (method == "PATCH"))
    assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
    assert 'User "system:serviceaccount:cloudroute:cloudroute-controller" cannot' in answer.body["message"]


def test_it_can_do_its_work(api: Api, real_kube: RealKubeApi, name: str) -> None:
    """Every write of the controller, as the controller."""
    real_kube.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    group, node = "/apis/cloudroute.io/v1alpha1", f"/api/v1/nodes/{name}"
    leases = "/apis/coordination.k8s.io/v1/namespaces/cloudroute/leases"
    route = {"podCIDRs": ["10.1.0.0/24"], "instanceID": "i-1", "networkInterfaceID": "eni-1", "routeTableID": "rtb-1"}
    head = {"apiVersion": "cloudroute.io/v1alpha1", "metadata": {"name": name}}
    table = {"ipv4": {"limit": 50, "used": 1, "ours": 0, "foreign": 1}}
    condition = {"status": {"conditions": [{"type": "NetworkUnavailable", "status": "False"}]}}
    answers = [
        api.ask("PATCH", node, {"spec": {"podCIDRs": ["10.1.0.0/24"]}}, "strategic"),
        api.ask("PATCH", f"{node}/status", condition, "strategic"),
        api.ask("POST", f"{group}/noderoutes", {**head, "kind": "NodeRoute", "spec": route}),
        api.ask("PATCH", f"{group}/noderoutes/{name}", {"spec": {"nativeIn": ["rtb-1"]}}, "merge"),
        api.ask("DELETE", f"{group}/noderoutes/{name}"),
        api.ask("POST", f"{group}/routetables", {**head, "kind": "RouteTable", "spec": {"vpcID": "vpc-1"}}),
        api.ask("PATCH", f"{group}/routetables/{name}/status", {"status": table}, "merge"),
        api.ask("DELETE", f"{group}/routetables/{name}"),
        api.ask("POST", leases, {"metadata": {"name": "cloudroute"}, "spec": {"holderIdentity": "a"}}),
    ]
    assert [answer.status for answer in answers] == [200, 200, 201, 200, 200, 201, 200, 200, 201]
    lease = answers[-1].body
    assert api.ask("PUT", f"{leases}/cloudroute", lease).status == 200
    groups = [api.ask("GET", path).status for path in ("/apis/cloudroute.io/v1alpha1", "/version")]
    assert groups == [200, 200], "discovery, by which the CRDs are checked at start, is everybody's"
    for plural, names in (("nodes", [name]), ("leases", ["cloudroute"])):
        for one in chain(names):
            real_kube.delete(plural, one, "cloudroute" if plural == "leases" else "")

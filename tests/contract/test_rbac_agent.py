"""The agents' account under a real API server: it reads NodeRoutes and RouteTables, writes a status, and no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudroute.lab.kube.real import RealKubeApi
from tests.accounts import AGENT, install
from tests.contract.conftest import Answer, Api, Json
from tests.contract.test_crds import ROUTE
from tests.contract.test_rbac import VERBS, may

ACCOUNT = "system:serviceaccount:cloudroute:cloudroute-agent"
GROUP = "/apis/cloudroute.io/v1alpha1"

ALLOWED: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("", "cloudroute.io", "noderoutes"): ("get", "list", "watch"),
    ("", "cloudroute.io", "noderoutes/status"): ("patch",),
    ("", "cloudroute.io", "routetables"): ("get", "list", "watch"),
    ("", "cloudroute.io", "routetables/status"): (),
    ("", "", "nodes"): ("get",),
    ("", "", "nodes/status"): (),
    ("", "", "nodes/proxy"): (),
    ("", "", "pods"): (),
    ("", "", "pods/exec"): (),
    ("", "", "secrets"): (),
    ("", "", "configmaps"): (),
    ("", "", "services"): (),
    ("", "", "namespaces"): (),
    ("", "", "serviceaccounts"): (),
    ("cloudroute", "", "serviceaccounts/token"): (),
    ("default", "", "events"): (),
    ("default", "events.k8s.io", "events"): (),
    ("cloudroute", "coordination.k8s.io", "leases"): (),
    ("", "networking.k8s.io", "servicecidrs"): (),
    ("", "apiextensions.k8s.io", "customresourcedefinitions"): (),
    ("", "rbac.authorization.k8s.io", "clusterroles"): (),
    ("", "rbac.authorization.k8s.io", "clusterrolebindings"): (),
}
"""Allowed verbs by namespace ("" for all), group and resource."""


class Agent(Api):
    """The server, asked as the agents' account by impersonation."""

    def ask(
        self, method: str, path: str, body: Json = None, patch: str = "", token: str = "", **headers: str
    ) -> Answer:
        return super().ask(method, path, body, patch, token, Impersonate_User=ACCOUNT, **headers)


@pytest.fixture(scope="module")
def agent(real_kube: RealKubeApi) -> Iterator[Agent]:
    """The real server with the manifest applied."""
    install(real_kube, AGENT)
    agent = Agent(real_kube.url, real_kube.token, real_kube.ca_file, real_kube.compact)
    yield agent
    agent.pool.clear()
    agent.disconnect()


@pytest.mark.parametrize(("where", "verbs"), ALLOWED.items(), ids=["-".join(filter(None, key)) for key in ALLOWED])
def test_each_verb_is_as_the_manifest_says(agent: Agent, where: tuple[str, str, str], verbs: tuple[str, ...]) -> None:
    """Of all verbs on a resource, the listed ones are allowed and the others refused."""
    assert tuple(verb for verb in VERBS if may(agent, *where, verb)) == verbs


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/nodes"),
        ("GET", "/api/v1/pods"),
        ("GET", "/api/v1/secrets"),
        ("PATCH", "/api/v1/nodes/n"),
        ("PATCH", "/api/v1/nodes/n/status"),
        ("PATCH", f"{GROUP}/noderoutes/n"),
        ("PUT", f"{GROUP}/noderoutes/n"),
        ("PUT", f"{GROUP}/noderoutes/n/status"),
        ("POST", f"{GROUP}/noderoutes"),
        ("DELETE", f"{GROUP}/noderoutes/n"),
        ("PATCH", f"{GROUP}/routetables/n"),
        ("PATCH", f"{GROUP}/routetables/n/status"),
        ("POST", "/apis/events.k8s.io/v1/namespaces/default/events"),
    ],
)
def test_a_refusal_says_who_what_and_where(agent: Agent, method: str, path: str) -> None:
    """403 with a Status that names the account."""
    answer = agent.ask(method, path, {} if method in ("PUT", "POST", "PATCH") else None, "merge" * (method == "PATCH"))
    assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
    assert f'User "{ACCOUNT}" cannot' in answer.body["message"]


def test_it_can_do_its_work(agent: Agent, real_kube: RealKubeApi, name: str) -> None:
    """Discovery, both lists, both watches, and the whole status, which leaves the spec and its generation alone."""
    head = {"apiVersion": "cloudroute.io/v1alpha1", "kind": "NodeRoute", "metadata": {"name": name}}
    made = real_kube.create({**head, "spec": ROUTE})
    status = {
        "ready": False,
        "reason": "KernelFailed",
        "message": "no nftables: install it",
        "observedGeneration": 1,
        "mtu": 8951,
        "path": "partial",
        "paths": {"native": 2, "direct": 1, "overlay": 7},
        "since": "2026-01-01T00:00:00Z",
    }
    patch = {"metadata": {"uid": made["metadata"]["uid"]}, "status": status, "spec": {"nativeIn": []}}
    written = agent.ask("PATCH", f"{GROUP}/noderoutes/{name}/status", patch, "merge")
    assert (written.status, written.body["status"]) == (200, status)
    assert (written.body["spec"], written.body["metadata"]["generation"]) == (ROUTE, 1)
    for path in (GROUP, "/version", f"{GROUP}/noderoutes", f"{GROUP}/noderoutes/{name}", f"{GROUP}/routetables"):
        assert agent.ask("GET", path).status == 200
    for plural in ("noderoutes", "routetables"):
        assert agent.ask("GET", f"{GROUP}/{plural}?watch=true&timeoutSeconds=1").status == 200
    real_kube.delete("noderoutes", name)


def test_the_status_is_as_the_crd_describes_it(kube_api: Api, name: str) -> None:
    """A message of 1,024 characters is taken and a longer one refused, with the field's name."""
    head = {"apiVersion": "cloudroute.io/v1alpha1", "kind": "NodeRoute", "metadata": {"name": name}}
    kube_api.create({**head, "spec": ROUTE})
    for status, answered in (({"message": "x" * 1024}, 200), ({"message": "x" * 1025}, 422), ({"ready": "no"}, 422)):
        answer = kube_api.ask("PATCH", f"{GROUP}/noderoutes/{name}/status", {"status": status}, "merge")
        assert answer.status == answered
        if answered == 422:
            assert answer.fields == [f"status.{next(iter(status))}"]
    kube_api.delete("noderoutes", name)

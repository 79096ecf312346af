"""The admission policies on a real API server.

Each agent writes its own node's status and, as a gateway, its own Lease; the controller writes the rest of a NodeRoute.

Tokens are real ones, asked of the server for a ServiceAccount and bound to a Node or to a pod on it, as the kubelet
does.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudroute.adapters.kube import gateways, project
from cloudroute.adapters.kube.transport import Transport
from cloudroute.lab.kube.kubeconfig import write_kubeconfig
from cloudroute.lab.kube.real import RealKubeApi
from cloudroute.lab.kube.status import StatusError
from cloudroute.types import GatewayLease, Renewal
from tests.accounts import GATEWAYS, may
from tests.contract.conftest import Api
from tests.contract.test_crds import ROUTE
from tests.deploy.conftest import DEPLOY
from tests.waiting import eventually

GROUP = "/apis/cloudroute.io/v1alpha1"
NODES = ("node-1", "node-2")
SPACE = "cloudroute"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{SPACE}"
APPLIED = (
    "Namespace",
    "ServiceAccount",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)
READY = {"status": {"ready": True, "reason": "Ready"}}


class Caller:
    """The server as whoever has that token sees it, or as the user that the token's owner may speak for."""

    def __init__(self, cluster: RealKubeApi, token: str, user: str = "") -> None:
        self._api = Api(cluster.url, token, cluster.ca_file, cluster.compact)
        self._headers = {"Impersonate_User": user} if user else {}

    def tries(self, method: str, path: str, body: Any = None, group: str = GROUP) -> str:
        """Send it to `path` below the group; returns "", or the words of the refusal."""
        answer = self._api.ask(method, f"{group}/{path}", body, "merge" * (method == "PATCH"), **self._headers)
        self._api.pool.clear()
        if answer.status < 300:
            return ""
        assert (answer.status, answer.body["reason"]) == (403, "Forbidden"), answer.body
        return str(answer.body["message"])

    def says_ready(self, node: str) -> str:
        """Write the status of that node's NodeRoute."""
        return self.tries("PATCH", f"noderoutes/{node}/status", READY)


def node_route(name: str) -> dict[str, Any]:
    return {"apiVersion": "cloudroute.io/v1alpha1", "kind": "NodeRoute", "metadata": {"name": name}, "spec": ROUTE}


def lease(name: str, holder: str, label: str = "true") -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": SPACE, "labels": {gateways.LABEL: label}},
        "spec": {"holderIdentity": holder},
    }


def token(cluster: RealKubeApi, account: str, kind: str = "", name: str = "") -> str:
    """A token of an account, bound to that Node or that pod of the namespace, or to nothing."""
    spec: dict[str, Any] = {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 600}
    if kind:
        plural = {"Node": "nodes", "Pod": "pods"}[kind]
        uid = cluster.get(plural, name, SPACE if kind == "Pod" else "")["metadata"]["uid"]
        spec["boundObjectRef"] = {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid}
    path = f"/api/v1/namespaces/{SPACE}/serviceaccounts/cloudroute-{account}/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    return str(cluster.request("POST", path, body)["status"]["token"])


@pytest.fixture(scope="module")
def policed(cluster: RealKubeApi) -> Iterator[RealKubeApi]:
    """A cluster of two nodes with the policy in force, a NodeRoute for each and an agent's pod on the first."""
    documents = [one for one in yaml.safe_load_all((DEPLOY / "cloudroute.yaml").read_text()) if one]
    applied = [one for kind in APPLIED for one in documents if one["kind"] == kind]
    applied += yaml.safe_load_all(GATEWAYS.read_text())
    for one in applied:
        cluster.create(one)
    for name in NODES:
        cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        cluster.create(node_route(name))
    spec = {
        "nodeName": NODES[0],
        "serviceAccountName": "cloudroute-agent",
        "containers": [{"name": "agent", "image": "cloudroute"}],
    }
    eventually(lambda: pod_admitted(cluster, spec), "the agent's account is known to the server's admission")
    nobody = Caller(cluster, token(cluster, "agent"))
    # The server learns of policies by a watch.
    eventually(lambda: nobody.says_ready(NODES[0]), "the policy is in force")
    eventually(
        lambda: "bound to no node" in nobody.tries("POST", "leases?dryRun=All", lease("gw-x", "x"), LEASES),
        "the policy of Leases is in force",
    )
    for name, holder in (("cloudroute", "leader"), ("gw-node-2", "node-2")):
        cluster.create(lease(name, holder))
    yield cluster
    cluster.delete("pods", "agent", SPACE)
    for name in NODES:
        cluster.delete("noderoutes", name)
        cluster.delete("nodes", name)
    plurals = {"CustomResourceDefinition": "customresourcedefinitions"}
    for one in reversed(applied):
        plural = plurals.get(one["kind"], _plural(one["kind"]))
        cluster.delete(plural, one["metadata"]["name"], one["metadata"].get("namespace", ""))
    eventually(
        lambda: SPACE not in {one["metadata"]["name"] for one in cluster.list("namespaces")},
        "the namespace is gone",
        300,  # Kubernetes tries again up to a minute later when it could not discover what CRDs have just gone
    )


def pod_admitted(cluster: RealKubeApi, spec: dict[str, Any]) -> bool:
    try:
        cluster.create(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent", "namespace": SPACE}, "spec": spec}
        )
    except StatusError as error:
        if error.code != 403:
            raise
        return False
    return True


def _plural(kind: str) -> str:
    return f"{kind.lower()[:-1]}ies" if kind.endswith("y") else f"{kind.lower()}s"


@pytest.mark.parametrize("bound", [("Node", NODES[0]), ("Pod", "agent")], ids=["to its node", "to its pod"])
def test_an_agent_writes_its_own_nodes_status_and_no_other(policed: RealKubeApi, bound: tuple[str, str]) -> None:
    """The server knows the node of a token, bound to a pod or to the node itself; a refusal names both nodes."""
    agent = Caller(policed, token(policed, "agent", *bound))
    assert agent.says_ready("node-1") == ""
    assert policed.get("noderoutes", "node-1")["status"]["ready"] is True
    words = agent.says_ready("node-2")
    assert "the status of NodeRoute node-2 is written by the agent of that node alone" in words
    assert "system:serviceaccount:cloudroute:cloudroute-agent has a token of node node-1" in words
    assert "status" not in policed.get("noderoutes", "node-2")


def test_a_gateway_renews_its_lease(policed: RealKubeApi, tmp_path: Path) -> None:
    """By the agent's own code: created, then patched. Kubernetes removes it with the NodeRoute that owns it."""
    bound = token(policed, "agent", "Pod", "agent")
    config = write_kubeconfig(policed.url, bound, policed.ca_file, "agent", tmp_path / "kubeconfig")
    own = project.node_route(policed.get("noderoutes", "node-1"))
    for now in (1.5, 2.5):
        gateways.renew(Transport(str(config)), SPACE, own, now)
    found = policed.get("leases", "gw-node-1", SPACE)
    assert gateways.gateway_lease(found) == GatewayLease("node-1", Renewal(own.uid, "1970-01-01T00:00:02.500000Z"))
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("NodeRoute", own.uid)
    policed.delete("leases", "gw-node-1", SPACE)


WRONG_LEASES: list[tuple[str, str, Any]] = [
    ("POST", "leases", lease("gw-node-3", "node-3")),
    ("POST", "leases", lease("gw-node-3", "node-1")),
    ("POST", "leases", {**lease("", "node-1"), "metadata": {"generateName": "gw-node-1"}}),
    ("PATCH", "leases/gw-node-2", {"spec": {"holderIdentity": "node-2"}}),
    ("PATCH", "leases/cloudroute", {"spec": {"holderIdentity": "node-1"}}),
    ("PATCH", "leases/cloudroute", lease("cloudroute", "node-1")),
]
"""Leases that are not those of a gateway on node-1."""
ILL_FORMED: list[tuple[str, str, Any]] = [
    ("POST", "leases", {**lease("", "node-1"), "metadata": {"name": "gw-node-1"}}),
    ("POST", "leases", lease("gw-node-1", "node-1", "false")),
    ("POST", "leases", lease("gw-node-1", "node-2")),
    ("POST", "leases", {**lease("gw-node-1", ""), "spec": {}}),
    ("PATCH", "leases/gw-node-1", {"metadata": {"labels": None}}),
    ("PATCH", "leases/gw-node-1", {"spec": {"holderIdentity": "node-2"}}),
]
"""Of its own node, without the label or with another holder."""


@pytest.mark.parametrize(("method", "path", "body"), WRONG_LEASES)
def test_an_agent_writes_no_lease_but_that_of_its_own_node(
    policed: RealKubeApi, method: str, path: str, body: Any
) -> None:
    """Neither another gateway's nor the leader's, of which RBAC alone would let it take both."""
    words = Caller(policed, token(policed, "agent", "Pod", "agent")).tries(method, path, body, LEASES)
    assert "is not that of a gateway on the node of this agent, which has a token of node node-1" in words


@pytest.mark.parametrize(("method", "path", "body"), ILL_FORMED)
def test_the_lease_of_a_gateway_has_its_label_and_holder(
    policed: RealKubeApi, method: str, path: str, body: Any
) -> None:
    """Without the label the controller would not hear of it, and it could pass for another program's."""
    if method == "PATCH":
        policed.create(lease("gw-node-1", "node-1"))
    try:
        words = Caller(policed, token(policed, "agent", "Pod", "agent")).tries(method, path, body, LEASES)
    finally:
        if method == "PATCH":
            policed.delete("leases", "gw-node-1", SPACE)
    assert "Lease gw-node-1 needs the label cloudroute.io/gateway=true and the holderIdentity node-1" in words


def test_leases_of_others_are_none_of_the_policys_business(policed: RealKubeApi) -> None:
    """An administrator writes them as before."""
    patch = {"spec": {"holderIdentity": "another"}}
    assert Caller(policed, policed.token).tries("PATCH", "leases/cloudroute", patch, LEASES) == ""


def test_a_token_of_no_node_writes_none(policed: RealKubeApi) -> None:
    """One that was asked for by hand and is bound to nothing."""
    words = Caller(policed, token(policed, "agent")).says_ready("node-1")
    assert "has a token that is bound to no node" in words


def test_the_account_counts_and_not_the_node_alone(policed: RealKubeApi) -> None:
    """The controller's token of that very node writes no status, even where RBAC lets it; nor does another account."""
    head = {"apiVersion": "v1", "kind": "ServiceAccount"}
    policed.create({**head, "metadata": {"name": "cloudroute-other", "namespace": SPACE}})
    for account in ("controller", "other"):
        allow(policed, f"{SPACE}:cloudroute-{account}", ["patch"], ["noderoutes/status"])
        words = Caller(policed, token(policed, account, "Node", "node-1")).says_ready("node-1")
        assert "is written by the agent of that node alone" in words


def test_only_the_controller_writes_what_a_node_is(policed: RealKubeApi) -> None:
    """Even an agent that RBAC let do it, by mistake, can't make, change or delete a NodeRoute, its own included."""
    allow(policed, "cloudroute:cloudroute-agent", ["patch", "delete", "create"], ["noderoutes"])
    agent = Caller(policed, token(policed, "agent", "Node", "node-1"))
    native = {"spec": {"nativeIn": ["rtb-1"]}}
    for method, path, body in (
        ("PATCH", "noderoutes/node-1", native),
        ("DELETE", "noderoutes/node-1", None),
        ("POST", "noderoutes", node_route("node-3")),
    ):
        words = agent.tries(method, path, body)
        assert (
            "NodeRoutes are made, changed and deleted by system:serviceaccount:cloudroute:cloudroute-controller"
            in words
        )
        assert "alone, not by system:serviceaccount:cloudroute:cloudroute-agent" in words
    controller = Caller(policed, token(policed, "controller"))
    assert controller.tries("POST", "noderoutes", node_route("node-3")) == ""
    assert controller.tries("PATCH", "noderoutes/node-3", native) == ""
    assert controller.tries("DELETE", "noderoutes/node-3") == ""


def test_writes_that_leave_the_spec_alone_are_allowed(policed: RealKubeApi) -> None:
    """Kubernetes' own storage migration writes every object as it is; so may who labels one."""
    allow(policed, "kube-system:migrator", ["patch"], ["noderoutes"])
    words = as_user(policed, "system:serviceaccount:kube-system:migrator", {"metadata": {"labels": {"a": "b"}}})
    assert words == ""
    words = as_user(policed, "system:serviceaccount:kube-system:migrator", {"spec": {"nativeIn": ["rtb-2"]}})
    assert "not by system:serviceaccount:kube-system:migrator" in words


def test_an_administrator_can_mend_things(policed: RealKubeApi) -> None:
    """A cluster administrator, and who was given the verb `overwrite`: `cloudroute cleanup` is run by people."""
    bind(policed, "admin-in-need", "cluster-admin")
    await_right(policed, "admin-in-need", "noderoutes", "patch")
    allow(policed, "cloudroute:mender", ["patch", "overwrite"], ["noderoutes"])
    for user in ("admin-in-need", "system:serviceaccount:cloudroute:mender"):
        assert as_user(policed, user, {"spec": {"nativeIn": ["rtb-3"]}}) == ""


def as_user(cluster: RealKubeApi, user: str, patch: Any) -> str:
    """Patch node-1's NodeRoute as anybody: the administrator may speak for others."""
    return Caller(cluster, cluster.token, user).tries("PATCH", "noderoutes/node-1", patch)


def allow(cluster: RealKubeApi, account: str, verbs: list[str], resources: list[str]) -> None:
    """Give NAMESPACE:ACCOUNT those rights."""
    name = f"test-{account.replace(':', '-')}-{len(verbs)}{len(resources)}"
    rules = [{"apiGroups": ["cloudroute.io"], "resources": resources, "verbs": verbs}]
    head = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}}
    cluster.create({**head, "rules": rules})
    bind(cluster, f"system:serviceaccount:{account}", name)
    for resource, verb in product(resources, verbs):
        await_right(cluster, f"system:serviceaccount:{account}", resource, verb)


def await_right(cluster: RealKubeApi, user: str, resource: str, verb: str) -> None:
    """Until the server's authorizer knows that a user may do it: before, a refusal would not be the policy's."""
    eventually(lambda: may(cluster, user, "cloudroute.io", resource, verb), f"{user} may {verb} {resource}")


def bind(cluster: RealKubeApi, user: str, role: str) -> None:
    group = "rbac.authorization.k8s.io"
    cluster.create(
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"test-{user.replace(':', '-')}-{role}"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": user, "apiGroup": group}],
        }
    )

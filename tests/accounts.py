"""The accounts of deploy/rbac on a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from cloudroute.lab.kube.real import RealKubeApi
from cloudroute.lab.kube.status import StatusError
from tests.waiting import eventually

CONTROLLER = Path(__file__).parents[1] / "deploy" / "rbac" / "controller.yaml"
AGENT = CONTROLLER.with_name("agent.yaml")
GATEWAYS = CONTROLLER.parent / "gateways" / "leases.yaml"
_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


def install(server: RealKubeApi, manifest: Path) -> None:
    """Create the objects of a manifest, and wait until the server's authorizer knows the roles."""
    items = list(yaml.safe_load_all(manifest.read_text()))
    for item in items:
        try:
            server.create(item)
        except StatusError as error:
            if error.reason != "AlreadyExists":  # both manifests name the namespace, and several tests install one
                raise
    roles = {(item["kind"], item["metadata"]["name"]): item for item in items}
    for item in items:
        if item["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            (subject,) = item["subjects"]
            role = roles[item["roleRef"]["kind"], item["roleRef"]["name"]]
            eventually(
                partial(_knows, server, subject, role), f"the server to know {item['kind']} {role['metadata']['name']}"
            )


@contextmanager
def gateways_allowed(server: RealKubeApi) -> Iterator[None]:
    """Both accounts, which are installed, also have the permissions for gateways' Leases for a while."""
    install(server, GATEWAYS)
    yield
    items = list(yaml.safe_load_all(GATEWAYS.read_text()))
    for item in items:
        kind = item["kind"].lower()
        plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
        server.delete(plural, item["metadata"]["name"], item["metadata"].get("namespace", ""))
    for account, verb in (("agent", "create"), ("controller", "list")):
        user = f"system:serviceaccount:cloudroute:cloudroute-{account}"
        where = ("coordination.k8s.io", "leases", verb, "cloudroute")
        eventually(partial(_withdrawn, server, user, *where), f"the right to {verb} Leases is withdrawn")


def _withdrawn(server: RealKubeApi, *where: str) -> bool:
    return not may(server, *where)


def _knows(server: RealKubeApi, subject: Any, role: Any) -> bool:
    """Whether an account has the first permission of a role."""
    rule = role["rules"][0]
    user = f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
    where = {"namespace": role["metadata"].get("namespace", ""), "name": rule.get("resourceNames", [""])[0]}
    return may(server, user, rule["apiGroups"][0], rule["resources"][0], rule["verbs"][0], **where)


def may(
    server: RealKubeApi, user: str, group: str, resource: str, verb: str, namespace: str = "", name: str = ""
) -> bool:
    """Whether the server's authorizer allows a user this."""
    review = {"spec": {"user": user, "resourceAttributes": attributes(namespace, group, resource, verb, name)}}
    return bool(server.request("POST", _REVIEWS, review)["status"]["allowed"])


def attributes(namespace: str, group: str, resource: str, verb: str, name: str) -> dict[str, str]:
    """Resource attributes of an access review; "noderoutes/status" is a subresource."""
    plural, _, subresource = resource.partition("/")
    return {
        "namespace": namespace,
        "group": group,
        "resource": plural,
        "subresource": subresource,
        "verb": verb,
        "name": name,
    }

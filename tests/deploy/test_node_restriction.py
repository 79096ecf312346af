"""Which labels a kubelet may set on its own Node, by a real API server with NodeRestriction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cloudroute.core.explain.doctor.gateways import kubelet_may_set
from cloudroute.lab.kube.real import RealKubeApi, find_assets
from tests.contract.conftest import Api
from tests.required import lacking

KUBELET = "system:node:node-1"
LABELS = (
    "role",
    "cloudroute.io/gateway",
    "eks.amazonaws.com/nodegroup",
    "node-restriction.kubernetes.io/role",
    "example.com.node-restriction.kubernetes.io/role",
    "node-role.kubernetes.io/gateway",
    "node.kubernetes.io/role",
    "node.kubernetes.io/instance-type",
    "kubelet.kubernetes.io/role",
    "example.com.kubelet.kubernetes.io/role",
    "kubernetes.io/hostname",
    "kubernetes.io/role",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/rack",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "example.k8s.io/role",
    "k8s.io/role",
)


@pytest.fixture(scope="module")
def server() -> Iterator[RealKubeApi]:
    """An API server as EKS and kubeadm set it up, and a Node."""
    if find_assets() is None:
        lacking("apiserver")
    server = RealKubeApi(flags={"authorization-mode": "Node,RBAC", "enable-admission-plugins": "NodeRestriction"})
    server.add_user(KUBELET)
    server.start()
    try:
        server.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}})
        yield server
    finally:
        server.close()


def asked(server: RealKubeApi, method: str, path: str, labels: dict[str, str | None]) -> int:
    """Status of the answer to the kubelet, which asks for a dry run."""
    node: dict[str, Any] = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1", "labels": labels}}
    kubelet = Api(server.url, server.token_of(KUBELET), server.ca_file, server.compact)
    try:
        return kubelet.ask(method, f"/api/v1/{path}?dryRun=All", node, "merge" * (method == "PATCH")).status
    finally:
        kubelet.pool.clear()


@pytest.mark.parametrize("label", LABELS)
def test_doctor_knows_what_a_kubelet_may_set(server: RealKubeApi, label: str) -> None:
    """As the API server decides it, when a Node joins and later."""
    assert (asked(server, "PATCH", "nodes/node-1", {label: "gateway"}) == 200) == kubelet_may_set(label)
    server.delete("nodes", "node-1")
    try:
        assert (asked(server, "POST", "nodes", {label: "gateway"}) == 201) == kubelet_may_set(label)
    finally:
        server.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}})


def test_a_kubelet_can_neither_take_on_nor_give_up_the_recommended_label(server: RealKubeApi) -> None:
    """That of docs/gateways.md, which an administrator sets."""
    label = "node-restriction.kubernetes.io/role"
    server.patch("nodes", "node-1", {"metadata": {"labels": {label: "gateway"}}})
    assert asked(server, "PATCH", "nodes/node-1", {label: None}) == 403
    assert asked(server, "PATCH", "nodes/node-1", {label: "none"}) == 403

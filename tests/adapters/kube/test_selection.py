"""Selection of Nodes: by the kubelet's data as EKS sets it, and by labels."""

from __future__ import annotations

from typing import Any

import pytest

from cloudroute.adapters.kube.selection import left_alone
from cloudroute.lab.kube import KubeApi
from cloudroute.selector import EVERY, Selector
from tests.adapters.kube.conftest import node
from tests.adapters.kube.test_reflector import Start
from tests.waiting import eventually

INSTANCE = "aws:///us-west-2c/i-0123456789abcdef0"
COMPUTE_TYPE = "eks.amazonaws.com/compute-type"


def raw(provider_id: str = INSTANCE, os: str = "", **labels: str) -> dict[str, Any]:
    info = {"nodeInfo": {"operatingSystem": os}} if os else {}
    return {"metadata": {"name": "n1", "labels": labels}, "spec": {"providerID": provider_id}, "status": info}


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (raw(), ""),
        (raw(os="linux", **{"kubernetes.io/os": "linux", COMPUTE_TYPE: "ec2"}), ""),
        (raw("k3s://n1"), ""),
        (raw("aws:///us-west-2c/i-fargate-1"), ""),
        (raw(**{"kubernetes.io/os": "windows"}), "windows"),
        (raw(os="windows"), "windows"),
        (raw("aws:///us-west-2c/1a2b3c-4d5e/fargate-ip-192-168-1-2.us-west-2.compute.internal"), "fargate"),
        (raw("", **{COMPUTE_TYPE: "fargate"}), "fargate"),
        (raw("eks-hybrid:///us-west-2/prod/mi-0a1b2c3d4e5f67890"), "hybrid"),
        (raw(**{COMPUTE_TYPE: "hybrid"}), "hybrid"),
        (raw(**{COMPUTE_TYPE: "auto"}), "auto-mode"),
        ({"metadata": {}}, ""),
        ({"metadata": {"labels": {COMPUTE_TYPE: ["auto"], "kubernetes.io/os": {}}}}, ""),
        ({"metadata": {"labels": None}, "spec": None, "status": {"nodeInfo": None}}, ""),
    ],
)
def test_nodes_with_a_network_or_a_kernel_of_their_own_are_left_alone(node: dict[str, Any], why: str) -> None:
    """Nodes with another network or kernel are left alone, by labels and nodeInfo; without these a node is served."""
    assert left_alone(node, EVERY) == why


@pytest.mark.parametrize(("selector", "why"), [("pool=a", ""), ("pool=b", "not selected"), ("!pool", "not selected")])
def test_the_selector_leaves_out_more(selector: str, why: str) -> None:
    """The selector excludes nodes beside those that are left alone in any case."""
    assert left_alone(raw(pool="a"), Selector.parse(selector)) == why
    assert left_alone(raw(pool="a", **{COMPUTE_TYPE: "auto"}), Selector.parse(selector)) == "auto-mode"


def test_a_node_comes_and_goes_with_its_labels(api: KubeApi, start: Start) -> None:
    """In list and watch, a node that leaves the selection counts as deleted."""
    api.create(node("n1"))
    api.create({**node("n2"), "metadata": {"name": "n2", "labels": {"pool": "a"}}})
    cluster = start(selector=Selector.parse("pool=a"))
    assert set(cluster.nodes.items()) == {"n2"}
    api.patch("nodes", "n1", {"metadata": {"labels": {"pool": "a"}}})
    eventually(lambda: set(cluster.nodes.items()) == {"n1", "n2"}, "the two selected nodes are known")
    api.patch("nodes", "n2", {"metadata": {"labels": {"pool": "b"}}})
    eventually(lambda: set(cluster.nodes.items()) == {"n1"}, "the node that left the selection is forgotten")


def test_the_answer_to_a_write_does_not_bring_back_a_node_that_has_left(api: KubeApi, start: Start) -> None:
    """A node removed by the watch, since its labels changed, is not added again by the answer to an earlier write."""
    api.create({**node("n1"), "metadata": {"name": "n1", "labels": {"pool": "a"}}})
    cluster = start(selector=Selector.parse("pool=a"))
    left = api.patch("nodes", "n1", {"metadata": {"labels": {"pool": "b"}}})
    eventually(lambda: not cluster.nodes.items(), "no node is left")
    left["metadata"]["resourceVersion"] = str(int(left["metadata"]["resourceVersion"]) + 1)
    assert cluster.put_node(left).name == "n1"
    assert not cluster.nodes.items()

"""Real kubelets: pods that a scheduler placed and a container runtime started reach each other over each path."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudroute.lab.hosts.cluster import ClusterLab
from cloudroute.lab.hosts.kubelet import missing
from tests.packets.world import FLAGS, OWN_ENTRIES, everybody_reaches_everybody, kinds, settle
from tests.required import lacking


@pytest.fixture(scope="module")
def lab() -> Iterator[ClusterLab]:
    """Four nodes: two in one zone, and tables that have room for one."""
    if problems := missing():
        lacking("kubelet", *problems)
    with ClusterLab("kubelets", zones=3, route_limit=OWN_ENTRIES + 1, controller_flags=FLAGS) as lab:
        for zone in (0, 0, 1, 2):
            lab.join(zone)
        lab.deploy("web")
        settle(lab)
        yield lab


def test_a_daemonsets_pods_reach_each_other_over_each_path(lab: ClusterLab) -> None:
    assert {"direct", "overlay"} <= kinds(lab)
    everybody_reaches_everybody(lab)
    lab.set_route_limit(20)
    settle(lab)
    assert kinds(lab) == {"native"}
    everybody_reaches_everybody(lab)


def test_a_pod_moves_to_a_node_that_joins_and_a_node_is_replaced(lab: ClusterLab) -> None:
    (joined,) = lab.join(1)
    lab.adopt("web")
    settle(lab)
    assert "web" in joined.pods
    everybody_reaches_everybody(lab)
    lab.replace("node-3")
    lab.adopt("web")
    settle(lab)
    everybody_reaches_everybody(lab)

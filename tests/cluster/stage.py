"""A fleet, and the chart on it, brought up by steps whose times are told."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

from cloudroute.lab.hosts.kubelet import missing
from cloudroute.lab.hosts.teardown import tear_down
from cloudroute.lab.hosts.workload import daemonset
from cloudroute.lab.kube.real import CONTROL_PLANE, find_assets
from tests.cluster.fleet import Fleet, Size
from tests.cluster.phases import Phases
from tests.cluster.release import Release
from tests.packets.labs import OWN_ENTRIES
from tests.required import lacking
from tests.terraform.kit import Terraform

GATEWAY_LABEL = "node-restriction.kubernetes.io/role=gateway"
EVERY_PATH: Mapping[str, object] = {
    "route-limit": OWN_ENTRIES + 3,  # a gateway's aggregate, and two nodes
    "gateway-nodes": GATEWAY_LABEL,
    "resync-seconds": 10,  # how long a source/dest check may be on before it is seen
}
"""Settings with which two zones of three nodes have native, direct and overlay paths."""


def label_gateway(fleet: Fleet, *, on: bool = True) -> None:
    """Let the first node be a gateway, or no longer."""
    key, _, value = GATEWAY_LABEL.partition("=")
    fleet.kube.patch("nodes", min(fleet.hosts), {"metadata": {"labels": {key: value if on else None}}})


def new_fleet(size: Size, terraform: Terraform, image: Future[Path], phases: Phases) -> Fleet:
    """Return a fleet to be entered. The test ends where this machine lacks a part."""
    if problems := missing():
        lacking("kubelet", *problems)
    if find_assets([*CONTROL_PLANE, "kube-proxy"]) is None:
        lacking("kubelet")
    if find_assets(["coredns"]) is None:
        lacking("coredns")
    tear_down(size.name)  # what a killed run has left
    return Fleet(size, terraform, image, phases)


def bring_up(fleet: Fleet, release: Release, phases: Phases) -> None:
    """Install the chart; returns when every node is ready and the workload `web` has a pod on each."""
    release.prepare()
    assert not fleet.all_ready()
    release.install()
    phases.done("Helm has installed the chart")

    milestones = {
        "a controller leads": lambda: bool(release.leader()),
        "every node has a NodeRoute": lambda: len(fleet.node_routes()) == len(fleet.hosts),
        "every agent says that all is in place": fleet.settled,
        "every node is Ready": fleet.all_ready,
        "all pods of the chart are ready": release.rolled,
    }
    phases.wait_all(milestones, 240, fleet.diagnosis)
    fleet.install_dns()
    fleet.kube.create(daemonset("web"))
    phases.wait("a pod of the workload runs on every node", lambda: fleet.adopt("web"), 60, fleet.diagnosis)

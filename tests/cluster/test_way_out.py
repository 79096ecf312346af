"""The end of the cluster: this file is the last of its folder."""

from __future__ import annotations

import shlex

from tests.cluster.fleet import Fleet
from tests.cluster.release import SPACE, Release
from tests.cluster.stage import label_gateway
from tests.cluster.traces import nodes, take
from tests.docs.pages import ROOT, Page
from tests.waiting import eventually

DNS = "k8s-app=kube-dns"
UNINSTALL = Page("operations", (ROOT / "docs" / "operations.md").read_text())


def test_nothing_is_left(fleet: Fleet, release: Release) -> None:
    """By "Uninstall" of docs/operations.md; then EC2 is as Terraform made it, which destroys it in tests/terraform."""
    label_gateway(fleet, on=False)
    release.kubectl("delete", "daemonset", "web", "--namespace=default", "--cascade=foreground")
    release.kubectl("delete", "all,serviceaccounts,configmaps", "--namespace=kube-system", f"--selector={DNS}")
    release.kubectl("delete", "clusterroles,clusterrolebindings", f"--selector={DNS}")
    release.kubectl("scale", "deployment/cloudroute-controller", "--replicas=0", "--namespace", SPACE)
    eventually(lambda: not release.leader(), "nobody leads", 60)
    release.cloudroute("cleanup", "--yes")
    (patch,) = [block.text for block in UNINSTALL.blocks if "--cleanup" in block.text and block.language == "sh"]
    release.kubectl(*shlex.split(patch)[1:])
    eventually(release.agents_have_ended, "every agent has cleaned up", 90)
    release.helm("uninstall", "cloudroute", "--wait")
    release.kubectl("delete", "crd", "noderoutes.cloudroute.io", "routetables.cloudroute.io")
    release.kubectl("delete", "namespace", SPACE)
    # Kubernetes itself taints a node that has no network any more, some seconds after its kubelet has found that out.
    eventually(lambda: nodes(fleet) == release.before.nodes, "the Nodes are marked as before", 90)
    found = take(fleet, release.kubectl)
    for what, value in found._asdict().items():
        assert value == getattr(release.before, what), what
    assert "No changes." in fleet.account.terraform("plan", "-detailed-exitcode")

"""The controller as a process under its own account, on the real API with RBAC enforced."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cloudroute.crds import manifests
from cloudroute.lab.aws import Aws
from cloudroute.lab.kube import Cluster, KubeApi
from cloudroute.lab.kube.real import RealKubeApi, find_assets
from cloudroute.lab.replica import aws_environment, clean_environment
from tests import accounts
from tests.required import lacking

POOL = "100.64.0.0/16"
NODES = 6


@pytest.fixture(params=["embedded", "real"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Cluster, Path]]:
    """An API with the manifests only, and the controller's kubeconfig."""
    path = tmp_path / "kubeconfig"
    if request.param == "embedded":
        embedded = KubeApi()
        server = embedded.serve()
        for item in [*manifests(), *yaml.safe_load_all(accounts.CONTROLLER.read_text())]:
            embedded.create(item)
        yield embedded, server.kubeconfig(path, "controller")
        server.close()
        return
    if find_assets() is None:
        lacking("apiserver")
    real = RealKubeApi()
    real.start()
    try:
        for crd in manifests():
            real.create(crd)
        accounts.install(real, accounts.CONTROLLER)
        yield real, real.kubeconfig(path, "controller")
    finally:
        real.close()


def cloudroute(url: str, kubeconfig: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as an operator's shell would."""
    environment = {**clean_environment(), **aws_environment(url, "eu-central-1")}
    flags = ("--cluster-name", "test", "--cluster-cidr", POOL, "--kubeconfig", str(kubeconfig), "--settle-seconds", "0")
    command = [sys.executable, "-m", "cloudroute", *words, *flags]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_manifests_permit_all_that_the_controller_does(fresh: tuple[Cluster, Path]) -> None:
    """Nodes are routed, a second run has no step, cleanup removes everything, and no call is refused."""
    kube, kubeconfig = fresh
    aws = Aws()
    vpc = aws.scene.vpc(zones=3)
    for number in range(NODES):
        (machine,) = aws.scene.launch(vpc.zones[number % 3])
        addresses = [{"type": "InternalIP", "address": address} for address in machine.addresses]
        kube.create(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": f"node-{number}"},
                "spec": {"providerID": machine.provider_id},
                "status": {"addresses": addresses},
            }
        )
    with aws.serve() as server:
        sync = cloudroute(server.url, kubeconfig, "controller", "--once", "--listen", "127.0.0.1:0")
        assert sync.returncode == 0, sync.stderr
        assert "orbidden" not in sync.stderr
        cidrs = {cidr for node in kube.list("nodes") for cidr in node["spec"]["podCIDRs"]}
        assert len(cidrs) == NODES
        for table in vpc.route_table_ids:
            assert cidrs < set(aws.scene.routes(table))
        assert {tuple(route["spec"]["nativeIn"]) for route in kube.list("noderoutes")} == {
            tuple(sorted(vpc.route_table_ids))
        }
        said = [condition for node in kube.list("nodes") for condition in node["status"]["conditions"]]
        conditions = [c for c in said if c["type"] == "NetworkUnavailable"]
        assert [(c["status"], c["reason"]) for c in conditions] == [("False", "RouteCreated")] * NODES
        assert len(kube.list("routetables")) == 3

        again = cloudroute(server.url, kubeconfig, "plan")
        assert again.returncode == 0, again.stdout + again.stderr

        clean = cloudroute(
            server.url, kubeconfig, "cleanup", "--yes", "--drain-seconds", "0", "--listen", "127.0.0.1:0"
        )
        assert clean.returncode == 0, clean.stderr
        assert all(not cidrs & set(aws.scene.routes(table)) for table in vpc.route_table_ids)
        assert kube.list("noderoutes") == []
        assert kube.list("routetables") == []

"""From what was deployed first to what is deployed now: everything stays the same object, nodes and routes see nothing.

`first-manifest.yaml` is the first deploy/cloudroute.yaml that there was; `before-the-chart.yaml` is what there was
before it, the first CRDs and accounts, to be applied file by file.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cloudroute.lab.aws import Aws
from cloudroute.lab.aws.scene import Vpc
from cloudroute.lab.kube.real import RealKubeApi
from tests.contract.test_controller import cloudroute
from tests.deploy.conftest import CHART, DEPLOY, Run
from tests.deploy.test_install import serves_node_routes
from tests.waiting import eventually

HERE = Path(__file__).parent
FIRST, EARLIER = HERE / "first-manifest.yaml", HERE / "before-the-chart.yaml"
NOW = DEPLOY / "cloudroute.yaml"
SPACE = "cloudroute"
NODES = 3

Kubectl = Callable[..., str]


class Account(NamedTuple):
    """Nodes of a cluster, and their VPC."""

    aws: Aws
    vpc: Vpc
    url: str

    def routes(self) -> dict[str, set[str]]:
        """Destinations by table."""
        return {table: set(self.aws.scene.routes(table)) for table in self.vpc.route_table_ids}


@pytest.fixture
def ctl(cluster: RealKubeApi, kubectl: str, tmp_path: Path) -> Kubectl:
    """kubectl as a function of its words, which must succeed."""
    kubeconfig = cluster.kubeconfig(tmp_path / "admin")

    def run(*words: str) -> str:
        command = [kubectl, "--kubeconfig", str(kubeconfig), *words]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    return run


@pytest.fixture
def account(cluster: RealKubeApi, ctl: Kubectl) -> Iterator[Account]:
    """A VPC with instances whose kubelets have registered. All objects of the cluster are removed at the end."""
    aws = Aws()
    vpc = aws.scene.vpc(zones=2)
    for number in range(NODES):
        (machine,) = aws.scene.launch(vpc.zones[number % 2])
        addresses = [{"type": "InternalIP", "address": machine.addresses[0]}]
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"upgraded-{number}"}}
        cluster.create({**node, "spec": {"providerID": machine.provider_id}, "status": {"addresses": addresses}})
    with aws.serve() as server:
        yield Account(aws, vpc, server.url)
    for number in range(NODES):
        cluster.delete("nodes", f"upgraded-{number}")
    ctl("delete", "--ignore-not-found", "-f", str(NOW))


def sync(cluster: RealKubeApi, account: Account, folder: Path) -> None:
    """The controller, under the account that the manifests give it, does all there is to do."""
    eventually(lambda: serves_node_routes(cluster), "NodeRoutes are served")
    kubeconfig = cluster.kubeconfig(folder / "controller", "controller")
    done = cloudroute(account.url, kubeconfig, "controller", "--once", "--listen", "127.0.0.1:0")
    assert done.returncode == 0, done.stderr
    assert "orbidden" not in done.stderr


def objects(ctl: Kubectl, file: Path) -> dict[str, str]:
    """uid by kind and name of all that a file has made."""
    found = yaml.safe_load(ctl("get", "-o", "yaml", "-f", str(file)))["items"]
    return {
        "/".join((one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"])): one["metadata"]["uid"]
        for one in found
    }


def journal(cluster: RealKubeApi) -> dict[str, Any]:
    """Identity of each NodeRoute and RouteTable, and all that the controller has written into it."""
    return {
        f"{plural}/{one['metadata']['name']}": (one["metadata"]["uid"], one["metadata"]["generation"], one["spec"])
        for plural in ("noderoutes", "routetables")
        for one in cluster.list(plural)
    }


def chart_of_the_first(folder: Path) -> Path:
    """A chart whose release is what the first one's was."""
    (folder / "templates").mkdir(parents=True)
    about = {"apiVersion": "v2", "name": "cloudroute", "version": "0.0.1"}
    (folder / "Chart.yaml").write_text(yaml.safe_dump(about))
    (folder / "templates" / "all.yaml").write_text(FIRST.read_text())
    return folder


@pytest.fixture(params=["kubectl-from-parts", "kubectl", "helm"])
def upgrade(request: pytest.FixtureRequest, ctl: Kubectl, tmp_path: Path) -> tuple[Path, Callable[[], object], Any]:
    """The file with what is there first, how that comes there, and how it is upgraded."""
    if request.param == "kubectl-from-parts":
        return EARLIER, lambda: ctl("apply", "-f", str(EARLIER)), lambda: ctl("apply", "-f", str(NOW))
    if request.param == "kubectl":
        return FIRST, lambda: ctl("apply", "-f", str(FIRST)), lambda: ctl("apply", "-f", str(NOW))
    helm: Run = request.getfixturevalue("helm")

    def release(verb: str, chart: Path, *words: str) -> None:
        place = ("--namespace", SPACE, "--create-namespace") if verb == "install" else ("--namespace", SPACE)
        answer = helm(verb, "cloudroute", str(chart), *place, *words, kubeconfig=tmp_path / "admin")
        assert answer.returncode == 0, answer.stderr

    return (
        FIRST,
        lambda: release("install", chart_of_the_first(tmp_path / "chart"), "--take-ownership"),
        lambda: release("upgrade", CHART, "--values", str(CHART / "plain.yaml")),
    )


def test_an_upgrade_from_the_first_one(
    cluster: RealKubeApi,
    ctl: Kubectl,
    account: Account,
    upgrade: tuple[Path, Callable[[], object], Any],
    tmp_path: Path,
) -> None:
    """Each object is taken and keeps its uid, each NodeRoute its spec; a sync afterwards writes nothing to EC2."""
    file, deploy, renew = upgrade
    deploy()
    sync(cluster, account, tmp_path)
    before, said, routes = objects(ctl, file), journal(cluster), account.routes()
    assert len([key for key in said if key.startswith("noderoutes/")]) == NODES
    assert all(len(destinations) == NODES + 1 for destinations in routes.values())

    renew()
    eventually(lambda: serves_node_routes(cluster), "NodeRoutes are served by the new definition")
    assert objects(ctl, file) == before
    assert journal(cluster) == said
    account.aws.reset_calls()
    sync(cluster, account, tmp_path)
    assert {action for action, _ in account.aws.calls if not action.startswith("Describe")} == set()
    assert account.routes() == routes
    assert journal(cluster) == said
    for kind, name in (("daemonset", "cloudroute-agent"), ("deployment", "cloudroute-controller")):
        found = yaml.safe_load(ctl("get", kind, name, "--namespace", SPACE, "-o", "yaml"))
        assert_is(wanted(kind, name)["spec"], found["spec"])


def wanted(kind: str, name: str) -> Any:
    """One object of today's manifests."""
    documents = [one for one in yaml.safe_load_all(NOW.read_text()) if one]
    (found,) = (one for one in documents if (one["kind"].lower(), one["metadata"]["name"]) == (kind, name))
    return found


def assert_is(want: Any, found: Any, where: str = "") -> None:
    """All that is wanted is there, and in each list nothing else; defaults that the server fills in are no matter."""
    if isinstance(want, dict):
        for key, value in want.items():
            if value not in ({}, [], None):
                assert key in found, f"{where}.{key}"
                assert_is(value, found[key], f"{where}.{key}")
    elif isinstance(want, list):
        assert len(want) == len(found), where
        for index, (one, other) in enumerate(zip(want, found, strict=True)):
            assert_is(one, other, f"{where}[{index}]")
    else:
        assert want == found, where

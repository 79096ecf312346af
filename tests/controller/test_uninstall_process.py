"""`cloudroute cleanup` as a process: what it needs, says and leaves when it is run too early, too late or killed."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudroute.crds import manifests
from tests.controller.servers import Servers, servers
from tests.waiting import eventually

NEVER = "--drain-seconds=600"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Servers]:
    """Two nodes that have their routes; no controller runs any more."""
    with servers(tmp_path) as made:
        machines = [made.join("first"), made.join("second", 1)]
        assert made.start("--once").exit_code(30) == 0
        assert made.routed(*machines)
        yield made


def cleanup(world: Servers, *flags: str) -> tuple[int, str]:
    """Exit code and last words."""
    process = world.start("--yes", *flags, command="cleanup")
    code = process.exit_code(40)
    return code, process.log.read_text().splitlines()[-1]


def clean(world: Servers) -> bool:
    """Whether nothing of ours is left."""
    routes = [target for table in world.vpc.route_table_ids for target in world.targets(table)]
    return not routes and not world.kube.list("noderoutes") and not world.kube.list("routetables")


def test_while_a_controller_leads(world: Servers) -> None:
    """It does not get the lead: exit code 1, the reason, and nothing is removed. When the controller ends it works."""
    leader = world.start()
    eventually(lambda: leader.leads, "one leads")
    code, words = cleanup(world)
    assert (code, "another process holds and renews the lease: stop it" in words) == (1, True), words
    assert [len(world.targets(table)) for table in world.vpc.route_table_ids] == [2, 2]
    assert len(world.kube.list("noderoutes")) == 2
    leader.signal(signal.SIGTERM)
    assert leader.exit_code(20) == 0
    assert cleanup(world, "--drain-seconds=0")[0] == 0
    assert clean(world)


def test_where_the_address_for_probes_is_taken(world: Servers) -> None:
    """As by a controller on the same machine: a cleanup listens nowhere, and works."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cleanup(world, "--drain-seconds=0", f"--listen=127.0.0.1:{taken.getsockname()[1]}")[0] == 0
    assert clean(world)


def test_after_its_namespace(world: Servers) -> None:
    """The namespace was deleted with the release: it says how to make one, and then it works."""
    world.kube.delete("leases", "cloudroute", "cloudroute")
    world.kube.delete("namespaces", "cloudroute")
    code, words = cleanup(world)
    assert (code, "kubectl create namespace cloudroute" in words) == (1, True), words
    assert not clean(world)
    world.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloudroute"}})
    assert cleanup(world, "--drain-seconds=0")[0] == 0
    assert clean(world)


def test_after_the_crds(world: Servers) -> None:
    """The CRDs were deleted first: it says how to make them, and then it finds all routes by the Nodes."""
    for plural in ("noderoutes", "routetables"):
        for item in world.kube.list(plural):
            world.kube.delete(plural, item["metadata"]["name"])
        world.kube.delete("customresourcedefinitions", f"{plural}.cloudroute.io")
    code, words = cleanup(world)
    assert (code, "cloudroute crd | kubectl apply -f -" in words) == (1, True), words
    assert [len(world.targets(table)) for table in world.vpc.route_table_ids] == [2, 2]
    for crd in manifests():
        world.kube.create(crd)
    assert cleanup(world, "--drain-seconds=0")[0] == 0
    assert clean(world)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_ended_while_it_drains(world: Servers, how: signal.Signals) -> None:
    """All is withdrawn and nothing deleted yet, which is no success; run again it ends what was begun."""
    process = world.start("--yes", NEVER, command="cleanup")
    eventually(
        lambda: not any(item["spec"].get("nativeIn") for item in world.kube.list("noderoutes")),
        "no NodeRoute is native any more",
    )
    process.signal(how)
    assert process.exit_code(20) == (1 if how == signal.SIGTERM else -how)
    assert [len(world.targets(table)) for table in world.vpc.route_table_ids] == [2, 2]
    assert cleanup(world, "--drain-seconds=0")[0] == 0
    assert clean(world)

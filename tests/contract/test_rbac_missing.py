"""Each verb of the controller's account is removed: a log line or an Event names it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import structlog.testing
import yaml

from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.adapters.kube.client import KubeClient
from cloudroute.adapters.kube.cluster import KubeCluster
from cloudroute.adapters.kube.leases import KubeLeases
from cloudroute.controller import Lease, Loop, NoLease
from cloudroute.crds import manifests
from cloudroute.lab.aws import Aws
from cloudroute.lab.kube.real import TOKENS, RealKubeApi, find_assets
from cloudroute.telemetry import ControllerTelemetry
from tests.accounts import CONTROLLER, install
from tests.clock import FakeClock
from tests.contract.conftest import Api
from tests.contract.test_rbac import may
from tests.controller.lab import settings_of
from tests.required import lacking
from tests.waiting import eventually

NOT_THE_LOOPS = {
    ("pods", "get"): "path and doctor",
    ("pods", "list"): "path and doctor",
    ("nodes", "get"): "path and doctor",
    ("noderoutes", "get"): "path and doctor",
    ("routetables", "get"): "path and doctor",
    ("events", "create"): "not said yet",
    ("servicecidrs", "list"): "not said yet",
}
"""Verbs for other commands that run under this account."""


def roles() -> list[Any]:
    return [one for one in yaml.safe_load_all(CONTROLLER.read_text()) if one["kind"] in ("Role", "ClusterRole")]


def verbs() -> list[tuple[str, str]]:
    """(resource, verb) of all rules."""
    return [
        (resource, verb)
        for role in roles()
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if (resource, verb) not in NOT_THE_LOOPS
    ]


@pytest.fixture(scope="module")
def server() -> Iterator[RealKubeApi]:
    """A server whose roles a test may change."""
    if find_assets() is None:
        lacking("apiserver")
    real = RealKubeApi()
    real.start()
    try:
        for crd in manifests():
            real.create(crd)
        install(real, CONTROLLER)
        yield real
    finally:
        real.close()


@contextmanager
def without(server: RealKubeApi, resource: str, verb: str) -> Iterator[None]:
    """Remove one verb on one resource from the account; enters once the server's authorizer knows it."""
    role, rule = next(
        (role, rule)
        for role in roles()
        for rule in role["rules"]
        if resource in rule["resources"] and verb in rule["verbs"]
    )
    less = copy.deepcopy(role["rules"])
    for one in less:
        if one["resources"] == [resource]:
            one["verbs"] = [kept for kept in one["verbs"] if kept != verb]
    controller = Api(server.url, TOKENS["controller"], server.ca_file, server.compact)
    where = (
        role["metadata"].get("namespace", ""),
        rule["apiGroups"][0],
        resource,
        verb,
        *rule.get("resourceNames", ()),
    )
    patch(server, role, [one for one in less if one["verbs"]])
    eventually(lambda: not may(controller, *where), "the right is withdrawn")
    yield
    patch(server, role, role["rules"])
    eventually(lambda: may(controller, *where), "the right is granted")


def patch(server: RealKubeApi, role: Any, rules: list[Any]) -> None:
    where = role["metadata"].get("namespace", "")
    plural = "roles" if where else "clusterroles"
    server.patch(plural, role["metadata"]["name"], {"rules": rules}, where)


def join(server: RealKubeApi, aws: Aws, zone: Any, name: str) -> None:
    (machine,) = aws.scene.launch(zone)
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"providerID": machine.provider_id}}
    server.create({**node, "status": {"addresses": [{"type": "InternalIP", "address": machine.addresses[0]}]}})


def answered(cluster: KubeCluster) -> bool:
    """Whether all three lists are read, or refused."""
    stores = (cluster.nodes, cluster.node_routes, cluster.route_table_objects)
    return bool(cluster.trouble) or all(store.wait_synced(0) for store in stores)


def live(server: RealKubeApi, folder: Path) -> None:
    """Run the controller with every verb used: nodes join and one goes, a table is given up, a subnet is added."""
    aws, clock = Aws(), FakeClock()
    vpc = aws.scene.vpc(zones=2)
    for number in range(2):
        join(server, aws, vpc.zones[number], f"life-{number}")
    kubeconfig = str(server.kubeconfig(folder / "kubeconfig", "controller"))
    for tables in (vpc.route_table_ids, vpc.route_table_ids[:1]):
        cluster = KubeCluster(kubeconfig, clock)
        kube, telemetry = KubeClient(cluster.transport, cluster), ControllerTelemetry(clock.monotonic)
        ec2 = Ec2Client(aws.session(), aws.region, NoLease(), clock, 3.0, telemetry.ec2_request)
        settings = settings_of(route_table=tables, vpc_id=vpc.id)
        loop = Loop(
            settings=settings,
            cluster=cluster,
            kube=kube,
            ec2=ec2,
            fence=NoLease(),
            clock=clock,
            telemetry=telemetry,
        )
        subnet = aws.scene.ec2.create_subnet(VpcId=vpc.id, CidrBlock=f"10.0.{200 + len(tables)}.0/24")["Subnet"]
        aws.scene.ec2.associate_route_table(RouteTableId=tables[0], SubnetId=subnet["SubnetId"])
        lease = Lease(KubeLeases(cluster.transport, "cloudroute", "cloudroute", 3.0), clock, str(folder), 15, 10.0, 2.0)
        for _ in range(2):
            lease.turn()
        cluster.start(loop.wake)
        eventually(partial(answered, cluster), "the answer comes")
        for _ in range(12):
            turn = loop.turn(Event())
            if turn.settled:
                break
            clock.time = max(clock.time, turn.next_at)
        if tables == vpc.route_table_ids:
            server.delete("nodes", "life-1")
        eventually(partial(kube.events.flush, 0), "the Events are written")
        cluster.stop()


def clear(server: RealKubeApi) -> None:
    for plural in ("nodes", "noderoutes", "routetables"):
        for item in server.list(plural):
            server.delete(plural, item["metadata"]["name"])
    for item in server.list("leases", "cloudroute"):
        server.delete("leases", item["metadata"]["name"], "cloudroute")
    for item in server.list("events", "default"):
        server.delete("events", item["metadata"]["name"], "default")


def words_of(server: RealKubeApi, logs: list[Any]) -> str:
    """All text of the log and of Events."""
    notes = [event.get("note") or event.get("message") or "" for event in server.list("events", "default")]
    return " ".join([*map(str, logs), *notes])


@pytest.mark.parametrize(("resource", "verb"), verbs(), ids=lambda value: value.replace("/", "-"))
def test_a_verb_that_is_missing_is_named(server: RealKubeApi, tmp_path: Path, resource: str, verb: str) -> None:
    """A missing verb is named as the API server does: user, verb and resource."""
    try:
        with structlog.testing.capture_logs() as logs, without(server, resource, verb):
            live(server, tmp_path)
        said = words_of(server, logs)
        assert f"cannot {verb} resource" in said.replace('\\"', '"'), said
        assert resource in said
    finally:
        clear(server)


def test_with_all_of_them_none_is(server: RealKubeApi, tmp_path: Path) -> None:
    """With all verbs the same run has no refusal."""
    with structlog.testing.capture_logs() as logs:
        live(server, tmp_path)
    try:
        assert "cannot" not in words_of(server, logs)
        assert [item["metadata"]["name"] for item in server.list("noderoutes")] == ["life-0"]
        assert len(server.list("routetables")) == 1
    finally:
        clear(server)

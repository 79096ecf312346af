"""A kube-apiserver that is no node, as EKS's control plane, calls pods on overflow nodes by their own addresses."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.kube import StatusError
from cloudroute.lab.kube.real import RealKubeApi, find_assets
from tests.packets.gateways import FLAGS, gateway_of, holders
from tests.packets.labs import OWN_ENTRIES, first_pod, new_lab, settle, specs
from tests.packets.webhook import GROUP, PORT, certificate
from tests.required import lacking
from tests.waiting import eventually

_numbers = count(1)


@pytest.fixture(scope="module")
def lab() -> Iterator[HostLab]:
    """Two gateways and two nodes; no table has an entry for any node but the aggregate."""
    if find_assets() is None:
        lacking("apiserver")
    with new_lab("hook", zones=2, ipv6=False, route_limit=OWN_ENTRIES + 1, controller_flags=FLAGS) as lab:
        for zone in (0, 1):
            lab.join(zone, labels={"role": "gateway"})
        for zone in (0, 1):
            lab.join(zone)
        lab.vm(0)
        for host in lab.hosts.values():
            host.add_pod("web")
        settle(lab)
        lab.wait(lambda: all(holders(lab)), "an aggregate in each table")
        assert not any(spec.native_in for spec in specs(lab).values())
        yield lab


@pytest.fixture(scope="module")
def target(lab: HostLab) -> LabHost:
    """A node past the limit, on another subnet than the API server, that is no gateway."""
    return next(host for name, host in lab.hosts.items() if host.zone == 1 and not specs(lab)[name].gateway)


@pytest.fixture(scope="module")
def api(lab: HostLab, target: LabHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealKubeApi]:
    """A real API server on a host of the VPC; a pod of the target is its webhook and one of its APIs.

    It is asked from inside that host, on whose loopback it listens.
    """
    (vm,) = lab.vms.values()
    pod = first_pod(target)
    pem: Path = tmp_path_factory.mktemp("hook") / "pod.pem"
    trusted = certificate(pod.addresses[0], pem)
    argv = [sys.executable, "-m", "tests.packets.webhook", str(pem)]
    with contextlib.ExitStack() as undo:
        server = undo.enter_context(pod.namespace.popen(argv, stdout=subprocess.PIPE, text=True))
        undo.callback(server.kill)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        # Endpoints are called directly, since no kube-proxy runs where this server stands.
        kube = RealKubeApi(address=vm.addresses[0], flags={"enable-aggregator-routing": "true"})
        undo.callback(kube.close)
        with vm.namespace.inside():
            kube.start()
            kube.create(webhook(f"https://{pod.addresses[0]}:{PORT}/admit", trusted))
            for item in aggregated(pod.addresses[0]):
                kube.create(item)
        yield kube


def webhook(url: str, trusted: str) -> dict[str, Any]:
    """A webhook for ConfigMaps that must answer, as `failurePolicy: Fail` demands."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "probe"},
        "webhooks": [
            {
                "name": GROUP,
                "clientConfig": {"url": url, "caBundle": base64.b64encode(trusted.encode()).decode()},
                "rules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
                ],
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "timeoutSeconds": 10,
                "admissionReviewVersions": ["v1"],
            }
        ],
    }


def aggregated(address: str) -> list[dict[str, Any]]:
    """An API of its own group, behind a Service without a selector."""
    port = {"name": "https", "port": PORT}
    about = {"name": "probe", "namespace": "default"}
    labels = {"kubernetes.io/service-name": "probe"}
    service = {"name": "probe", "namespace": "default", "port": PORT}
    slice_ = {"addressType": "IPv4", "ports": [port], "endpoints": [{"addresses": [address]}]}
    rest = {"group": GROUP, "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 1}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": about, "spec": {"ports": [port]}},
        {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {**about, "labels": labels}, **slice_,
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": f"v1.{GROUP}"},
            "spec": {**rest, "service": service, "insecureSkipTLSVerify": True},
        },
    ]  # fmt: skip


def create(lab: HostLab, api: RealKubeApi, **labels: str) -> None:
    """Create a ConfigMap. Raises StatusError as the webhook answers, or as the server can't call it."""
    about = {"name": f"c{next(_numbers)}", "namespace": "default", "labels": labels}
    (vm,) = lab.vms.values()
    with vm.namespace.inside():
        api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about})


def test_a_webhook_on_an_overflow_node_decides(lab: HostLab, api: RealKubeApi) -> None:
    create(lab, api)
    with pytest.raises(StatusError, match="refused by a pod"):
        create(lab, api, refuse="")


def test_an_aggregated_api_on_an_overflow_node_answers(lab: HostLab, api: RealKubeApi) -> None:
    (vm,) = lab.vms.values()

    def answers() -> bool:
        with contextlib.suppress(StatusError), vm.namespace.inside():
            return bool(api.request("GET", f"/apis/{GROUP}/v1/things")["kind"] == "ThingList")
        return False

    eventually(answers, "the aggregated API is available")


def test_a_webhook_is_called_while_the_gateway_changes(lab: HostLab, api: RealKubeApi) -> None:
    """A gateway is cordoned, then the next one dies: no object is refused."""

    def replaced(name: str) -> bool:
        create(lab, api)
        return name not in holders(lab)

    first = gateway_of(lab, 0)
    lab.kube.patch("nodes", first.name, {"spec": {"unschedulable": True}})
    eventually(lambda: replaced(first.name), "another gateway")
    lab.kube.patch("nodes", first.name, {"spec": {"unschedulable": None}})
    dead = gateway_of(lab, 0)
    dead.kill_agent()
    dead.set_carrier(on=False)
    eventually(lambda: replaced(dead.name), "another gateway")
    for _ in range(10):
        create(lab, api)

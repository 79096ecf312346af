"""Services, by a real kube-proxy: also to a pod of the client's own node, and to the client itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from cloudroute.lab.hosts.host import LabHost, LabPod
from cloudroute.lab.hosts.lab import HostLab
from cloudroute.lab.hosts.traffic_echo import PORT, Echo, reach
from cloudroute.lab.kube import Object
from cloudroute.lab.kube.real import find_assets
from tests.packets.labs import OWN_ENTRIES, kinds, new_lab, settle
from tests.required import lacking

PROTOCOLS = ("udp", "tcp")


@pytest.fixture(scope="module")
def lab() -> Iterator[HostLab]:
    """Three nodes, so that each path is there, with two pods each; a Service of both families for each pod."""
    if find_assets() is None or find_assets(["kube-proxy"]) is None:
        lacking("apiserver")
    with new_lab("services", zones=2, route_limit=OWN_ENTRIES + 1, real_kube=True) as lab:
        for host in [*lab.join(0, 2), *lab.join(1)]:
            for name in ("a", "b"):
                serve(lab, host.add_pod(name))
        settle(lab)
        assert {"direct", "overlay"} <= kinds(lab)
        with Echo([pod.namespace.name for pod in pods(lab)]):
            yield lab


def pods(lab: HostLab) -> list[LabPod]:
    return [pod for host in lab.hosts.values() for pod in host.pods.values()]


def name_of(pod: LabPod) -> str:
    return f"{pod.host.name}-{pod.name}"


def serve(lab: HostLab, pod: LabPod) -> None:
    """A Service with that pod as its only endpoint."""
    ports = [{"name": name, "port": PORT, "protocol": name.upper()} for name in PROTOCOLS]
    spec = {"ipFamilyPolicy": "RequireDualStack", "ports": ports}
    body: Object = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name_of(pod), "namespace": "default"}}
    lab.kube.create({**body, "spec": spec})
    for kind, address in zip(("IPv4", "IPv6"), pod.addresses, strict=True):
        labels = {"kubernetes.io/service-name": name_of(pod)}
        metadata = {"name": f"{name_of(pod)}-{kind.lower()}", "namespace": "default", "labels": labels}
        endpoint = {"addresses": [address], "nodeName": pod.host.name, "conditions": {"ready": True}}
        slice_: Object = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata}
        lab.kube.create({**slice_, "addressType": kind, "endpoints": [endpoint], "ports": ports})


@pytest.fixture(params=["nftables", "iptables"])
def proxies(lab: HostLab, request: pytest.FixtureRequest) -> Iterator[None]:
    """A kube-proxy on each node."""
    assets = find_assets(["kube-proxy"])
    assert assets
    started: list[tuple[LabHost, subprocess.Popen[bytes], list[str]]] = []
    for host in lab.hosts.values():
        command = [
            str(assets / "kube-proxy"), f"--kubeconfig={lab.kubeconfig}", f"--hostname-override={host.name}",
            f"--proxy-mode={request.param}", "--healthz-bind-address=127.0.0.1:10356",
            # The kernel's, not the namespace's.
            "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
        ]  # fmt: skip
        with (host.folder / "kube-proxy.log").open("wb") as log:
            started.append((host, host.namespace.popen(command, stdout=log, stderr=log), command))
    for host, _, _ in started:
        lab.wait(lambda host=host: serves_all(lab, host), f"the rules of {host.name}")  # type: ignore[misc]
    yield
    for host, proxy, command in started:
        proxy.kill()
        proxy.wait()
        host.run(*command, "--cleanup")


def serves_all(lab: HostLab, host: LabHost) -> bool:
    """Whether a node's kube-proxy has made the rules of every Service."""
    rules = host.run("nft", "list", "ruleset")
    return all(address in rules for pod in pods(lab) for address in service_addresses(lab, pod))


def service_addresses(lab: HostLab, pod: LabPod) -> list[str]:
    """Of the Service of a pod: IPv4, IPv6, whichever it names first."""
    found: list[str] = lab.kube.get("services", name_of(pod), "default")["spec"]["clusterIPs"]
    return sorted(found, key=lambda address: ":" in address)


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.usefixtures("proxies")
def test_every_pod_reaches_every_pod_by_its_service_and_its_address_is_seen(lab: HostLab, family: int) -> None:
    """Itself too, as its node: kube-proxy masquerades that, or the answer would have no way."""
    for client in pods(lab):
        for server in pods(lab):
            address = service_addresses(lab, server)[family]
            for protocol in PROTOCOLS:
                answer = reach(client.namespace.name, address, protocol)  # type: ignore[arg-type]
                assert answer.ok, f"{name_of(client)} to {name_of(server)} by {address}, {protocol}: {answer.error}"
                if client is not server:
                    assert answer.seen_address == client.addresses[family]

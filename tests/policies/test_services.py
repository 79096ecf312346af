"""Policies of the pods behind a Service, by a real kube-proxy: they see client and server, not the Service."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator
from functools import partial

import pytest

from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.traffic_echo import reach
from cloudroute.lab.kube.real import find_assets
from tests.packets.test_services import PROTOCOLS, serve, service_addresses
from tests.policies.lab import SILENCE_SECONDS, PolicyLab
from tests.required import lacking


@pytest.fixture
def addresses(lab: PolicyLab) -> Iterator[list[str]]:
    """A Service with a pod that answers friends, and a kube-proxy on each node with a client."""
    assets = find_assets(["kube-proxy"])
    if assets is None:
        lacking("apiserver")
    server = lab.hosts["a1"].pods["by-pod"]
    serve(lab, server)
    found = service_addresses(lab, server)
    started: list[subprocess.Popen[bytes]] = []
    hosts = [client for client, _ in lab.pairs().values()]
    for host in hosts:
        command = [
            str(assets / "kube-proxy"), f"--kubeconfig={lab.kubeconfig}", f"--hostname-override={host.name}",
            "--proxy-mode=nftables", "--healthz-bind-address=127.0.0.1:10356", "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s",
        ]  # fmt: skip
        with (host.folder / "kube-proxy.log").open("wb") as log:
            started.append(host.namespace.popen(command, stdout=log, stderr=log))
    for host in hosts:
        lab.wait(partial(has_rules, host, found), f"the rules of {host.name}")
    yield found
    for proxy in started:
        proxy.kill()
        proxy.wait()
    for host in hosts:
        host.run("nft", "delete table ip kube-proxy; delete table ip6 kube-proxy")


def has_rules(host: LabHost, addresses: Collection[str]) -> bool:
    """Whether a node's kube-proxy has made the rules of a Service."""
    rules = host.run("nft", "list", "ruleset")
    return all(address in rules for address in addresses)


def test_clients_of_a_service_are_allowed_and_denied_as_those_of_its_pods(lab: PolicyLab, addresses: list[str]) -> None:
    """On every path, in both families; the pod sees the client's own address."""
    for path, (host, _) in lab.pairs().items():
        for name, seconds in (("friend", 10 * SILENCE_SECONDS), ("stranger", SILENCE_SECONDS / 2)):
            client = host.pods[name]
            seen = {
                reach(client.namespace.name, address, protocol, timeout=seconds).seen_address  # type: ignore[arg-type]
                for address in addresses
                for protocol in PROTOCOLS
            }
            assert seen == (set(client.addresses) if name == "friend" else {""}), f"{path}: {name}"

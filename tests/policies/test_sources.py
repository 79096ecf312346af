"""The source address that a policy sees: of nodes, of masqueraded pods, and of what leaves the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product

from cloudroute.lab.hosts.host import LabHost, LabPod, Vm
from cloudroute.lab.hosts.traffic import Protocol
from cloudroute.lab.hosts.traffic_echo import reach
from tests.packets.labs import specs, wait_for_agents
from tests.policies.lab import SILENCE_SECONDS, PolicyLab


def seen(client: LabPod | Vm, addresses: Sequence[str]) -> set[str]:
    """Addresses under which the client is seen there, in both families by UDP and TCP; "" where it gets no answer."""

    def ask(address: str, protocol: Protocol) -> str:
        return reach(client.namespace.name, address, protocol, timeout=SILENCE_SECONDS).seen_address

    protocols: tuple[Protocol, ...] = ("udp", "tcp")
    with ThreadPoolExecutor(len(addresses) * len(protocols)) as pool:
        return set(pool.map(ask, *zip(*product(addresses, protocols), strict=True)))


def test_a_node_reaches_its_own_pods_whatever_the_policy(lab: PolicyLab) -> None:
    """So that a kubelet's probes pass: the enforcer decides nothing about root's own packets."""
    node = lab.hosts["a1"]
    assert "" not in seen(node, node.pods["closed"].addresses)


def test_to_pods_of_others_a_node_is_the_first_address_of_its_pod_cidr_on_every_path(lab: PolicyLab) -> None:
    """A block of the pool lets it in, and no selector does."""
    for path, (node, server) in lab.pairs().items():
        if path != "same node":
            first = {str(cidr).partition("/")[0] for cidr in specs(lab)[node.name].pod_cidrs}
            found = {name: seen(node, server.pods[name].addresses) for name in ("open", "by-block", "by-pod")}
            assert found == {"open": first, "by-block": first, "by-pod": {""}}, path


def test_egress_to_the_internet_is_judged_by_the_pods_address_and_arrives_with_the_nodes(lab: PolicyLab) -> None:
    """The enforcer sees a packet before it is masqueraded."""
    host = lab.hosts["b2"]
    found = {name: seen(host.pods[name], lab.internet.addresses) for name in ("stranger", "to-block", "to-pod", "mute")}
    nodes = set(host.addresses)
    assert found == {"stranger": nodes, "to-block": nodes, "to-pod": {""}, "mute": {""}}


def test_a_pod_that_is_masqueraded_is_its_node_to_the_policies_of_others(lab: PolicyLab) -> None:
    """With --masquerade-always for pods' own addresses: what a selector allows is denied."""
    client, server = lab.pairs()["native"]
    friend = client.pods["friend"]
    with masqueraded(lab, client, server):
        assert seen(friend, server.pods["open"].addresses) == set(client.addresses)
        assert seen(friend, server.pods["by-pod"].addresses) == {""}
    assert seen(friend, server.pods["by-pod"].addresses) == set(friend.addresses)


@contextmanager
def masqueraded(lab: PolicyLab, client: LabHost, server: LabHost) -> Iterator[None]:
    """Packets from one node's pods to another's have their node's address for a while."""
    always = [word for cidr in specs(lab)[server.name].pod_cidrs for word in ("--masquerade-always", str(cidr))]
    restart(lab, client, always)
    yield
    restart(lab, client)


def restart(lab: PolicyLab, host: LabHost, flags: Sequence[str] = ()) -> None:
    """Replace a node's agent by one with these flags, and wait until it has done its work."""
    host.stop_agent()
    host.start_agent(flags)
    wait_for_agents(lab)

"""Every kind of policy on every path: allowed questions are answered, denied ones are not."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping, Sequence

from cloudroute.lab.hosts.host import LabPod, Vm
from cloudroute.lab.hosts.netns import ADDRESS_FAMILIES
from cloudroute.lab.hosts.traffic_echo import Answer
from cloudroute.types import family_of
from tests.packets.labs import specs
from tests.policies.lab import SILENCE_SECONDS, PolicyLab
from tests.policies.objects import CASES, VPC_CASES, Case

Results = Mapping[str, Sequence[Sequence[Answer]]]
"""Answers to the questions of each case, by path."""


def test_every_policy_holds_between_pods_on_every_path(lab: PolicyLab) -> None:
    """In both families, by UDP and TCP; a server sees the client's own address on each."""
    results: dict[str, Sequence[Sequence[Answer]]] = {}
    pairs = lab.pairs()
    assert list(pairs) == ["same node", "direct", "native", "overlay"]
    for path, (client, server) in pairs.items():
        results[path] = lab.ask(CASES, client.pods, server)
    client, server = pairs["native"]
    with lab.native_route_missing(server, client.zone):
        results["native, route missing"] = lab.ask(CASES, client.pods, server)
    say(CASES, results)
    for path, answers in results.items():
        asker = pairs[path.partition(",")[0]][0]
        check(CASES, answers, asker.pods, path)


def test_every_policy_holds_for_hosts_of_the_vpc(lab: PolicyLab) -> None:
    """By the VPC's route to the node, and by a gateway to a node past the limit; the host's own address is seen."""
    results: dict[str, Sequence[Sequence[Answer]]] = {}
    clients: dict[str, Mapping[str, LabPod | Vm]] = {}
    for path, zone, server in (("route", 1, "a1"), ("gateway", 0, "b2")):
        table = lab.vpc.zones[zone].route_table_id
        assert (table in specs(lab)[server].native_in) == (path == "route")
        clients[path] = dict(zip(("vpc", "other-vpc"), lab.vpc_hosts(zone), strict=True))
        results[path] = lab.ask(VPC_CASES, clients[path], lab.hosts[server])
    say(VPC_CASES, results)
    for path, answers in results.items():
        check(VPC_CASES, answers, clients[path], path)


def test_policies_hold_for_dns_too(lab: PolicyLab) -> None:
    """The enforcer decides about UDP port 53 in another hook."""
    for path, (client, server) in lab.pairs().items():
        for case in (one for one in CASES if one.server in ("open", "by-pod", "closed")):
            for address in server.pods[case.server].addresses:
                pods = client.pods[case.client], server.pods[case.server]
                allowed = case.verdict == "allowed"
                arrived = asked_for_a_name(*pods, address, 10 if allowed else SILENCE_SECONDS / 4)
                assert arrived == allowed, f"{path}: {case}"


def asked_for_a_name(client: LabPod, server: LabPod, address: str, seconds: float) -> bool:
    """Whether a packet to UDP port 53 arrives within this time."""
    kind = ADDRESS_FAMILIES[family_of(address)], socket.SOCK_DGRAM
    with server.namespace.inside():
        there = socket.socket(*kind)
    with client.namespace.inside():
        here = socket.socket(*kind)
    with there, here:
        there.bind(("", 53))
        there.settimeout(seconds)
        here.sendto(b"question", (address, 53))
        try:
            return there.recv(64) == b"question"
        except TimeoutError:
            return False


def check(
    cases: Sequence[Case], answers: Sequence[Sequence[Answer]], clients: Mapping[str, LabPod | Vm], path: str
) -> None:
    for case, group in zip(cases, answers, strict=True):
        assert [one.ok for one in group] == [case.verdict == "allowed"] * 4, f"{path}: {case}: {group}"
        if case.verdict == "allowed":
            seen = {one.seen_address for one in group}
            assert seen == set(clients[case.client].addresses), f"{path}: {case}"


def say(cases: Sequence[Case], results: Results) -> None:
    """Print the table of docs/network-policies.md: answers of questions, by case and path."""
    rows = [["policy", "from", "to", "", *results]]
    for number, case in enumerate(cases):
        counts = [f"{sum(one.ok for one in group[number])} of {len(group[number])}" for group in results.values()]
        rows.append([case.policy, case.client, case.server, case.verdict, *counts])
    sys.stdout.write("\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n")

"""Whether the security groups let through what nodes and pods send to each other.

The tunnel's packets have nodes' addresses, so a rule that names a group fits them. Routed packets have pods' addresses,
which belong to no group: only a rule with a CIDR fits those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from cloudroute.core.doctor.facts import Facts, Groups, Rule
from cloudroute.core.doctor.findings import Check, Lacking, Outcome, failed, known, listed, ok, warning
from cloudroute.types import Cidr

_ALL = "-1"
_UDP = ("udp", "17")


class _Class(NamedTuple):
    """Nodes that have the same groups, and their primary addresses."""

    groups: frozenset[str]
    addresses: tuple[Cidr, ...]

    def __str__(self) -> str:
        return "+".join(sorted(self.groups)) or "no group"


def _classes(facts: Facts) -> tuple[Groups, list[_Class]]:
    """The nodes by their groups. Raises Lacking."""
    groups, instances = known(facts.aws.groups), known(facts.aws.instances)
    members: dict[frozenset[str], list[Cidr]] = {}
    for node in known(facts.kubernetes.nodes).values():
        instance = instances.get(node.instance_id)
        if instance is not None and instance.primary is not None and node.instance_id in groups.of_instance:
            found = members.setdefault(groups.of_instance[node.instance_id], [])
            found += map(Cidr.parse, instance.primary.addresses[:1])
    if not members:
        raise Lacking("no node's instance is known")
    return groups, [_Class(key, tuple(found)) for key, found in sorted(members.items(), key=lambda one: sorted(one[0]))]


def _overlay(facts: Facts) -> Outcome:
    if not facts.policy.overlay:
        raise Lacking("not needed with --overlay off")
    groups, classes = _classes(facts)
    port = facts.vxlan_port
    closed = []
    for here, there in ((one, other) for one in classes for other in classes):
        for rules, mine, peer, words in (
            (groups.egress, here, there, f"out of {here} to {there}"),
            (groups.ingress, there, here, f"into {there} from {here}"),
        ):
            if not any(_lets_udp(rule, port) and _fits(rule, peer) for rule in _rules(rules, mine)):
                closed.append(words)
    if closed:
        return failed(
            f"UDP {port} is closed {listed(closed)}",
            f"allow UDP {port} between the nodes' security groups: a rule that names the group itself is enough",
        )
    return ok(f"UDP {port} is open between all nodes, both ways")


def _pods(facts: Facts) -> Outcome:
    pools = facts.policy.pools
    if not pools:
        raise Lacking("no --cluster-cidr is given")
    groups, classes = _classes(facts)
    closed, partly = [], []
    for one in classes:
        for words, rules in ((f"into {one} from", groups.ingress), (f"out of {one} to", groups.egress)):
            for pool in pools:
                fitting = [r for r in _rules(rules, one) if r.prefix_lists or any(c.covers(pool) for c in r.cidrs)]
                if not fitting:
                    closed.append(f"{words} {pool}")
                elif not any(rule.protocol == _ALL or rule.prefix_lists for rule in fitting):
                    partly.append(f"{words} {pool}")
    todo = "allow all traffic from and to the cluster CIDR in the nodes' security groups: a group's id fits no pod"
    if closed:
        return failed(f"pods' addresses are closed {listed(closed)}", todo)
    if partly:
        return warning(f"only some protocols or ports are open {listed(partly)}", todo)
    return ok(f"{listed(map(str, pools))}: open from and to pods")


def _rules(by_group: Mapping[str, Sequence[Rule]], one: _Class) -> Iterator[Rule]:
    for group in one.groups:
        yield from by_group.get(group, ())


def _lets_udp(rule: Rule, port: int) -> bool:
    return rule.protocol == _ALL or (rule.protocol in _UDP and rule.ports[0] <= port <= rule.ports[1])


def _fits(rule: Rule, peer: _Class) -> bool:
    """Whether a rule fits all nodes of a class. What a prefix list holds is not read: it is believed to."""
    covered: Collection[Cidr] = [a for a in peer.addresses if any(cidr.covers(a) for cidr in rule.cidrs)]
    return bool(rule.prefix_lists or rule.groups & peer.groups or len(covered) == len(peer.addresses))


CHECKS: tuple[Check[Facts], ...] = (
    Check(
        "VPC",
        "groups-overlay",
        "without it the tunnel's packets are dropped, and with them all of some pairs",
        _overlay,
    ),
    Check("VPC", "groups-pods", "without it packets that the VPC routes to pods are dropped on arrival", _pods),
)

"""Checks of security groups: they have to allow packets between nodes and between pods.

The tunnel's packets have nodes' addresses, so a rule that names a group matches them. Routed packets have pods'
addresses, which belong to no group: only a rule with a CIDR matches them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from cloudroute.core.explain.doctor.facts import Facts, Groups, Rule
from cloudroute.core.explain.doctor.findings import Check, Lacking, Outcome, graded, known, listed, ok, warning
from cloudroute.types import FAMILIES, Cidr, Family

_ALL = "-1"
_NUMBERS = {"tcp": "6", "udp": "17"}


class Members(NamedTuple):
    """Interfaces with the same security groups, and all their addresses. Nodes in it also have the same families."""

    groups: frozenset[str]
    addresses: tuple[Cidr, ...]

    def __str__(self) -> str:
        names = "+".join(sorted(self.groups)) or "no group"
        return f"{names} (IPv6)" if {address.family for address in self.addresses} == {"ipv6"} else names

    def by(self, family: Family) -> Members:
        """The same interfaces, with only their addresses of this family."""
        return self._replace(addresses=tuple(one for one in self.addresses if one.family == family))


def shared(one: Members, other: Members) -> list[Family]:
    """Families that both have addresses of, IPv4 first."""
    return [family for family in FAMILIES if one.by(family).addresses and other.by(family).addresses]


def nodes_by_groups(facts: Facts) -> tuple[Groups, list[Members]]:
    """The security groups, and the nodes by their groups. Raises Lacking."""
    groups, instances = known(facts.aws.groups), known(facts.aws.instances)
    members: dict[tuple[tuple[str, ...], tuple[Family, ...]], list[Cidr]] = {}
    for node in known(facts.kubernetes.nodes).values():
        instance = instances.get(node.instance_id)
        if instance is not None and instance.primary is not None and node.instance_id in groups.of_instance:
            addresses = [Cidr.parse(address) for address in instance.primary.addresses]
            families = tuple(sorted({address.family for address in addresses}))
            names = tuple(sorted(groups.of_instance[node.instance_id]))
            members.setdefault((names, families), []).extend(addresses)
    if not members:
        raise Lacking("no node's instance is known")
    return groups, [Members(frozenset(names), tuple(found)) for (names, _), found in sorted(members.items())]


def _overlay(facts: Facts) -> Outcome:
    port = facts.tunnel_port()
    groups, classes = nodes_by_groups(facts)
    closed: dict[str, None] = {}
    for here, there in _tunnels(classes):
        for rules, mine, peer, words in (
            (groups.egress, here, there, f"out of {here} to {there}"),
            (groups.ingress, there, here, f"into {there} from {here}"),
        ):
            if not any(lets(rule, "udp", port) and fits(rule, peer) for rule in rules_of(rules, mine)):
                closed[words] = None
    return graded(
        (f"UDP {port} is closed", closed),
        fine=f"UDP {port} is open between all nodes, both ways",
        todo=f"allow UDP {port} between the nodes' security groups: a rule that names the group itself is enough",
    )


def _tunnels(classes: Sequence[Members]) -> Iterator[tuple[Members, Members]]:
    """Both ends of each tunnel, with the addresses that it runs between: IPv4 if both ends have it."""
    for here, there in ((one, other) for one in classes for other in classes):
        for family in shared(here, there)[:1]:
            yield here.by(family), there.by(family)


def _pods(facts: Facts) -> Outcome:
    pools = facts.pools()
    groups, classes = nodes_by_groups(facts)
    closed, partly = [], []
    for one in (Members(names, ()) for names in dict.fromkeys(members.groups for members in classes)):
        for words, rules in ((f"into {one} from", groups.ingress), (f"out of {one} to", groups.egress)):
            for pool in pools:
                fitting = [rule for rule in rules_of(rules, one) if fits_range(rule, pool)]
                if not fitting:
                    closed.append(f"{words} {pool}")
                elif not any(rule.protocol == _ALL or rule.prefix_lists for rule in fitting):
                    partly.append(f"{words} {pool}")
    return graded(
        ("pods' addresses are closed", closed),
        ("only some protocols or ports are open", partly),
        fine=f"{listed(map(str, pools))}: open from and to pods",
        todo="allow all traffic from and to the cluster CIDR in the nodes' security groups: a group's id fits no pod",
    )


def gateways(facts: Facts) -> Outcome:
    """Whether the gateways' security groups let in what VPC hosts send to pods."""
    names = facts.gateways()
    groups, families = known(facts.aws.groups), facts.policy.families
    ranges = [cidr for cidr in facts.vpc_ranges() if cidr.family in families]
    classes = {groups.of_instance[i] for node in names.values() if (i := node.instance_id) in groups.of_instance}
    closed = [
        f"{one} from {cidr}"
        for one in (Members(found, ()) for found in sorted(classes, key=sorted))
        for cidr in ranges
        if not any(
            fits_range(rule, cidr) and (rule.protocol == _ALL or rule.prefix_lists)
            for rule in rules_of(groups.ingress, one)
        )
    ]
    if closed:
        return warning(
            f"the gateways' security groups keep out some packets of VPC hosts to pods: into {listed(closed)}",
            "allow what VPC hosts send to pods in the gateways' security groups, from the VPC's range or the hosts' "
            "own groups; nothing to do where the rest is kept out on purpose",
        )
    return ok(f"all that {listed(map(str, ranges))} sends to pods comes into the gateways")


def rules_of(by_group: Mapping[str, Sequence[Rule]], one: Members) -> Iterator[Rule]:
    """The rules of all groups that these interfaces have."""
    for group in one.groups:
        yield from by_group.get(group, ())


def lets(rule: Rule, protocol: Literal["tcp", "udp"], port: int) -> bool:
    """Whether a rule allows this port."""
    if rule.protocol == _ALL:
        return True
    return rule.protocol in (protocol, _NUMBERS[protocol]) and rule.ports[0] <= port <= rule.ports[1]


def fits(rule: Rule, peer: Members) -> bool:
    """Whether a rule matches all these interfaces. A prefix list counts as a match, as its entries are not read."""
    covered: Collection[Cidr] = [a for a in peer.addresses if any(cidr.covers(a) for cidr in rule.cidrs)]
    return bool(rule.prefix_lists or rule.groups & peer.groups or len(covered) == len(peer.addresses))


def fits_range(rule: Rule, pods: Cidr) -> bool:
    """Whether a rule matches all pods of a range, which a group's id never does. A prefix list counts as a match."""
    return bool(rule.prefix_lists or any(cidr.covers(pods) for cidr in rule.cidrs))


CHECKS: tuple[Check[Facts], ...] = (
    Check(
        "VPC",
        "groups-overlay",
        "without it the tunnel's packets are dropped, and with them all of some pairs",
        _overlay,
    ),
    Check("VPC", "groups-pods", "without it packets that the VPC routes to pods are dropped on arrival", _pods),
)

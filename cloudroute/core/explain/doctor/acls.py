"""Checks of network ACLs: they have to allow packets between nodes and between pods of different subnets.

An ACL filters packets that enter or leave a subnet, and is stateless: a reply needs a rule of its own, to the port that
the request came from. Rules are evaluated by number, and the first match decides. Sources: "Network ACL rules",
"Ephemeral ports" in the Amazon VPC User Guide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from cloudroute.core.explain.doctor.facts import Acl, AclRule, Facts
from cloudroute.core.explain.doctor.findings import Check, Lacking, Outcome, graded, known, listed, ok, warning
from cloudroute.types import FAMILIES, Cidr, Family, Node, Subnet

_ALL = "-1"
_TCP, _UDP = "6", "17"
_NAMES = {_TCP: "TCP", _UDP: "UDP"}
_PORTS = (0, 65535)
EPHEMERAL = (32768, 60999)
"""Linux' ephemeral ports: Documentation/networking/ip-sysctl.rst, ip_local_port_range."""
_LARGEST_NUMBER = 32766
"""Largest number of a user's rule (API_CreateNetworkAclEntry); rules with larger numbers deny by default."""


class Refusal(NamedTuple):
    """Addresses and ports that a rule denies; `rule` is 0 where no rule allows them."""

    cidr: Cidr
    first: int
    last: int
    rule: int


def refused(rules: Sequence[AclRule], cidr: Cidr, first: int, last: int) -> Iterator[Refusal]:
    """Denied parts of these addresses and ports. `rules`: of one direction and one protocol, in order of evaluation."""
    for index, rule in enumerate(rules):
        if not rule.cidr.overlaps(cidr) or rule.ports[1] < first or last < rule.ports[0]:
            continue
        # A rule that matches a part decides about that part, and the rules after it about the rest.
        if not rule.cidr.covers(cidr):
            for half in _halves(cidr):
                yield from refused(rules[index:], half, first, last)
        elif first < rule.ports[0]:
            yield from refused(rules[index + 1 :], cidr, first, rule.ports[0] - 1)
            yield from refused(rules[index:], cidr, rule.ports[0], last)
        elif rule.ports[1] < last:
            yield from refused(rules[index:], cidr, first, rule.ports[1])
            yield from refused(rules[index + 1 :], cidr, rule.ports[1] + 1, last)
        elif not rule.allow:
            yield Refusal(cidr, first, last, rule.number if rule.number <= _LARGEST_NUMBER else 0)
        return
    yield Refusal(cidr, first, last, 0)


def _halves(cidr: Cidr) -> tuple[Cidr, Cidr]:
    lower = Cidr(cidr.family, cidr.base, cidr.length + 1)
    return lower, lower._replace(base=lower.end)


def _rules(acl: Acl, protocol: str, *, egress: bool) -> list[AclRule]:
    return [rule for rule in acl.rules if rule.egress == egress and rule.protocol in (_ALL, protocol)]


# --- the nodes' subnets -------------------------------------------------------------------------


class _Place(NamedTuple):
    """A subnet that nodes are in, its ACL, and the families of their addresses."""

    subnet: Subnet
    acl: Acl
    families: frozenset[Family]


def _places(facts: Facts, nodes: Iterable[Node]) -> list[_Place]:
    """The subnets of these nodes. Raises Lacking."""
    acls, subnets, instances = known(facts.aws.acls), known(facts.aws.subnets), known(facts.aws.instances)
    families: dict[str, set[Family]] = {}
    for node in nodes:
        instance = instances.get(node.instance_id)
        if instance is not None and instance.primary is not None:
            found = families.setdefault(instance.primary.subnet_id, set())
            found |= {Cidr.parse(address).family for address in instance.primary.addresses}
    by_subnet: Mapping[str, Acl] = {subnet: acl for acl in acls for subnet in acl.subnet_ids}
    places = [
        _Place(subnets[id_], by_subnet[id_], frozenset(found))
        for id_, found in sorted(families.items())
        if id_ in subnets and id_ in by_subnet
    ]
    if not places:
        raise Lacking("no node's subnet is known")
    return places


def _one_subnet(places: Sequence[_Place]) -> Outcome:
    return ok(f"all nodes are in {places[0].subnet.id}: an ACL filters only what enters or leaves a subnet")


# --- checks -------------------------------------------------------------------------------------


def _overlay(facts: Facts) -> Outcome:
    port, places = facts.tunnel_port(), _places(facts, known(facts.kubernetes.nodes).values())
    if len(places) == 1:
        return _one_subnet(places)
    closed: list[str] = []
    for here in places:
        for there in places:
            cidrs = _outer(here, there) if here is not there else []
            for egress, words in ((True, "to"), (False, "from")):
                rules = _rules(here.acl, _UDP, egress=egress)
                if found := [one for cidr in cidrs for one in refused(rules, cidr, port, port)]:
                    closed.append(
                        f"{_at(here.acl, [here], egress=egress)} {words} {there.subnet.id} ({_because(found)})"
                    )
    return graded(
        (f"UDP {port} is refused by", closed),
        fine=f"UDP {port} passes between the nodes' subnets, both ways",
        todo=f"allow UDP {port} between the nodes' subnets in their network ACLs, in both directions",
    )


def _outer(here: _Place, there: _Place) -> list[Cidr]:
    """The addresses of `there` that the tunnel goes to: IPv4 where both ends have it."""
    family = next((family for family in FAMILIES if family in here.families & there.families), None)
    return [cidr for cidr in there.subnet.cidrs if cidr.family == family]


def _pods(facts: Facts) -> Outcome:
    pools, places = facts.pools(), _places(facts, known(facts.kubernetes.nodes).values())
    if len(places) == 1:
        return _one_subnet(places)
    closed: list[str] = []
    partly: list[str] = []
    for acl in sorted({place.acl.id: place.acl for place in places}.values()):
        behind = [place for place in places if place.acl.id == acl.id]
        routed = {cidr.family for place in behind for cidr in place.subnet.cidrs}
        for egress in (False, True):
            for pool in (one for one in pools if one.family in routed):
                found = {p: list(refused(_rules(acl, p, egress=egress), pool, *_PORTS)) for p in _NAMES}
                every = [one for refusals in found.values() for one in refusals]
                if every:
                    words = f"{_at(acl, behind, egress=egress)} {'to' if egress else 'from'} {pool}: {_ports(found)}"
                    answers = any(one.first <= EPHEMERAL[1] and EPHEMERAL[0] <= one.last for one in every)
                    (closed if answers else partly).append(f"{words} ({_because(every)})")
    return graded(
        ("pods' addresses are refused by", closed and closed + partly),
        ("some ports of pods are refused by", partly),
        fine=f"{listed(map(str, pools))}: passes between the nodes' subnets, both ways",
        todo="allow the cluster CIDR with all protocols and ports in the network ACLs of the nodes' subnets, in "
        "and out",
    )


def gateways(facts: Facts) -> Outcome:
    """Whether the network ACLs of the gateways' subnets let in what VPC hosts send to pods."""
    places = _places(facts, facts.gateways().values())
    ranges = [cidr for cidr in facts.vpc_ranges() if cidr.family in facts.policy.families]
    closed: list[str] = []
    for acl in sorted({place.acl.id: place.acl for place in places}.values()):
        behind = [place for place in places if place.acl.id == acl.id]
        for cidr in ranges:
            found = {p: list(refused(_rules(acl, p, egress=False), cidr, *_PORTS)) for p in _NAMES}
            if every := [one for refusals in found.values() for one in refusals]:
                where = _at(acl, behind, egress=False)
                closed.append(f"{where} from {cidr}: {_ports(found)} ({_because(every)})")
    if closed:
        return warning(
            f"some packets of VPC hosts to pods are refused by {listed(closed)}",
            "allow the VPC's range into the gateways' subnets in their network ACLs; nothing to do where the rest is "
            "kept out on purpose",
        )
    return ok(f"all that {listed(map(str, ranges))} sends to pods passes into the gateways' subnets")


def _at(acl: Acl, places: Sequence[_Place], *, egress: bool) -> str:
    return f"{acl.id} {'out of' if egress else 'into'} {listed(place.subnet.id for place in places)}"


def _ports(found: Mapping[str, Sequence[Refusal]]) -> str:
    """The refused ports of each protocol, adjacent ranges joined."""
    words = []
    for protocol, refusals in found.items():
        ranges: list[tuple[int, int]] = []
        for first, last in sorted({(one.first, one.last) for one in refusals}):
            if ranges and first <= ranges[-1][1] + 1:
                ranges[-1] = (ranges[-1][0], max(last, ranges[-1][1]))
            else:
                ranges.append((first, last))
        words += [
            f"{_NAMES[protocol]} {first}-{last}" if first < last else f"{_NAMES[protocol]} {first}"
            for first, last in ranges
        ]
    return listed(words)


def _because(refusals: Sequence[Refusal]) -> str:
    numbers = sorted({one.rule for one in refusals})
    return listed(f"rule {number}" if number else "no rule allows it" for number in numbers)


CHECKS: tuple[Check[Facts], ...] = (
    Check("VPC", "acls-overlay", "an ACL drops the tunnel's packets between subnets, and tells neither end", _overlay),
    Check(
        "VPC",
        "acls-pods",
        "an ACL drops packets that the VPC routes to pods of other subnets, or the answers, and tells neither end",
        _pods,
    ),
)

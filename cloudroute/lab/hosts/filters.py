"""Security groups and network ACLs as nftables rules, computed from EC2's state. Runs no commands.

A **security group** acts where packets leave and enter an ENI, also inside a subnet. An ENI's groups add up; a group's
id stands for the addresses of the ENIs that have it, never for pods' ("Security group rules"). Flows are remembered for
each ENI, by addresses and ports, of other protocols by addresses: their packets pass both ways whatever the rules say,
also after these have changed, until they pause ("Amazon EC2 security group connection tracking"). One figure stands for
the pause, where AWS has one for each protocol. An error of ICMP passes to an end of a known flow: "Path MTU Discovery"
asks for a rule in ACLs, and for none in groups. An ENI whose groups admit everything has no rules here.

A **network ACL** acts where packets enter and leave a subnet, not as they are routed within it; its entries are
evaluated by their numbers, and an answer needs an entry of its own ("Network ACL basics").

Neither filters packets to and from the Resolver, the metadata service and the VPC's router ("Network ACL basics";
"Control traffic to your AWS resources using security groups"). The pages are of the Amazon EC2 and the Amazon VPC User
Guide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cloudroute.lab.hosts.picture import Eni, Filter, Filters, Picture

PAUSE_SECONDS = 180
"""A flow that pauses for longer is forgotten: AWS's time for UDP streams."""
_ANY = {"ip": "0.0.0.0/0", "ip6": "::/0"}
_NUMBERS = {"icmp": "1", "tcp": "6", "udp": "17", "icmpv6": "58"}
_ICMP = {"1": "icmp", "58": "icmpv6"}
_ICMP_OF = {"ip": "icmp", "ip6": "icmpv6"}
_ALL_PORTS = (0, 65535)
_ERRORS = {
    "ip": "icmp type { destination-unreachable, time-exceeded, parameter-problem }",
    "ip6": "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem }",
}
_ADDRESS = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}
GROUPS = "bridge groups"
"""Their table: family and name."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One direction through an ENI."""

    chain: str
    hook: str
    port: str
    """nftables' name of the device of the ENI."""
    own: str
    peer: str
    """Its name of the address, and of the port, on the ENI's side and on the other."""


_WAYS = (
    _Way("outward", "prerouting", "iifname", "saddr", "daddr"),
    _Way("inward", "postrouting", "oifname", "daddr", "saddr"),
)
_PORTS = {"saddr": "sport", "daddr": "dport"}


def flow_sets() -> list[str]:
    """Return the names of the sets that remember flows."""
    return [f"{name}_{family}" for name in ("flows", "others", "ends") for family in _ANY]


def group_rules(picture: Picture, ports: Mapping[str, Eni], exempt: Sequence[str]) -> str:
    """Return the script that brings the groups' table to this state. Known flows stay.

    `ports` are the attached ENIs by their devices; `exempt` are addresses of AWS's own services.
    """
    limited = {port: eni for port, eni in ports.items() if not _is_open(picture, eni)}
    kinds = sorted({eni.groups for eni in limited.values()})
    members = _members(picture)
    lines = [f"add table {GROUPS}", *_sets(), f"flush table {GROUPS}"]
    for way in _WAYS:
        base = f"{{ type filter hook {way.hook} priority 10; policy accept; }}"
        lines += [f"add chain {GROUPS} keep_{way.chain}", f"add chain {GROUPS} {way.chain} {base}"]
        lines += [f"add chain {GROUPS} {way.chain}_{number}" for number in range(len(kinds))]
        if not limited:
            continue
        lines += [f"add rule {GROUPS} keep_{way.chain} {rule}" for rule in _keep(way)]
        lines += [f"add rule {GROUPS} {way.chain} {rule}" for rule in _known(way, limited, exempt)]
        verdicts = ", ".join(
            f'"{port}" : goto {way.chain}_{kinds.index(eni.groups)}' for port, eni in sorted(limited.items())
        )
        lines.append(f"add rule {GROUPS} {way.chain} {way.port} vmap {{ {verdicts} }}")
        for number, kind in enumerate(kinds):
            for rule in dict.fromkeys(_matches(picture, kind, way, members)):
                lines.append(f"add rule {GROUPS} {way.chain}_{number} {rule} goto keep_{way.chain}")
            lines.append(f"add rule {GROUPS} {way.chain}_{number} counter drop")
    return "\n".join(lines) + "\n"


def acl_rules(acls: Mapping[str, Filters]) -> str:
    """Return the script that brings the table of network ACLs to this state. `acls` are those of bridges."""
    lines = [
        "add table inet acls",
        "add chain inet acls forward { type filter hook forward priority 10; policy accept; }",
        "flush table inet acls",
    ]
    for bridge, acl in sorted(acls.items()):
        for direction, here, there, entries, address in (
            ("outward", "iifname", "oifname", acl.outward, "daddr"),
            ("inward", "oifname", "iifname", acl.inward, "saddr"),
        ):
            if _allows_all(entries):
                continue
            chain = f"{direction}_{bridge}"
            lines += [
                f"add chain inet acls {chain}",
                f'add rule inet acls forward {here} "{bridge}" {there} != "{bridge}" jump {chain}',
            ]
            for entry in entries:
                words = f"{_family(entry.peer)} {address} {entry.peer} {_what(entry)}"
                lines.append(f"add rule inet acls {chain} {words} {'return' if entry.allow else 'counter drop'}")
            lines.append(f"add rule inet acls {chain} counter drop")
    return "\n".join(lines) + "\n"


# --- groups ---------------------------------------------------------------------------------------


def _members(picture: Picture) -> dict[str, list[str]]:
    """Addresses of the ENIs that have a group, by its id."""
    found: dict[str, list[str]] = {}
    for eni in picture.enis.values():
        for group in eni.groups:
            found.setdefault(group, []).extend(eni.addresses)
    return found


def _is_open(picture: Picture, eni: Eni) -> bool:
    """Whether an ENI's groups admit everything of its families, both ways."""
    families = {_family(address) for address in eni.addresses}
    groups = [picture.groups[id_] for id_ in eni.groups]
    return all(
        families <= {_family(rule.peer) for rule in rules if _is_all(rule)}
        for rules in (
            [rule for group in groups for rule in group.inward],
            [rule for group in groups for rule in group.outward],
        )
    )


def _sets() -> Iterator[str]:
    for family, address in _ADDRESS.items():
        for name, type_ in (
            ("flows", f"ifname . inet_proto . {address} . {address} . inet_service . inet_service"),
            ("others", f"ifname . inet_proto . {address} . {address}"),
            ("ends", f"ifname . {address}"),
        ):
            options = f"type {type_}; flags dynamic,timeout; timeout {PAUSE_SECONDS}s;"
            yield f"add set {GROUPS} {name}_{family} {{ {options} }}"


def _flow(way: _Way, family: str) -> str:
    """nftables' expression of a packet's flow, the ENI's side first."""
    ends = f"{family} {way.own} . {family} {way.peer} . th {_PORTS[way.own]} . th {_PORTS[way.peer]}"
    return f"{way.port} . meta l4proto . {ends}"


def _pair(way: _Way, family: str) -> str:
    return f"{way.port} . meta l4proto . {family} {way.own} . {family} {way.peer}"


def _keep(way: _Way) -> Iterator[str]:
    """Remember the flow of a packet that may pass, or that it goes on."""
    for family in _ANY:
        yield f"meta l4proto {{ tcp, udp }} update @flows_{family} {{ {_flow(way, family)} }}"
        yield f"meta l4proto != {{ tcp, udp }} update @others_{family} {{ {_pair(way, family)} }}"
        for end in (way.own, way.peer):
            yield f"update @ends_{family} {{ {way.port} . {family} {end} }}"
    yield "accept"


def _known(way: _Way, limited: Collection[str], exempt: Sequence[str]) -> Iterator[str]:
    """Let pass what no group filters, and what belongs to a known flow."""
    ports = ", ".join(f'"{port}"' for port in sorted(limited))
    yield f"{way.port} != {{ {ports} }} accept"
    yield "meta protocol != { ip, ip6 } accept"
    yield "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept"
    # The first fragment alone has ports: without it the others are worth nothing.
    yield "ip frag-off & 0x1fff != 0 accept"
    yield "frag frag-off != 0 accept"
    for family in _ANY:
        own = ", ".join(address for address in exempt if _family(address) == family)
        yield f"{family} {way.peer} {{ {own} }} accept"
        yield f"meta l4proto {{ tcp, udp }} {_flow(way, family)} @flows_{family} goto keep_{way.chain}"
        yield f"{_ERRORS[family]} {way.port} . {family} daddr @ends_{family} accept"
        # A request needs a rule; its reply has the addresses of a known one.
        for kind in (f"{_ICMP_OF[family]} type != echo-request", "meta l4proto != { tcp, udp, icmp, icmpv6 }"):
            yield f"{kind} {_pair(way, family)} @others_{family} goto keep_{way.chain}"


def _matches(picture: Picture, groups: Sequence[str], way: _Way, members: Mapping[str, list[str]]) -> Iterator[str]:
    for group in groups:
        rules = picture.groups[group].outward if way.chain == "outward" else picture.groups[group].inward
        for rule in rules:
            cidrs = members.get(rule.peer, []) if rule.peer.startswith("sg-") else [rule.peer]
            for family in _ANY:
                if own := ", ".join(cidr for cidr in cidrs if _family(cidr) == family):
                    yield f"{family} {way.peer} {{ {own} }} {_what(rule)}".rstrip()


# --- one rule -------------------------------------------------------------------------------------


def _what(rule: Filter) -> str:
    """Protocol and ports of a rule, as nftables writes them."""
    protocol = _NUMBERS.get(rule.protocol, rule.protocol)
    if protocol == "-1":
        return ""
    words = f"meta l4proto {protocol}"
    if name := _ICMP.get(protocol):
        wanted = {"type": rule.first, "code": rule.last}
        return " ".join([words, *(f"{name} {what} {value}" for what, value in wanted.items() if value >= 0)])
    return words if (rule.first, rule.last) in ((-1, -1), _ALL_PORTS) else f"{words} th dport {rule.first}-{rule.last}"


def _family(peer: str) -> str:
    return "ip6" if ":" in peer else "ip"


def _is_all(rule: Filter) -> bool:
    return rule.protocol == "-1" and rule.peer in _ANY.values()


def _allows_all(entries: Sequence[Filter]) -> bool:
    """Whether the first entry of each family allows everything."""
    first = {family: next((one for one in entries if _family(one.peer) == family), None) for family in _ANY}
    return all(one is None or (one.allow and _is_all(one)) for one in first.values())

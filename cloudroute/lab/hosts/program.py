"""The VPC as `ip` and `nft` commands, computed from EC2's state. Runs none of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from cloudroute.lab.hosts.picture import Eni, Picture

ROUTER, INTERNET = "vpc", "inet"
"""Name suffixes of its two namespaces: the router's, and the internet's."""
UPLINK = "uplink"
"""The router's device toward the internet."""
UPLINK_NETWORKS = (("198.51.100.254", "198.51.100.1", 24), ("2001:db8:1::fe", "2001:db8:1::1", 64))
"""The network between router and internet, IPv4 and IPv6: the router's address, the internet's, the prefix length."""
INTERNET_ADDRESSES = tuple(theirs for _, theirs, _ in UPLINK_NETWORKS)
GATEWAY_V6 = "fe80::1"
"""Link-local IPv6 gateway of every subnet, as a VPC's router announces it."""
UPLINK_TABLE = 100
"""Kernel routing table for packets from the internet or the Resolver; the subnets' tables follow it."""
METADATA = "169.254.169.254"
"""Address of the instance metadata service."""
RESOLVER_LINK_LOCAL = ("169.254.169.253", "fd00:ec2::253")
"""Fixed addresses of the Resolver in any VPC, IPv4 and IPv6."""

# Rules of the bridge family see frames within a subnet too. The sets of pairs hold the addresses of each
# port. A VPC carries no multicast but neighbour discovery, and its router sends no redirects. AWS's own services at
# link-local addresses belong to each ENI, and answer its addresses only, whether its check is on or off.
RULES = """
table bridge vpc {
  set checked { type ifname; }
  set own_v4 { type ifname . ipv4_addr; }
  set own_v6 { type ifname . ipv6_addr; }
  set blocked { type inet_proto . inet_service; }
  set narrow { type ifname; }
  chain from_eni {
    type filter hook prerouting priority 0; policy accept;
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    ip daddr 224.0.0.0/4 drop
    ip6 daddr ff00::/8 drop
    meta l4proto . th dport @blocked counter drop
    iifname @narrow meta length > 1500 counter drop
    ip daddr 169.254.168.0/22 iifname . ip saddr != @own_v4 counter drop
    ip6 daddr fd00:ec2::/32 iifname . ip6 saddr != @own_v6 counter drop
    iifname @checked iifname . ip saddr != @own_v4 counter drop
    iifname @checked iifname . ip6 saddr != @own_v6 counter drop
  }
  chain to_eni {
    type filter hook postrouting priority 0; policy accept;
    icmpv6 type nd-redirect drop
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    ip6 daddr ff00::/8 drop
    oifname @narrow meta length > 1500 counter drop
    oifname @checked oifname . ip daddr != @own_v4 counter drop
    oifname @checked oifname . ip6 daddr != @own_v6 counter drop
  }
}
"""


def port_of(interface_id: str) -> str:
    """Return the router's device for an ENI: a device's name has at most 15 characters."""
    return f"p-{interface_id[-12:]}"


def bridge_of(subnet_id: str) -> str:
    """Return the router's device for a subnet."""
    return f"s-{subnet_id[-12:]}"


def gateways(cidrs: Sequence[str]) -> list[str]:
    """Return the router's addresses on a subnet, with their prefix lengths: IPv4, then IPv6 if it has that."""
    networks = [ipaddress.ip_network(cidr) for cidr in cidrs]
    return [f"{net[1]}/{net.prefixlen}" if net.version == 4 else f"{GATEWAY_V6}/64" for net in networks]


def dhcp(eni: Eni, cidrs: Sequence[str]) -> list[str]:
    """Return a host's DHCP configuration for its NIC, as `ip` commands."""
    lines = ["link set eth0 up"]
    for cidr, gateway in zip(cidrs, gateways(cidrs), strict=True):
        net = ipaddress.ip_network(cidr)
        if address := eni.address(ipv6=net.version == 6):
            any_ = "::/0" if net.version == 6 else "0.0.0.0/0"
            lines.append(f"address add {address}/{net.prefixlen} dev eth0 {'nodad' if net.version == 6 else ''}")
            lines.append(f"route replace {any_} via {gateway.partition('/')[0]} dev eth0")
    return lines


def elements_of(eni: Eni) -> list[str]:
    """Return the nft set elements of an ENI."""
    port = f'"{port_of(eni.id)}"'
    own = [f"own_v{6 if ':' in address else 4} {{ {port} . {address} }}" for address in eni.addresses]
    return [*own, *([f"checked {{ {port} }}"] if eni.checked else [])]


def element_of_block(protocol: str, port: int) -> str:
    """Return the nft set element of a blocked port."""
    return f"blocked {{ {protocol} . {port} }}"


def element_of_narrow(eni: Eni) -> str:
    """Return the nft set element of an ENI whose link is narrow."""
    return f'narrow {{ "{port_of(eni.id)}" }}'


def routes_of(picture: Picture, tables: Mapping[str, int], enis: Mapping[str, Eni]) -> dict[tuple[int, str], str]:
    """Return all entries of all kernel tables: arguments of `ip route`, by table and destination.

    `tables` are the kernel's, by subnet id. Local CIDRs become their subnets; traffic to the rest of them is dropped.
    """
    local = {cidr: f"{cidr} dev {bridge_of(id_)}" for id_, cidrs in picture.subnets.items() for cidr in cidrs}
    wanted = {(UPLINK_TABLE, cidr): words for cidr, words in local.items()}
    for subnet_id, table in tables.items():
        # Without these the lookup would continue in the next table.
        entries = {cidr: f"blackhole {cidr}" for cidr in ("0.0.0.0/0", "::/0")} | local
        for destination, target in picture.routes.get(subnet_id, {}).items():
            if target != "local" or destination not in local:
                entries[destination] = _words(destination, target, enis)
        wanted |= {(table, destination): words for destination, words in entries.items()}
    return wanted


def _words(destination: str, target: str, enis: Mapping[str, Eni]) -> str:
    ipv6 = ":" in destination
    if target == "internet":
        return f"{destination} via {INTERNET_ADDRESSES[ipv6]} dev {UPLINK}"
    if (eni := enis.get(target)) and (address := eni.address(ipv6=ipv6)):
        return f"{destination} via {address} dev {bridge_of(eni.subnet_id)} onlink"
    return f"blackhole {destination}"


def resolver_addresses(cidrs: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses of a VPC's Resolver: `cidrs` are the VPC's, the primary one first."""
    primary = ipaddress.ip_network(cidrs[0])
    return str(primary[2]), *RESOLVER_LINK_LOCAL


def router_rules(cidrs: Sequence[str]) -> str:
    """Return the rules that limit the internet gateway and the Resolver to source addresses of the VPC.

    The real gateway translates these addresses only, and so sends no others out.
    """
    out, asked = [], []
    for family, protocol, ipv6 in (("ip", "ipv4", False), ("ip6", "ipv6", True)):
        listed = ", ".join(cidr for cidr in cidrs if (":" in cidr) == ipv6)
        foreign = f"{family} saddr != {{ {listed} }} counter drop" if listed else f"meta nfproto {protocol} drop"
        servers = ", ".join(address for address in resolver_addresses(cidrs) if (":" in address) == ipv6)
        out.append(f"oifname {UPLINK} {foreign}")
        asked.append(f"{family} daddr {{ {servers} }} {foreign}")
    return f"table inet vpc {{\n{_chain('internet', 'forward', out)}{_chain('resolver', 'input', asked)}}}\n"


def _chain(name: str, hook: str, rules: Sequence[str]) -> str:
    lines = "".join(f"    {rule}\n" for rule in rules)
    return f"  chain {name} {{\n    type filter hook {hook} priority 0; policy accept;\n{lines}  }}\n"

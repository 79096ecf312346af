"""The router namespace of the VPC, brought to a wanted state by the fewest commands.

No other process changes the namespace, so its state is remembered, not read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.filters import GROUPS, acl_rules, flow_sets, group_rules
from cloudroute.lab.hosts.netns import Namespace, execute
from cloudroute.lab.hosts.picture import Eni, Picture
from cloudroute.lab.hosts.program import (
    METADATA,
    RULES,
    UPLINK,
    UPLINK_NETWORKS,
    UPLINK_TABLE,
    bridge_of,
    dhcp,
    element_of_block,
    element_of_narrow,
    elements_of,
    gateways,
    port_of,
    resolver_addresses,
    router_rules,
    routes_of,
)

INTERNET_MTU = 1500

_RULE_PRIORITY = "100"
_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
}


class Router:
    """The router's namespace, and the internet's behind it. `mtu` in bytes, for everything inside the VPC."""

    def __init__(self, namespace: Namespace, internet: Namespace, cidrs: Sequence[str], mtu: int) -> None:
        self.namespace = namespace
        self.internet = internet
        self._cidrs = cidrs
        self._mtu = mtu
        self._tables: dict[str, int] = {}
        self._enis: dict[str, Eni] = {}
        self._elements: set[str] = set()
        self._neighbours: dict[tuple[str, str], str] = {}
        self._routes: dict[tuple[int, str], str] = {}
        self._filters = ""

    def create(self) -> None:
        """Create both namespaces, without subnets."""
        for namespace in (self.namespace, self.internet):
            namespace.create()
            namespace.sysctl(_SYSCTLS)
        self.namespace.run("nft", "-f", "-", stdin=RULES + router_rules(self._cidrs))
        inner = f"eth0 mtu {INTERNET_MTU} netns {self.internet.name}"
        outer = f"{UPLINK} mtu {INTERNET_MTU} netns {self.namespace.name}"
        execute(*f"ip link add {outer} type veth peer {inner}".split())
        out, back = ["link set eth0 up"], [f"link set {UPLINK} up"]
        for ours, theirs, length in UPLINK_NETWORKS:
            back.append(f"address add {ours}/{length} dev {UPLINK} nodad")
            out.append(f"address add {theirs}/{length} dev eth0 nodad")
        self.namespace.batch(back)
        # The internet has routes to the VPC only.
        ways = [f"route add {cidr} via {UPLINK_NETWORKS[':' in cidr][0]}" for cidr in self._cidrs]
        self.internet.batch([*out, *ways])
        for device in (UPLINK, "lo"):
            self._add_rules(device, UPLINK_TABLE)
        own = (*resolver_addresses(self._cidrs), METADATA)
        self.namespace.batch([f"address add {address} dev lo nodad" for address in own])

    def delete(self) -> None:
        """Remove both namespaces."""
        self.namespace.delete()
        self.internet.delete()

    def show(
        self,
        picture: Picture,
        hosts: Mapping[str, Namespace],
        blocked: Collection[tuple[str, int]],
        narrow: Collection[str],
    ) -> None:
        """Apply `picture`. `hosts` are the namespaces of instances; an ENI without a host has no port.

        Ports in `blocked` are closed; the links of instances in `narrow` lose packets of more than 1,500 bytes.
        Removed ports go before their rules, and new ports come after theirs: no frame passes an unchecked port.
        """
        enis = {id_: eni for id_, eni in picture.enis.items() if id_ in hosts}
        for subnet_id in picture.subnets.keys() - self._tables.keys():
            self._add_subnet(subnet_id, picture.subnets[subnet_id])
        for id_ in [id_ for id_, eni in self._enis.items() if id_ not in enis or enis[id_].id != eni.id]:
            self._unplug(self._enis.pop(id_))
        loose = {element_of_block(*one) for one in blocked}
        loose |= {element_of_narrow(enis[id_]) for id_ in narrow if id_ in enis}
        self._show_elements(loose.union(*map(elements_of, enis.values())))
        self._show_filters(picture, {port_of(eni.id): eni for eni in enis.values()})
        self._show_neighbours({(bridge_of(eni.subnet_id), a): eni.mac for eni in enis.values() for a in eni.addresses})
        for id_ in enis.keys() - self._enis.keys():
            self._plug(enis[id_], hosts[id_], picture.subnets[enis[id_].subnet_id])
            self._enis[id_] = enis[id_]
        self._enis = enis
        self._show_routes(routes_of(picture, self._tables, {eni.id: eni for eni in enis.values()}))

    # --- parts ------------------------------------------------------------------------------------

    def _add_subnet(self, subnet_id: str, cidrs: Sequence[str]) -> None:
        bridge, table = bridge_of(subnet_id), UPLINK_TABLE + 1 + len(self._tables)
        # A MAC of its own: by default a bridge takes its ports' lowest one, which would change while hosts use it.
        mac = f"02:ff:00:00:{table >> 8:02x}:{table & 255:02x}"
        lines = [
            f"link add {bridge} address {mac} mtu {self._mtu} type bridge mcast_snooping 0",
            f"link set {bridge} up",
            *(f"address add {address} dev {bridge} nodad" for address in gateways(cidrs)),
        ]
        self.namespace.batch(lines)
        self._add_rules(bridge, table)
        self._tables[subnet_id] = table

    def _add_rules(self, device: str, table: int) -> None:
        rule = f"rule add iif {device} lookup {table} priority {_RULE_PRIORITY}"
        for family in ("-4", "-6"):
            self.namespace.batch([rule], family)

    def _plug(self, eni: Eni, host: Namespace, cidrs: Sequence[str]) -> None:
        port, mtu = port_of(eni.id), self._mtu
        inner = f"eth0 address {eni.mac} mtu {mtu} netns {host.name}"
        execute(*f"ip link add {port} mtu {mtu} netns {self.namespace.name} type veth peer {inner}".split())
        try:
            lines = [f"master {bridge_of(eni.subnet_id)}", "type bridge_slave learning off flood off", "up"]
            self.namespace.batch([f"link set {port} {line}" for line in lines])
            execute(*f"bridge -n {self.namespace.name} fdb replace {eni.mac} dev {port} master static".split())
            # On a real machine duplicate address detection ends before kubelet starts. Here it would delay the first
            # packets of pods, since the host can't resolve its gateway meanwhile.
            host.sysctl({"net/ipv6/conf/eth0/accept_dad": "0"})
            host.batch(dhcp(eni, cidrs))
        except CloudrouteError:
            self._unplug(eni)  # otherwise the next attempt would find it in the way
            raise

    def _unplug(self, eni: Eni) -> None:
        """Remove the port; it may be gone already with its host's namespace."""
        self.namespace.batch([f"link del {port_of(eni.id)}"], check=False)

    def _show_elements(self, wanted: set[str]) -> None:
        verbs = (("delete", self._elements - wanted), ("add", wanted - self._elements))
        lines = [f"{verb} element bridge vpc {element}" for verb, elements in verbs for element in sorted(elements)]
        if lines:
            self.namespace.run("nft", "-f", "-", stdin="\n".join(lines) + "\n")
        self._elements = wanted

    def _show_filters(self, picture: Picture, ports: Mapping[str, Eni]) -> None:
        exempt = [address.partition("/")[0] for cidrs in picture.subnets.values() for address in gateways(cidrs)]
        exempt = list(dict.fromkeys([*exempt, *resolver_addresses(self._cidrs), METADATA]))
        wanted = group_rules(picture, ports, exempt)
        wanted += acl_rules({bridge_of(id_): picture.acls[id_] for id_ in picture.subnets})
        if wanted != self._filters:
            self.namespace.run("nft", "-f", "-", stdin=wanted)
            self._filters = wanted

    def forget_flows(self) -> None:
        """Forget the flows that security groups have admitted, as if all had paused."""
        self.namespace.run("nft", "-f", "-", stdin="".join(f"flush set {GROUPS} {name}\n" for name in flow_sets()))

    def _show_neighbours(self, wanted: dict[tuple[str, str], str]) -> None:
        gone = [f"neigh del {address} dev {bridge}" for bridge, address in self._neighbours.keys() - wanted.keys()]
        lines = [
            f"neigh replace {address} lladdr {mac} dev {bridge} nud permanent"
            for (bridge, address), mac in wanted.items()
            if self._neighbours.get((bridge, address)) != mac
        ]
        self.namespace.batch(gone, check=False)
        self.namespace.batch(lines)
        self._neighbours = wanted

    def _show_routes(self, wanted: dict[tuple[int, str], str]) -> None:
        lines = [
            f"route replace {words} table {table}"
            for (table, destination), words in wanted.items()
            if self._routes.get((table, destination)) != words
        ]
        gone = self._routes.keys() - wanted.keys()
        self.namespace.batch(lines)
        # The kernel has removed those of a deleted device.
        self.namespace.batch([f"route del {self._routes[key]} table {key[0]}" for key in sorted(gone)], check=False)
        self._routes = wanted

"""Tables of this node's kernel, as far as they can be the cause of a failed check. Nothing is written.

Of `cloudroute.adapters` only reading parts are used, from the agent's container: on the host's network, as root with
NET_ADMIN.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cloudroute.adapters.netlink.channel import Channel
from cloudroute.adapters.netlink.devices import Device, Devices
from cloudroute.adapters.netlink.host import read_host
from cloudroute.adapters.netlink.neighbours import Fdb
from cloudroute.adapters.netlink.nexthops import Nexthops
from cloudroute.adapters.netlink.routes import Routes
from cloudroute.adapters.netlink.rules import Rules
from cloudroute.adapters.nft.client import RulesetTable
from cloudroute.adapters.nft.command import Command
from cloudroute.adapters.nft.listing import ALTERED
from cloudroute.adapters.nft.objects import Chain, list_chains, list_tables
from cloudroute.adapters.sysctl import Sysctls
from cloudroute.dataplane import MAIN, TABLE, TUNNELS, Nexthop, Route, RouteKey, Rule, network, written
from cloudroute.errors import KernelError
from cloudroute.probe.failure import Failed

_DEVICES = Path("/sys/class/net")
_SYSCTLS = (
    "net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables",
    "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/rp_filter",
)  # fmt: skip
_LEGACY = {"ipv4": Path("/proc/net/ip_tables_names"), "ipv6": Path("/proc/net/ip6_tables_names")}
_KUBE_PROXY_TABLE, _KUBE_PROXY_CHAIN, _KUBE_PROXY_DEVICE = "kube-proxy", "KUBE-SERVICES", "kube-ipvs0"


def read() -> dict[str, Any]:
    """Read all; counts are of our own entries. Fails without NET_ADMIN, or without nft.

    `sysctls` by path below /proc/sys, null for one that this kernel lacks: without br_netfilter those of net/bridge.
    `links` by name, without loopback and pods' veths; `bridged`: veths by the bridge that they are ports of. `peers`:
    device by pod CIDR, "" for a route without its nexthop. `masquerade`: whether our nftables table and its chain are
    there, and whether others have altered the table. `services`: whether kube-proxy's objects are there, by its
    mode; `legacy` are the families with iptables of the old kind (xtables), whose chains are not seen here.
    """
    try:
        return _read()
    except KernelError as error:
        raise Failed("other", str(error)) from None


def _read() -> dict[str, Any]:
    command, channel = Command(), Channel()
    try:
        devices = Devices(channel)
        links = list(_links(channel, devices))
        tables, chains = list_tables(command), list_chains(command)
        return {
            "sysctls": _sysctls(links),
            "links": {device.name: _link(device) for device in links},
            "bridged": {device.name: _ports(device) for device in links if device.link.kind == "bridge"},
            **_entries(channel, devices),
            "tables": [f"{family} {name}" for family, name in tables],
            "masquerade": {
                "table": ("inet", TABLE) in tables,
                "chain": any(chain.table == TABLE and chain.type == "nat" for chain in chains),
                "altered": RulesetTable(command).read(()).get(TABLE) == ALTERED,
            },
            "services": _services(devices, chains),
        }
    finally:
        channel.close()


def _links(channel: Channel, devices: Devices) -> Iterator[Device]:
    """All devices but loopback and veths, of which only a NIC counts: a lab's."""
    nic = ""
    with contextlib.suppress(KernelError):  # no default route
        nic = read_host(channel, devices, "").interface
    for device in devices.all():
        if device.name == nic or (device.link.kind != "veth" and device.name != "lo"):
            yield device


def _link(device: Device) -> dict[str, Any]:
    """Properties of a link. A device that has gone meanwhile has no counters."""
    folder = _DEVICES / device.name
    facts: dict[str, Any] = {"kind": device.link.kind, "mtu": device.link.mtu, "up": device.link.up}
    with contextlib.suppress(OSError):
        facts["carrier"] = (folder / "operstate").read_text().strip()
        for counter in ("rx_packets", "tx_packets", "rx_dropped", "tx_dropped", "rx_errors", "tx_errors"):
            facts[counter] = int((folder / "statistics" / counter).read_text())
    return facts


def _ports(bridge: Device) -> list[str]:
    folder = _DEVICES / bridge.name / "brif"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def _sysctls(links: list[Device]) -> dict[str, int | None]:
    names = [*_SYSCTLS, *(f"net/ipv4/conf/{device.name}/rp_filter" for device in links)]
    sysctls = Sysctls()
    try:
        found = sysctls.read(names)
    finally:
        sysctls.close()
    return {name: int(found[name]) if name in found else None for name in names}


def _entries(channel: Channel, devices: Devices) -> dict[str, Any]:
    routes = Routes(channel, devices).read(())
    nexthops = Nexthops(channel, devices).read(())
    rules = Rules(channel).read(())
    main = {key: route for key, route in routes.items() if key.table == MAIN}
    return {
        "routes": len(main),
        "nexthops": len(nexthops),
        "fdb": sum(len(Fdb(channel, devices, name).read(())) for name in TUNNELS),
        "peers": dict(_peers(main, nexthops)),
        "gateway": {"rules": [_words(rule) for rule in rules], "routes": len(routes) - len(main)},
    }


def _peers(routes: Mapping[RouteKey, Route], nexthops: Mapping[int, Nexthop]) -> Iterator[tuple[str, str]]:
    for key, route in routes.items():
        if route.nexthop:
            nexthop = nexthops.get(route.nexthop)
            yield str(network(key.destination, key.length)), nexthop.device if nexthop else ""


def _words(rule: Rule) -> str:
    return f"iif {rule.interface} to {written(rule.destination)}/{rule.length} lookup {rule.table}"


def _services(devices: Devices, chains: list[Chain]) -> dict[str, Any]:
    return {
        "nftables": any(chain.table == _KUBE_PROXY_TABLE for chain in chains),
        "iptables": any(chain.name == _KUBE_PROXY_CHAIN for chain in chains),
        "ipvs": devices.named(_KUBE_PROXY_DEVICE) is not None,
        "legacy": [family for family, path in _LEGACY.items() if path.exists() and "nat" in path.read_text().split()],
    }

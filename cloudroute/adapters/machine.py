"""Facts of the machine that `cloudroute doctor` runs on: can it be a node, and which other networks are on it?

Kernel support is not guessed from versions and modules: the agent's own tables are made in a network namespace that is
removed when the trial ends. Nothing that the machine uses is touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

from cloudroute.adapters import networkd
from cloudroute.adapters.cni import find_plugins, shadowing
from cloudroute.adapters.netlink import addresses, wire
from cloudroute.adapters.netlink.channel import Channel
from cloudroute.adapters.netlink.devices import OWN, Device, Devices
from cloudroute.adapters.netlink.host import read_host
from cloudroute.adapters.netlink.netlink import Netlink
from cloudroute.adapters.nft.client import Nft
from cloudroute.adapters.nft.command import Command
from cloudroute.adapters.nft.objects import list_chains
from cloudroute.adapters.nft.ruleset import Object
from cloudroute.adapters.sysctl import PROC_SYS, writable_root
from cloudroute.core.explain.doctor.facts import MachineFacts
from cloudroute.core.explain.doctor.findings import Unknown
from cloudroute.core.explain.doctor.policies import QUEUE
from cloudroute.dataplane import TABLE, VTEP, AddressKey, Host, Link, Nexthop, Ruleset, Vxlan, network
from cloudroute.errors import KernelError
from cloudroute.types import Cidr

_NEW_NETWORK = 0x4000_0000
_NET_ADMIN = 12
_FOREIGN_PREFIXES = ("flannel", "cni0", "cilium_", "vxlan.calico", "cali", "weave", "kube-bridge", "antrea", "ovn")
"""Prefixes of the names of other pod networks' devices."""
_BRIDGE_NETFILTER = ("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables")
_MAC = bytes.fromhex("0a58c0000200")
_OWN, _VIA = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))
"""Addresses for documentation, which no network uses (TEST-NET-1)."""


def look(cni_conf_dir: str, vni: int, port: int) -> MachineFacts | Unknown:
    """Return all facts; Unknown on another system than Linux, or without root. `vni` and `port` are the overlay's."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return Unknown("not root on Linux: run doctor on a node, with sudo or in the agent's pod")
    try:
        channel = Channel()
    except OSError as error:
        return Unknown(f"the kernel's network can't be read: {error}")
    try:
        devices = Devices(channel)
        host = _host(channel, devices)
        found = [words for device in devices.all() if (words := _conflict(device, vni, port))]
        bridges = {device.name: _networks(channel, device) for device in devices.all("bridge")}
    finally:
        channel.close()
    plugins, searched = find_plugins()
    sysctl = f"{writable_root()}/net/ipv4/ip_forward"
    return MachineFacts(
        host=host,
        tried=_in_new_namespace(lambda: _try(port)),
        net_admin=_has(_NET_ADMIN),
        sysctls="" if os.access(sysctl, os.W_OK) else f"{sysctl} can't be written",
        plugins=plugins,
        searched=searched,
        shadowing=shadowing(cni_conf_dir),
        devices=found,
        forward_drop=_forward_drop(),
        networkd=networkd.look(),
        bridges=bridges,
        bridge_netfilter=all(map(_is_on, _BRIDGE_NETFILTER)),
    )


def _host(channel: Channel, devices: Devices) -> Host | Unknown:
    try:
        return read_host(channel, devices, "")
    except KernelError as error:
        return Unknown(str(error))


def _networks(channel: Channel, device: Device) -> list[Cidr]:
    body = addresses.HEADER.pack(wire.AF_UNSPEC, 0, 0, 0, device.ifindex)
    found = channel.dump(wire.RTM_GETADDR, body, addresses.read)
    return [network(address, length) for scope, address, length in found if address and scope == wire.SCOPE_GLOBAL]


def _is_on(sysctl: str) -> bool:
    """Whether a sysctl is 1; one that does not exist is not."""
    with contextlib.suppress(OSError):
        return Path(PROC_SYS, sysctl).read_text(encoding="ascii").strip() == "1"
    return False


def _conflict(device: Device, vni: int, port: int) -> str:
    """Conflict of a foreign device with ours, in words; "" when there is none."""
    if device.ours:
        return ""
    if device.name in OWN:
        return f"{device.name} is a {device.link.kind or 'device'} of somebody else's, whose name the agent needs"
    if device.tunnel == (vni, port):
        return f"{device.name} is a VXLAN device with our id {vni} and port {port}"
    return f"{device.name} is of another pod network" if device.name.startswith(_FOREIGN_PREFIXES) else ""


def _has(capability: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> capability & 1)
    return False


# --- the trial ----------------------------------------------------------------------------------


def _in_new_namespace(trial: Callable[[], Mapping[str, str]]) -> Mapping[str, str] | Unknown:
    """Run the trial in a thread that has its own network namespace, which ends with the thread."""
    answers: list[Mapping[str, str] | Unknown] = []

    def run() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_NEW_NETWORK) != 0:
            words = os.strerror(ctypes.get_errno())
            answers.append(Unknown(f"no network namespace to try it in ({words}): run doctor with sudo on the node"))
            return
        answers.append(trial())

    thread = Thread(target=run, name="trial")
    thread.start()
    thread.join()
    return answers[0] if answers else Unknown("the trial has failed: see the traceback above")


def _try(port: int) -> dict[str, str]:
    """Make one entry of each kind. Returns each kernel feature with its failure, "" where it works."""
    tried: dict[str, str] = {}
    try:
        netlink = Netlink()
    except KernelError as error:
        tried |= dict.fromkeys(("vxlan", "nexthop objects"), str(error))
    else:
        try:
            vxlan = Vxlan(vni=1, port=port, local=bytes((127, 0, 0, 1)), parent="lo")
            tunnel = Link("vxlan", _MAC, mtu=1450, up=True, vxlan=vxlan)
            tried["vxlan"] = netlink.links.write({VTEP: tunnel}, ()).get(VTEP, "")
            # Without an address the namespace has no local table, and takes every gateway for a broadcast address.
            netlink.addresses.write({AddressKey(VTEP, _OWN, 32): None}, ())
            tried["nexthop objects"] = netlink.nexthops.write({1: Nexthop(_VIA, VTEP)}, ()).get(1, "")
        finally:
            netlink.close()
    ruleset = Ruleset(masquerade=True, pods=(), port=port)
    tried["nftables"] = _complaint(lambda: Nft().table.write({TABLE: ruleset}, ()))
    tried[QUEUE] = _complaint(_queue)
    return tried


def _queue() -> Mapping[str, str]:
    """Make a chain that sends packets to a queue. Raises KernelError."""
    where = {"family": "inet", "table": "trial"}
    made: Sequence[Object] = (
        ("table", {"family": "inet", "name": "trial"}),
        ("chain", {**where, "name": "trial"}),
        ("rule", {**where, "chain": "trial", "expr": [{"queue": {"num": 0}}]}),
    )
    Command().transaction([{"add": {kind: body}} for kind, body in made])
    return {}


def _complaint(write: Callable[[], Mapping[Any, str]]) -> str:
    try:
        return next(iter(write().values()), "")
    except KernelError as error:
        return str(error)


# --- firewalls ----------------------------------------------------------------------------------


def _forward_drop() -> Sequence[str] | Unknown:
    """Base chains for forwarded packets that drop by default, except ours."""
    try:
        chains = list_chains(Command())
    except KernelError as error:
        return Unknown(f"the firewalls' chains can't be listed: {error}")
    return [
        f"nftables {chain.family} {chain.table} {chain.name}"
        for chain in chains
        if (chain.hook, chain.policy) == ("forward", "drop") and (chain.family, chain.table) != ("inet", TABLE)
    ]

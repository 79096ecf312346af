"""The CNI configuration of a node, by which the container runtime connects pods to the network.

The node's pod CIDRs go to the stock plugins `ptp` and `host-local`, so a pod starts without a call to cloudroute, even
while the agent restarts. Each pod has its own veth pair to the host, which routes: every packet passes the host's
netfilter hooks, also between two pods of the node, so Services and policy enforcers work without br_netfilter. Purpose
of each field:

    cniVersion 1.0.0     the plugins of distributions refuse 1.1.0, and every pod with it
    mtu                  MTU of both ends of the veth pair
    ipMasq false         the agent masquerades: the plugin would exempt only packets to the node's own pods
    gateway              the first host address, which ptp puts on the host's end of each veth pair
    snat                 (portmap) a host port answers the node itself and the node's own pods
    tuning               (IPv6) ptp waits two seconds for the duplicate address detection of each pod's address, which
                         no other pod can have; tuning needs the result of a plugin before it, so `loopback` comes first
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from cloudroute.core.node.peers import gateway
from cloudroute.dataplane import NETWORK, written
from cloudroute.types import Cidr, Family

NEEDED_PLUGINS = ("ptp", "host-local")
"""The CNI plugins that a node must have."""
_EVERYWHERE: dict[Family, str] = {"ipv4": "0.0.0.0/0", "ipv6": "::/0"}
_WITHOUT_DAD: tuple[dict[str, object], ...] = (
    {"type": "loopback"},
    {"type": "tuning", "sysctl": {"net.ipv6.conf.default.accept_dad": "0"}},
)
_CHAINED: tuple[dict[str, object], ...] = (
    {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
    {"type": "bandwidth", "capabilities": {"bandwidth": True}},
)
"""Plugins for hostPort and for the bandwidth annotations of pods."""


def conflist(pod_cidrs: Sequence[Cidr], mtu: int, plugins: Collection[str]) -> bytes:
    """Content of the file: the same bytes for the same node.

    `pod_cidrs`: at most one of each family, of at least four addresses each (host-local requires them). `plugins`:
    names of the installed plugins; all but `NEEDED_PLUGINS` are used only if they are installed.
    """
    ptp = {
        "type": "ptp",
        "mtu": mtu,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(cidr), "gateway": written(gateway(cidr))}] for cidr in pod_cidrs],
            "routes": [{"dst": _EVERYWHERE[cidr.family]} for cidr in pod_cidrs],
        },
    }
    first = _WITHOUT_DAD if any(cidr.family == "ipv6" for cidr in pod_cidrs) else ()
    before = first if all(plugin["type"] in plugins for plugin in first) else ()
    after = [plugin for plugin in _CHAINED if plugin["type"] in plugins]
    content = {"cniVersion": "1.0.0", "name": NETWORK, "plugins": [*before, ptp, *after]}
    return json.dumps(content, indent=2).encode() + b"\n"

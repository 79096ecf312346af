"""The CNI configuration of a node: how the container runtime joins a pod to it.

The node's pod CIDRs go to the stock plugins `ptp` and `host-local`, so a pod starts without a word from cloudroute,
while its agent restarts too. Each pod has a cable of its own to the host, which routes: every packet passes the host's
netfilter hooks, also between two pods of the node, so Services and policy enforcers work without br_netfilter. What
each field is for:

    cniVersion 1.0.0     the plugins of distributions refuse 1.1.0, and every pod with it
    mtu                  of both ends of the cable
    ipMasq false         masquerade is the agent's: the plugin's would spare the node's own pods only
    gateway              the first host address, which ptp puts on each cable's end at the host
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

_EVERYWHERE: dict[Family, str] = {"ipv4": "0.0.0.0/0", "ipv6": "::/0"}
_WITHOUT_DAD: tuple[dict[str, object], ...] = (
    {"type": "loopback"},
    {"type": "tuning", "sysctl": {"net.ipv6.conf.default.accept_dad": "0"}},
)
_CHAINED: tuple[dict[str, object], ...] = (
    {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
    {"type": "bandwidth", "capabilities": {"bandwidth": True}},
)
"""hostPort and the bandwidth annotations of pods."""


def conflist(pod_cidrs: Sequence[Cidr], mtu: int, plugins: Collection[str]) -> bytes:
    """The content of the file: the same bytes for the same node.

    `pod_cidrs` are at most one of each family, of at least four addresses each (host-local wants as many). `plugins`
    names those that the node has: all but ptp and host-local are used where they are there.
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

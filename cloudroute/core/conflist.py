"""The CNI configuration of a node: how the container runtime joins a pod to the bridge.

The node's pod CIDRs go to the stock plugins `bridge` and `host-local`, so a pod starts without a word from cloudroute,
while its agent restarts too. What each field is for:

    cniVersion 1.0.0     the plugins of distributions refuse 1.1.0, and every pod with it
    bridge, mtu          as the agent makes the bridge itself; the pod's interface gets the same MTU
    isGateway            the plugin wants the gateway's address on the bridge, with the length of the pod CIDR
    forceAddress false   another IPv4 address on the bridge fails the start of a pod (the kubelet tries again) and is
                         not taken away by the plugin: addresses are the agent's
    hairpinMode          a pod reaches itself by its Service
    ipMasq false         masquerade is the agent's, too: the plugin's would spare the node's own pods only
    snat                 (portmap) a host port answers the node itself and the node's own pods
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from cloudroute.core.peers import gateway
from cloudroute.dataplane import BRIDGE, written
from cloudroute.types import Cidr, Family

_EVERYWHERE: dict[Family, str] = {"ipv4": "0.0.0.0/0", "ipv6": "::/0"}
_CHAINED: tuple[dict[str, object], ...] = (
    {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
    {"type": "bandwidth", "capabilities": {"bandwidth": True}},
)
"""hostPort and the bandwidth annotations of pods."""


def conflist(pod_cidrs: Sequence[Cidr], mtu: int, plugins: Collection[str]) -> bytes:
    """The content of the file: the same bytes for the same node.

    `pod_cidrs` are at most one of each family, of at least four addresses each (host-local wants as many). `plugins`
    names those that the node has: portmap and bandwidth are used where they are there.
    """
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "mtu": mtu,
        "isGateway": True,
        "forceAddress": False,
        "hairpinMode": True,
        "promiscMode": False,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(cidr), "gateway": written(gateway(cidr))}] for cidr in pod_cidrs],
            "routes": [{"dst": _EVERYWHERE[cidr.family]} for cidr in pod_cidrs],
        },
    }
    chained = [plugin for plugin in _CHAINED if plugin["type"] in plugins]
    content = {"cniVersion": "1.0.0", "name": "cloudroute", "plugins": [bridge, *chained]}
    return json.dumps(content, indent=2).encode() + b"\n"

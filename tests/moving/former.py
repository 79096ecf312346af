"""A node as an agent of the version before `ptp` has left it: a bridge for the pods, and a conflist that names it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cloudroute.core.node.peers import gateway, mac_of
from cloudroute.dataplane import CONFLIST, NETWORK, mac_text, written
from cloudroute.lab.hosts.host import LabHost
from cloudroute.types import Cidr


def leave_bridge(host: LabHost, cidrs: Sequence[Cidr], mtu: int) -> None:
    """The bridge as that agent made it, and its conflist: pods that start now hang on the bridge."""
    addresses = [f"address add {written(gateway(cidr))}/{cidr.length} dev cbr0" for cidr in cidrs]
    host.namespace.batch(
        [
            f"link add cbr0 address {mac_text(mac_of(gateway(cidrs[0])))} mtu {mtu} type bridge",
            "link set cbr0 up",
            *(f"{address} {'nodad' if ':' in address else ''}" for address in addresses),
        ]
    )
    bridge = {
        "type": "bridge", "bridge": "cbr0", "mtu": mtu, "isGateway": True, "forceAddress": False,
        "hairpinMode": True, "promiscMode": False, "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(cidr), "gateway": written(gateway(cidr))}] for cidr in cidrs],
            "routes": [{"dst": "0.0.0.0/0" if cidr.family == "ipv4" else "::/0"} for cidr in cidrs],
        },
    }  # fmt: skip
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    bandwidth = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
    content = {"cniVersion": "1.0.0", "name": NETWORK, "plugins": [bridge, portmap, bandwidth]}
    (host.conf_dir / CONFLIST).write_text(json.dumps(content))

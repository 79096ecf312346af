"""A node of kOps' kubenet: containerd's configuration from a template, pods by `ptp`, masquerade by a unit at boot.

The template and the rules are those of kOps (nodeup/pkg/model/containerd.go). The old kubenet, which ended with
Kubernetes 1.23, had a bridge instead, called as ours is.
"""

from __future__ import annotations

import json
from typing import Literal

from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab

POOL = "100.96.0.0/11"
FILE = "10-containerd-net.conflist"
NETWORK = "k8s-pod-network"
_RULES = """
iptables -w -t nat -N IP-MASQ
iptables -w -t nat -A POSTROUTING -m comment --comment "ip-masq: ensure nat POSTROUTING directs all non-LOCAL \
destination traffic to our custom IP-MASQ chain" -m addrtype ! --dst-type LOCAL -j IP-MASQ
iptables -w -t nat -A IP-MASQ -d 100.64.0.0/10 -m comment --comment "ip-masq: pod cidr is not subject to MASQUERADE" \
-j RETURN
iptables -w -t nat -A IP-MASQ -m comment --comment "ip-masq: outbound traffic is subject to MASQUERADE (must be last \
in chain)" -j MASQUERADE
sysctl -qw net.ipv4.ip_forward=1
"""


def install(lab: HostLab, host: LabHost, cidr: str, plugin: Literal["ptp", "bridge"]) -> None:
    """The node, and what the cloud provider's route controller has made for it in all tables of the lab."""
    lab.kube.patch("nodes", host.name, {"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}})
    ipam = {"type": "host-local", "ranges": [[{"subnet": cidr}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"bridge": "cbr0", "mtu": 9001, "isGateway": True, "hairpinMode": True} if plugin == "bridge" else {}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    conflist = {"cniVersion": "1.0.0", "name": NETWORK, "plugins": [{"type": plugin, **bridge, "ipam": ipam}, portmap]}
    (host.conf_dir / FILE).write_text(json.dumps(conflist))
    host.run("sh", "-ec", _RULES)
    ec2 = lab.aws.scene.ec2
    ec2.modify_instance_attribute(InstanceId=host.machine.id, SourceDestCheck={"Value": False})
    for table in lab.vpc.route_table_ids:
        ec2.create_route(RouteTableId=table, DestinationCidrBlock=cidr, InstanceId=host.machine.id)

"""The Amazon VPC CNI on a node, as its source and `iptables -S` of its nodes show it."""

from __future__ import annotations

from typing import Any

from cloudroute.lab.hosts.host import LabHost

DAEMON_SET: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "aws-node", "namespace": "kube-system"},
    "spec": {
        "selector": {"matchLabels": {"k8s-app": "aws-node"}},
        "template": {
            "metadata": {"labels": {"k8s-app": "aws-node"}},
            "spec": {
                "containers": [{"name": "aws-node", "image": "amazon-k8s-cni:v1.20.1"}],
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [
                                {
                                    "matchExpressions": [
                                        {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}
                                    ]
                                }
                            ]
                        }
                    }
                },
            },
        },
    },
}
"""The part of its DaemonSet that matters here: the nodes that it runs on."""
CONFLIST = "10-aws.conflist"
_POD = "10.0.0.200"
_RULES = """
ip link add eni0123456789a type veth peer name gone0; ip link set eni0123456789a up
ip rule add priority 512 to {pod} lookup main
ip rule add priority 1024 fwmark 0x80/0x80 lookup main
ip rule add priority 1536 from {pod} lookup 2
ip route add default via {gateway} dev eth0 table 2
iptables -w -t nat -N AWS-SNAT-CHAIN-0
iptables -w -t nat -A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0
iptables -w -t nat -A AWS-SNAT-CHAIN-0 -d 10.0.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j RETURN
iptables -w -t nat -A AWS-SNAT-CHAIN-0 ! -o vlan+ -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL \
  -j SNAT --to-source {address} --random-fully
iptables -w -t nat -N AWS-CONNMARK-CHAIN-0
iptables -w -t nat -A PREROUTING -i eni+ -m comment --comment "AWS, outbound connections" -j AWS-CONNMARK-CHAIN-0
iptables -w -t nat -A PREROUTING -m comment --comment "AWS, CONNMARK" -j CONNMARK --restore-mark --nfmask 0x80 \
  --ctmask 0x80
iptables -w -t nat -A AWS-CONNMARK-CHAIN-0 -d 10.0.0.0/16 -m comment --comment "AWS CONNMARK CHAIN, VPC CIDR" -j RETURN
iptables -w -t nat -A AWS-CONNMARK-CHAIN-0 -m comment --comment "AWS, CONNMARK" -j CONNMARK --set-xmark 0x80/0x80
iptables -w -t mangle -A PREROUTING -i eth0 -m comment --comment "AWS, primary ENI" -m addrtype --dst-type LOCAL \
  --limit-iface-in -j CONNMARK --set-xmark 0x80/0x80
iptables -w -t mangle -A PREROUTING -i eni+ -m comment --comment "AWS, primary ENI" -j CONNMARK --restore-mark \
  --nfmask 0x80 --ctmask 0x80
"""


def install(host: LabHost) -> None:
    """Leave on a host all that a deleted aws-node leaves on a node."""
    gateway = host.run("ip", "-4", "route", "show", "default").split()[2]
    host.run("sh", "-ec", _RULES.format(pod=_POD, gateway=gateway, address=host.addresses[0]))
    (host.conf_dir / CONFLIST).write_text(
        '{"cniVersion": "1.0.0", "name": "aws-cni", "plugins": [{"type": "aws-cni"}]}'
    )


def remains(host: LabHost) -> str:
    """Return all lines of a host's tables that come from aws-node."""
    listed = host.run("sh", "-ec", "ip -o link; ip rule; iptables-save")
    words = ("AWS", " eni", "fwmark", _POD)
    found = [line for line in listed.splitlines() if any(word in line for word in words)]
    return "\n".join([*found, *(path.name for path in host.conf_dir.glob(CONFLIST))])

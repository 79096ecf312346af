"""flannel on a node, as flanneld 0.28.10 with --kube-subnet-mgr and --ip-masq was seen to leave it.

The bridge and the pods are the bridge plugin's work, by the configuration that flannel's own plugin delegates to it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab

POOL = "10.244.0.0/16"
MTU = 8951

_DEVICE = """
ip link add flannel.1 address {mac} mtu {mtu} type vxlan id 1 local {address} dev eth0 dstport 8472 nolearning
ip address add 10.244.{number}.0/32 dev flannel.1
ip link set flannel.1 up
iptables -t nat -N FLANNEL-POSTRTG
iptables -t nat -A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
iptables -t nat -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
iptables -t nat -A FLANNEL-POSTRTG -s {own} -d {pool} -m comment --comment "flanneld masq" -j RETURN
iptables -t nat -A FLANNEL-POSTRTG -s {pool} -d {own} -m comment --comment "flanneld masq" -j RETURN
iptables -t nat -A FLANNEL-POSTRTG ! -s {pool} -d {own} -m comment --comment "flanneld masq" -j RETURN
iptables -t nat -A FLANNEL-POSTRTG -s {pool} ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" \
  -j MASQUERADE --random-fully
iptables -t nat -A FLANNEL-POSTRTG ! -s {pool} -d {pool} -m comment --comment "flanneld masq" \
  -j MASQUERADE --random-fully
iptables -N FLANNEL-FWD
iptables -A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
iptables -A FLANNEL-FWD -s {pool} -m comment --comment "flanneld forward" -j ACCEPT
iptables -A FLANNEL-FWD -d {pool} -m comment --comment "flanneld forward" -j ACCEPT
sysctl -qw net.ipv4.ip_forward=1
"""
_PEER = """
ip neighbour add 10.244.{number}.0 lladdr {mac} dev flannel.1 nud permanent
bridge fdb add {mac} dev flannel.1 dst {address} self permanent
ip route add 10.244.{number}.0/24 via 10.244.{number}.0 dev flannel.1 onlink
"""
_SHOW = """
ip -d -o link show flannel.1; ip -o -4 address show dev flannel.1; ip -o -4 address show dev cni0
ip route show dev flannel.1; ip route show dev cni0; ip neighbour show dev flannel.1 nud permanent
bridge fdb show dev flannel.1; iptables -S; iptables -t nat -S
"""


def install(lab: HostLab, hosts: Sequence[LabHost]) -> None:
    """Configure hosts, whose Nodes have the pod CIDRs 10.244.1.0/24 and so on, as flanneld does."""
    facts = [
        {"number": number, "mac": f"be:4c:7e:a3:7a:{number:02x}", "address": host.addresses[0]}
        for number, host in enumerate(hosts, 1)
    ]
    for host, own in zip(hosts, facts, strict=True):
        cidr = f"10.244.{own['number']}.0/24"
        lab.kube.patch("nodes", host.name, {"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}})
        host.run("sh", "-ec", _DEVICE.format(**own, mtu=MTU, pool=POOL, own=cidr))
        for peer in facts:
            if peer is not own:
                host.run("sh", "-ec", _PEER.format(**peer))
        (host.conf_dir / "10-flannel.conflist").write_text(json.dumps(_conflist(cidr)))
        (host.folder / "flannel").mkdir()
        (host.folder / "flannel" / "subnet.env").write_text(subnet_env(f"10.244.{own['number']}.1/24"))


def subnet_env(subnet: str) -> str:
    """/run/flannel/subnet.env."""
    return f"FLANNEL_NETWORK={POOL}\nFLANNEL_SUBNET={subnet}\nFLANNEL_MTU={MTU}\nFLANNEL_IPMASQ=true\n"


def shown(host: LabHost) -> str:
    """All that is flannel's on a host, as the tools of the system print it."""
    return host.run("sh", "-ec", _SHOW)


def remains(host: LabHost) -> str:
    """Return all lines of a host's tables that come from flannel."""
    listed = host.run("sh", "-ec", "ip -o link; ip route; ip neighbour; nft list ruleset")
    found = [line for line in listed.splitlines() if "flannel" in line.lower() or "cni0" in line]
    folders = (host.conf_dir, host.folder, host.runtime.var_lib / "cni", host.runtime.var_lib / "cni" / "networks")
    files = [str(path) for folder in folders for path in folder.glob("*") if path.name in _FILES]
    return "\n".join([*found, *files])


_FILES = ("10-flannel.conflist", "flannel", "cbr0")


def _conflist(cidr: str) -> object:
    ipam = {"type": "host-local", "ranges": [[{"subnet": cidr}]], "routes": [{"dst": POOL}]}
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "mtu": MTU,
        "hairpinMode": True,
        "isGateway": True,
        "isDefaultGateway": True,
        "ipMasq": False,
        "ipam": ipam,
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"name": "cbr0", "cniVersion": "1.0.0", "plugins": [bridge, portmap]}

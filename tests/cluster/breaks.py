"""Faults of a fleet that `cloudroute verify` has to find, one at a time: `with broken(fleet, "acl", host): ...`.

`host` is a node with native, direct and overlay paths; a fault that has a place is there. Leaving the block undoes it,
and waits until all that was taken is back.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from cloudroute.config.settings import VXLAN_PORT
from cloudroute.dataplane import NETWORK, PROTOCOL, TABLE
from cloudroute.lab.hosts import coredns
from cloudroute.lab.hosts.cluster import ClusterHost
from cloudroute.lab.hosts.kubelet_config import CNI_BIN
from cloudroute.lab.hosts.workload import daemonset, running
from cloudroute.probe import serve
from cloudroute.probe.serve import PORT
from tests.cluster.fleet import Fleet, Guest
from tests.packets.labs import paths
from tests.waiting import eventually

RuleFilter = Callable[[Mapping[str, Any]], bool]
"""Whether a rule of a security group is meant, as EC2 describes it."""
BRIDGE = "cni0"
HOST_GROUP = "answers"
"""Name of the security group of `vpc_host`."""
_RULES = (
    "aws_vpc_security_group_ingress_rule.nodes",
    "module.network.aws_vpc_security_group_ingress_rule.overlay",
    "module.network.aws_vpc_security_group_ingress_rule.pods",
)
"""Of Terraform's environment."""
_AGENT = b"cloudroute\0agent"
"""Part of the command line of an agent's process."""


def broken(fleet: Fleet, name: str, host: ClusterHost) -> AbstractContextManager[None]:
    """Break one thing of BREAKS for the block."""
    return BREAKS[name](fleet, host)


# --- nodes ------------------------------------------------------------------------------------------


@contextmanager
def frozen(hosts: Collection[ClusterHost]) -> Iterator[None]:
    """Stop the agents of these nodes: they exist, and repair nothing."""
    pids = [pid for host in hosts for pid in host.kubelet.pids if _AGENT in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(pids) >= len(hosts)
    _send(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _send(pids, signal.SIGCONT)


def _send(pids: Collection[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


@contextmanager
def _no_masquerade(fleet: Fleet, _: ClusterHost) -> Iterator[None]:
    """Pods ask the Resolver with their own addresses, and it answers none of them."""
    hosts = fleet.hosts.values()
    with frozen(hosts):
        for host in hosts:
            host.run("nft", "flush", "chain", "inet", TABLE, "postrouting")
            # CoreDNS asks by sockets that it keeps: their connections would still be translated.
            host.namespace.run("conntrack", "-D", "-p", "udp", check=False)
        yield
    eventually(lambda: all(map(_masquerades, hosts)), "masquerade rules are back")


def _masquerades(host: ClusterHost) -> bool:
    return "masquerade" in host.run("nft", "list", "table", "inet", TABLE)


@contextmanager
def _bridge(_: Fleet, host: ClusterHost) -> Iterator[None]:
    """New pods of the node are ports of a bridge, whose frames netfilter does not see: br_netfilter is off here."""
    folder = host.kubelet.own_cni
    (own,) = (json.loads(path.read_text()) for path in (folder / "net.d").glob("*.conflist"))
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True}
    plugins = [{**plugin, **bridge} if plugin["type"] == "ptp" else plugin for plugin in own["plugins"]]
    first = folder / "net.d" / "00-bridge.conflist"
    shutil.copy(CNI_BIN / "bridge", folder / "bin")
    first.write_text(json.dumps({"cniVersion": "1.0.0", "name": NETWORK, "plugins": plugins}))
    try:
        yield
    finally:
        first.unlink()
        (folder / "bin" / "bridge").unlink()
        host.run("ip", "link", "delete", BRIDGE)


@contextmanager
def _carrier(_: Fleet, host: ClusterHost) -> Iterator[None]:
    """The node's NIC was without carrier for a moment: the kernel has dropped nexthops and routes."""
    before = _nexthops(host)
    assert before
    with frozen([host]):
        host.set_carrier(on=False)
        host.set_carrier(on=True)
        eventually(lambda: _nexthops(host) < before, "nexthops are gone")
        yield
    eventually(lambda: _nexthops(host) == before, "nexthops are back")


def _nexthops(host: ClusterHost) -> set[str]:
    return set(host.run("ip", "nexthop", "show", "proto", str(PROTOCOL)).splitlines())


@contextmanager
def _no_kube_proxy(fleet: Fleet, host: ClusterHost) -> Iterator[None]:
    fleet.stop_proxy(host)
    for family in ("ip", "ip6"):
        host.run("nft", "delete", "table", family, "kube-proxy")
    try:
        yield
    finally:
        fleet.start_proxy(host)
    tables = {f"table {family} kube-proxy" for family in ("ip", "ip6")}
    eventually(lambda: tables <= set(host.run("nft", "list", "tables").splitlines()), "kube-proxy has its tables")


@contextmanager
def _no_coredns(fleet: Fleet, _: ClusterHost) -> Iterator[None]:
    replicas = _coredns(fleet)["spec"]["replicas"]
    _scale(fleet, 0)
    try:
        yield
    finally:
        _scale(fleet, replicas)


def _scale(fleet: Fleet, replicas: int) -> None:
    fleet.kube.patch("deployments", "coredns", {"spec": {"replicas": replicas}}, coredns.SPACE)
    eventually(lambda: _coredns(fleet)["status"].get("readyReplicas", 0) == replicas, f"{replicas} CoreDNS")


def _coredns(fleet: Fleet) -> Any:
    return fleet.kube.get("deployments", "coredns", coredns.SPACE)


@contextmanager
def _no_plugin(_: Fleet, host: ClusterHost) -> Iterator[None]:
    """A plugin of the node's list is gone: its container runtime can't start a pod."""
    plugin = host.kubelet.own_cni / "bin" / "ptp"
    kept = plugin.rename(plugin.with_suffix(".kept"))
    try:
        yield
    finally:
        kept.rename(plugin)


@contextmanager
def _firewall(_: Fleet, host: ClusterHost) -> Iterator[None]:
    """A firewall of the node drops what is sent to the port on which verify asks it, by its own pods and by others."""
    rules = (
        "add table inet firewall; add chain inet firewall input { type filter hook input priority 0; }; "
        f"add rule inet firewall input meta l4proto {{ tcp, udp }} th dport {PORT} drop"
    )
    host.run("nft", rules)
    try:
        yield
    finally:
        host.run("nft", "delete", "table", "inet", "firewall")


@contextmanager
def _idle_enforcer(fleet: Fleet, _: ClusterHost) -> Iterator[None]:
    """An enforcer of NetworkPolicies runs on each node, and enforces nothing."""
    manifest = daemonset("enforcer")
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    container |= {"command": ["/bin/busybox", "sh", "-c", "sleep 1000", "/bin/netpol"]}
    fleet.kube.create(manifest)
    try:
        eventually(lambda: len(running(fleet.kube, "enforcer")) == len(fleet.hosts), "it runs on each node")
        yield
    finally:
        fleet.kube.delete("daemonsets", "enforcer", "default")
    eventually(lambda: not running(fleet.kube, "enforcer"), "it is gone")


# --- the VPC ----------------------------------------------------------------------------------------


@contextmanager
def _narrow(fleet: Fleet, host: ClusterHost) -> Iterator[None]:
    """A hop on the way to and from the node loses what is larger than 1,500 bytes.

    The API server sends and asks for smaller segments than that: otherwise nobody could be asked there.
    """
    fleet.plane.namespace.run("ip", "link", "set", "eth0", "mtu", "1500")
    fleet.net.narrow(host.machine.id)
    try:
        yield
    finally:
        fleet.net.narrow()
        fleet.plane.namespace.run("ip", "link", "set", "eth0", "mtu", "9001")


@contextmanager
def _checked(fleet: Fleet, host: ClusterHost) -> Iterator[None]:
    """The node's source/dest check is on, and the controller is not allowed to switch it off.

    It has withdrawn the node from all other paths already: the tunnel alone still carries pods' packets.
    """
    fleet.account.aws.faults.fail("ModifyNetworkInterfaceAttribute", "UnauthorizedOperation", times=None)
    _check(fleet, host, on=True)
    try:
        eventually(lambda: _paths_of(fleet, host) == {"overlay"} and fleet.settled(), "the node is reached by overlay")
        yield
    finally:
        _check(fleet, host, on=False)
        fleet.account.aws.faults.clear()


def _paths_of(fleet: Fleet, host: ClusterHost) -> set[str]:
    return {path for pair, path in paths(fleet).items() if host.name in pair}


def _check(fleet: Fleet, host: ClusterHost, *, on: bool) -> None:
    eni = host.machine.interface_id
    fleet.account.aws.scene.ec2.modify_network_interface_attribute(
        NetworkInterfaceId=eni, SourceDestCheck={"Value": on}
    )


@contextmanager
def _without_rules(fleet: Fleet, unwanted: Mapping[str, RuleFilter]) -> Iterator[None]:
    """Remove the inbound rules that are so from security groups. Flows that they have admitted go on, as in AWS.

    Terraform makes them anew: a rule that is authorized again has another id, and would be no rule of Terraform's.
    """
    ec2 = fleet.account.aws.scene.ec2
    for group, is_unwanted in unwanted.items():
        (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        rules = [rule for rule in found["IpPermissions"] if is_unwanted(rule)]
        assert rules
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rules)
    try:
        yield
    finally:
        fleet.account.terraform("apply", "-auto-approve", *(f"-target={rule}" for rule in _RULES))


@contextmanager
def _no_overlay_rule(fleet: Fleet, _: ClusterHost) -> Iterator[None]:
    """UDP 8472 is closed: the nodes admit each other's TCP and ICMP alone."""
    nodes, ec2 = fleet.applied["node_security_group_id"], fleet.account.aws.scene.ec2
    rest = [
        {"IpProtocol": protocol, "FromPort": first, "ToPort": last, "UserIdGroupPairs": [{"GroupId": nodes}]}
        for protocol, first, last in (("tcp", 0, 65535), ("icmp", -1, -1), ("icmpv6", -1, -1))
    ]
    ec2.authorize_security_group_ingress(GroupId=nodes, IpPermissions=rest)
    unwanted: Mapping[str, RuleFilter] = {
        nodes: lambda rule: bool(rule["IpProtocol"] == "-1"),
        fleet.applied["security_group_id"]: lambda rule: rule.get("FromPort") == VXLAN_PORT,
    }
    try:
        with _without_rules(fleet, unwanted):
            yield
    finally:
        ec2.revoke_security_group_ingress(GroupId=nodes, IpPermissions=rest)


def _no_pods_rule(fleet: Fleet, _: ClusterHost) -> AbstractContextManager[None]:
    """The pod range is closed."""
    return _without_rules(fleet, {fleet.applied["security_group_id"]: lambda rule: bool(rule["IpProtocol"] == "-1")})


@contextmanager
def _acl(fleet: Fleet, host: ClusterHost) -> Iterator[None]:
    """A network ACL of the node's subnet denies pods' addresses, inward."""
    ec2 = fleet.account.aws.scene.ec2
    of_subnet = [{"Name": "association.subnet-id", "Values": [host.machine.zone.subnet_id]}]
    acl = ec2.describe_network_acls(Filters=of_subnet)["NetworkAcls"][0]["NetworkAclId"]
    numbers = range(10, 10 + len(fleet.applied["cluster_cidrs"]))
    for number, cidr in zip(numbers, fleet.applied["cluster_cidrs"], strict=True):
        peer = {"Ipv6CidrBlock" if ":" in cidr else "CidrBlock": cidr}
        ec2.create_network_acl_entry(
            NetworkAclId=acl, RuleNumber=number, Egress=False, Protocol="-1", RuleAction="deny", **peer
        )
    try:
        yield
    finally:
        for number in numbers:
            ec2.delete_network_acl_entry(NetworkAclId=acl, RuleNumber=number, Egress=False)


@contextmanager
def _cut_off(fleet: Fleet, _: ClusterHost) -> Iterator[None]:
    """The API server has no way into the VPC."""
    rule = ("pref", "1", "prohibit")
    fleet.plane.namespace.run("ip", "rule", "add", *rule)
    try:
        yield
    finally:
        fleet.plane.namespace.run("ip", "rule", "delete", *rule)


@contextmanager
def _plane_apart(fleet: Fleet, _: ClusterHost) -> Iterator[None]:
    """The control plane has a group of its own, which the nodes let in to kubelets alone."""
    ec2, nodes = fleet.account.aws.scene.ec2, fleet.applied["node_security_group_id"]
    about = {"VpcId": fleet.applied["vpc_id"], "GroupName": "plane", "Description": "control plane"}
    own = ec2.create_security_group(**about)["GroupId"]
    kubelets = {"IpProtocol": "tcp", "FromPort": 10250, "ToPort": 10250, "UserIdGroupPairs": [{"GroupId": own}]}
    ec2.authorize_security_group_ingress(GroupId=nodes, IpPermissions=[kubelets])
    ec2.modify_network_interface_attribute(NetworkInterfaceId=fleet.plane.interface_id, Groups=[own])
    try:
        yield
    finally:
        ec2.modify_network_interface_attribute(NetworkInterfaceId=fleet.plane.interface_id, Groups=[nodes])
        ec2.revoke_security_group_ingress(GroupId=nodes, IpPermissions=[kubelets])
        ec2.delete_security_group(GroupId=own)


@contextmanager
def vpc_host(fleet: Fleet) -> Iterator[Guest]:
    """A host of the VPC that answers as docs/verify.md says, in a group that lets in nodes and pods."""
    ec2 = fleet.account.aws.scene.ec2
    about = {"VpcId": fleet.applied["vpc_id"], "GroupName": HOST_GROUP, "Description": "a host that answers"}
    own = ec2.create_security_group(**about)["GroupId"]
    nodes = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": fleet.applied["node_security_group_id"]}]}
    ec2.authorize_security_group_ingress(GroupId=own, IpPermissions=[nodes, _from_pods(fleet)])
    guest = fleet.guest("database", own)
    try:
        with guest.namespace.popen([sys.executable, serve.__file__], stdout=subprocess.PIPE) as program:
            try:
                assert program.stdout
                assert b"answering" in program.stdout.readline()
                yield guest
            finally:
                program.kill()
    finally:
        fleet.leave(guest)
        ec2.delete_security_group(GroupId=own)


def _from_pods(fleet: Fleet) -> dict[str, Any]:
    """The rule that lets in the pod range."""
    cidrs = fleet.applied["cluster_cidrs"]
    return {
        "IpProtocol": "-1",
        "IpRanges": [{"CidrIp": cidr} for cidr in cidrs if ":" not in cidr],
        "Ipv6Ranges": [{"CidrIpv6": cidr} for cidr in cidrs if ":" in cidr],
    }


@contextmanager
def _host_without_pods(fleet: Fleet, _: ClusterHost) -> Iterator[None]:
    """The group of the VPC host lets nodes in, and not the pod range."""
    named = [{"Name": "group-name", "Values": [HOST_GROUP]}]
    ec2 = fleet.account.aws.scene.ec2
    (group,) = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
    rule = {"GroupId": group["GroupId"], "IpPermissions": [_from_pods(fleet)]}
    ec2.revoke_security_group_ingress(**rule)
    try:
        yield
    finally:
        ec2.authorize_security_group_ingress(**rule)


BREAKS: Mapping[str, Callable[[Fleet, ClusterHost], AbstractContextManager[None]]] = {
    "resolver": _no_masquerade,
    "bridge": _bridge,
    "carrier": _carrier,
    "groups-overlay": _no_overlay_rule,
    "groups-pods": _no_pods_rule,
    "acl": _acl,
    "source-dest-check": _checked,
    "mtu": _narrow,
    "kube-proxy": _no_kube_proxy,
    "coredns": _no_coredns,
    "firewall": _firewall,
    "plugin": _no_plugin,
    "enforcer": _idle_enforcer,
    "api-server": _cut_off,
    "control-plane-group": _plane_apart,
    "vpc-host": _host_without_pods,
}

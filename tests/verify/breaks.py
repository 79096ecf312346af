"""Faults of a fleet that `cloudroute verify` has to find, one at a time: `with broken(fleet, "acl", host): ...`.

`host` is a node with native, direct and overlay paths; a fault that has a place is there. Leaving the block undoes it,
and waits until all that was taken is back.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from cloudroute.config.settings import VXLAN_PORT
from cloudroute.dataplane import NETWORK, PROTOCOL, TABLE
from cloudroute.lab.hosts import coredns
from cloudroute.lab.hosts.cluster import ClusterHost
from cloudroute.lab.hosts.kubelet_config import CNI_BIN
from tests.cluster.fleet import Fleet
from tests.waiting import eventually

BRIDGE = "cni0"
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


# --- the VPC ----------------------------------------------------------------------------------------


@contextmanager
def _narrow(fleet: Fleet, host: ClusterHost) -> Iterator[None]:
    """A hop on the way to and from the node loses what is larger than 1,500 bytes.

    The API server sends and asks for smaller segments than that: otherwise nobody could be asked there.
    """
    fleet.plane.run("ip", "link", "set", "eth0", "mtu", "1500")
    fleet.net.narrow(host.machine.id)
    try:
        yield
    finally:
        fleet.net.narrow()
        fleet.plane.run("ip", "link", "set", "eth0", "mtu", "9001")


@contextmanager
def _checked(fleet: Fleet, host: ClusterHost) -> Iterator[None]:
    """The node's source/dest check is on, and the controller is not allowed to switch it off."""
    fleet.account.aws.faults.fail("ModifyNetworkInterfaceAttribute", "UnauthorizedOperation", times=None)
    _check(fleet, host, on=True)
    try:
        yield
    finally:
        _check(fleet, host, on=False)
        fleet.account.aws.faults.clear()


def _check(fleet: Fleet, host: ClusterHost, *, on: bool) -> None:
    eni = host.machine.interface_id
    fleet.account.aws.scene.ec2.modify_network_interface_attribute(
        NetworkInterfaceId=eni, SourceDestCheck={"Value": on}
    )


@contextmanager
def _without_rules(fleet: Fleet, group: str, unwanted: Callable[[Mapping[str, Any]], bool]) -> Iterator[None]:
    """Remove the inbound rules that are so from a security group. Flows that they have admitted go on, as in AWS."""
    ec2 = fleet.account.aws.scene.ec2
    (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    rules = [rule for rule in found["IpPermissions"] if unwanted(rule)]
    assert rules
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rules)
    try:
        yield
    finally:
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rules)


@contextmanager
def _no_overlay_rule(fleet: Fleet, _: ClusterHost) -> Iterator[None]:
    """UDP 8472 is closed: the nodes admit each other's TCP and ICMP alone."""
    nodes, ec2 = fleet.applied["node_security_group_id"], fleet.account.aws.scene.ec2
    rest = [
        {"IpProtocol": protocol, "FromPort": first, "ToPort": last, "UserIdGroupPairs": [{"GroupId": nodes}]}
        for protocol, first, last in (("tcp", 0, 65535), ("icmp", -1, -1), ("icmpv6", -1, -1))
    ]
    ec2.authorize_security_group_ingress(GroupId=nodes, IpPermissions=rest)
    try:
        with (
            _without_rules(fleet, nodes, lambda rule: rule["IpProtocol"] == "-1"),
            _without_rules(fleet, fleet.applied["security_group_id"], lambda rule: rule.get("FromPort") == VXLAN_PORT),
        ):
            yield
    finally:
        ec2.revoke_security_group_ingress(GroupId=nodes, IpPermissions=rest)


def _no_pods_rule(fleet: Fleet, _: ClusterHost) -> AbstractContextManager[None]:
    """The pod range is closed."""
    return _without_rules(fleet, fleet.applied["security_group_id"], lambda rule: rule["IpProtocol"] == "-1")


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
}

"""Pods behind a host, and a network outside of it that sees where packets come from.

pod 10.244.7.9 ─────── veth │ host │ eth0 10.0.0.5 ── eth0 10.0.0.1 │ outside │ all addresses that a test sends to
neighbour 10.244.7.10 ─ veth        cr0 ═════════ VXLAN, 8472 ═════════ cr0
old 10.244.7.11 ─────── cbr0, as earlier versions made it
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from cloudroute.dataplane import packed, written
from cloudroute.types import family_of
from tests.adapters.nft.kit import RULESET
from tests.hosts import Namespace

PORT = 5000
GATEWAY = {"ipv4": "10.244.7.1", "ipv6": "fd00:0:0:0:7::1"}
POD = {"ipv4": "10.244.7.9", "ipv6": "fd00:0:0:0:7::9"}
NEIGHBOUR = {"ipv4": "10.244.7.10", "ipv6": "fd00:0:0:0:7::a"}
OLD = {"ipv4": "10.244.7.11", "ipv6": "fd00:0:0:0:7::b"}
HOST = {"ipv4": "10.0.0.5", "ipv6": "fc00::5"}
KEPT = {
    "a host": ("10.0.3.4", "fc00::3:4"),
    "the cluster": ("10.244.200.1", "fd00:0:0:0:99::1"),
    "the first address of a network": ("10.0.16.0",),
    "the last address of a network": ("10.0.47.255",),
    "behind what never sees pods": ("10.0.32.4", "10.244.78.0", "fd00:0:0:0:78::"),
}
MASQUERADED = {
    "the internet": ("203.0.113.1", "2001:db8::1"),
    "instance metadata": ("169.254.169.254", "fd00:ec2::254"),
    "the neighbour of a host": ("10.0.3.5", "fc00::3:5"),
    "before a network": ("10.0.15.255",),
    "behind a network": ("10.0.48.0",),
    "what never sees pods, though in a network": ("10.0.32.2", "10.244.77.9", "fd00:0:0:0:77::9"),
    "what never sees pods, though a host": ("10.0.32.3",),
}
OUTSIDE = [address for places in (KEPT, MASQUERADED) for addresses in places.values() for address in addresses]
SERVICE = {"ipv4": "10.96.0.10", "ipv6": "fd96::10"}
ROUTED = ("10.244.9.9", "fd00:0:0:0:9::9")
OVERLAY = ("10.244.8.8", "fd00:0:0:0:8::8")


MULTICAST = ("239.1.2.3", "ff05::123")
MAC = {"host": "0a:58:00:00:00:05", "outside": "0a:58:00:00:00:01"}
PING = bytes.fromhex("08000000") + b"ping"
"""Begins as VXLAN does, so that it is not for its content that it is no tunnel."""
PROTOCOL = {"ipv4": "ip", "ipv6": "ip6"}
IP_UDP_BYTES = {"ipv4": 28, "ipv6": 48}


class Network(NamedTuple):
    pod: Namespace
    neighbour: Namespace
    old: Namespace
    host: Namespace
    outside: Namespace


@contextmanager
def connected() -> Iterator[Network]:
    """Yield the namespaces, connected, with forwarding on and no table yet. Bridges pass nothing to netfilter."""
    with ExitStack() as end:
        network = Network(*(end.enter_context(Namespace(f"crnf-{name}-")) for name in Network._fields))
        host, outside = network.host, network.outside
        for space in network:
            space.shell("sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv4.conf.all.rp_filter=0")
        host.shell(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1;"
            f"ip link add eth0 type veth peer name eth0 netns {outside.name};"
            f"ip link add veth2 type veth peer name eth0 netns {network.old.name};"
            "ip link add cbr0 type bridge; ip link set veth2 master cbr0 up"
        )
        by_veth(host, "veth0", network.pod, POD)
        by_veth(host, "veth1", network.neighbour, NEIGHBOUR)
        up(host, "cbr0", *_wide(GATEWAY))
        up(network.old, "eth0", *_wide(OLD))
        for space in (network.pod, network.neighbour, network.old):
            space.shell(";".join(f"ip {option(by)} route add default via {by}" for by in GATEWAY.values()))
        up(host, "eth0", HOST["ipv4"] + "/24", HOST["ipv6"] + "/112")
        up(outside, "eth0", "10.0.0.1/24", "fc00::1/112")
        up(outside, "lo", *OUTSIDE, *ROUTED, *OVERLAY)
        host.shell("ip route add default via 10.0.0.1; ip -6 route add default via fc00::1")
        tunnel(host, HOST["ipv4"], "10.0.0.1", MAC["host"])
        tunnel(outside, "10.0.0.1", HOST["ipv4"], MAC["outside"])
        for address in OVERLAY:
            by_tunnel(host, address, MAC["outside"])
        for pods, by in zip(RULESET.pods, HOST.values(), strict=True):
            outside.shell(f"ip route add {pods} via {by}")
        yield network


def _wide(addresses: dict[str, str]) -> list[str]:
    return [f"{address}/{cidr.length}" for address, cidr in zip(addresses.values(), RULESET.pods, strict=True)]


def by_veth(host: Namespace, device: str, pod: Namespace, addresses: dict[str, str]) -> None:
    """Connect a pod as the CNI plugin ptp does: each end knows of the other's address only."""
    host.shell(f"ip link add {device} type veth peer name eth0 netns {pod.name}")
    up(host, device, *GATEWAY.values())
    up(pod, "eth0", *addresses.values())
    for gateway, address in zip(GATEWAY.values(), addresses.values(), strict=True):
        host.shell(f"ip {option(address)} route add {address} dev {device}")
        pod.shell(f"ip {option(gateway)} route add {gateway} dev eth0")


def option(address: str) -> str:
    return "-6" if ":" in address else "-4"


def up(space: Namespace, device: str, *addresses: str) -> None:
    added = (f"ip address add {it} dev {device}{' nodad' if ':' in it else ''}" for it in addresses)
    space.shell(f"ip link set {device} up;" + ";".join(added))


def tunnel(space: Namespace, local: str, remote: str, mac: str) -> None:
    """A VXLAN device that delivers everything to `remote`."""
    kind = f"type vxlan id 1 local {local} remote {remote} dev eth0 dstport {RULESET.port} nolearning"
    space.shell(f"ip link add cr0 address {mac} {kind}; ip link set cr0 up")


def by_tunnel(space: Namespace, address: str, mac: str) -> None:
    neighbour = f"ip neighbour replace {address} lladdr {mac} dev cr0 nud permanent"
    space.shell(f"ip route add {address} dev cr0; {neighbour}")


def in_brackets(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def plain(address: str) -> str:
    return written(packed(address))


def every(places: dict[str, tuple[str, ...]]) -> list[str]:
    return [address for addresses in places.values() for address in addresses]


# --- traffic ----------------------------------------------------------------------------------------


def bound(space: Namespace, address: str, port: int = PORT) -> socket.socket:
    """A UDP socket in a namespace."""
    with space.inside():
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(5)
    made.bind((address, port))
    return made


def seen_source(sender: Namespace, receiver: Namespace, address: str) -> str:
    """The address that `receiver` sees a new flow come from, once its answer has arrived."""
    with bound(receiver, address) as there:
        return answered(sender, there, address)


def answered(sender: Namespace, there: socket.socket, address: str) -> str:
    with a_flow(sender, address) as here:
        return exchanged(here, there)


def a_flow(sender: Namespace, address: str) -> socket.socket:
    """A UDP socket that takes answers from that address alone."""
    here = bound(sender, {"ipv4": "0.0.0.0", "ipv6": "::"}[family_of(address)], port=0)
    here.connect((address, PORT))
    return here


def exchanged(here: socket.socket, there: socket.socket) -> str:
    """The source of a packet, as its receiver sees it, once its answer has arrived."""
    here.send(PING)
    _, source = there.recvfrom(100)
    there.sendto(b"pong", source)
    assert here.recv(100) == b"pong"
    return str(source[0])


def take_part(there: socket.socket, group: str) -> None:
    """Join a multicast group on eth0; called in the socket's namespace."""
    index = socket.if_nametoindex("eth0")
    if ":" in group:
        there.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, packed(group) + struct.pack("=I", index))
    else:
        there.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, packed(group) + struct.pack("=4xI", index))


def send_by(here: socket.socket, device: str) -> None:
    """Send multicast by that device, whatever the source address."""
    here.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")


def stream(sender: Namespace, receiver: Namespace, address: str, size: int) -> int:
    """Send `size` bytes by TCP; how many arrived."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    arrived = 0

    def receive() -> None:
        nonlocal arrived
        accepted, _ = there.accept()
        with accepted:
            while piece := accepted.recv(1 << 20):
                arrived += len(piece)

    with receiver.inside():
        there = socket.create_server((address, PORT), family=family)
    with sender.inside():
        here = socket.socket(family)
    with there, here:
        there.settimeout(5)
        here.settimeout(5)
        receiving = threading.Thread(target=receive)
        receiving.start()
        here.connect((address, PORT))
        here.sendall(bytes(size))
        here.shutdown(socket.SHUT_WR)
        receiving.join()
    return arrived

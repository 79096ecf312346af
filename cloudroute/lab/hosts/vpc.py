"""The VPC: one namespace that forwards packets as EC2 would, configured from EC2's state.

    host eth0 ── port on the bridge of its subnet ── `ip rule iif <bridge>` ── the table of that subnet ── ...

- **Route tables** bind strictly: each subnet uses only its associated table, and packets without a route there are
  dropped. A route to an ENI hands the packet to that ENI; a route that EC2 reports as blackhole drops it.
- **Inside a subnet** frames go from ENI to ENI by the bridge, without routing. It delivers to the MACs of its ENIs and
  to no others.
- **The source/dest check** of an ENI is two rules on its port: a packet from it has one of its addresses as source, one
  to it as destination. They see every frame, routed or not. ARP and neighbour discovery pass.
- **Security groups and network ACLs** drop packets as EC2's state says: see `filters`.
- **The Resolver** answers from the router, at AWS's addresses, queries from addresses of the VPC and no others.
- **The metadata service** answers from the router too, for instances of the VPC.
- **The internet** is another namespace. Its gateway forwards packets with a source in the VPC, and drops all others.

EC2 calls `changed` after each change; a thread then updates the namespace, within a few tens of milliseconds.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import NamedTuple

from cloudroute.config.settings import VXLAN_PORT
from cloudroute.lab.aws import Aws, Machine, Vpc
from cloudroute.lab.hosts.metadata import Metadata
from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.hosts.picture import take
from cloudroute.lab.hosts.program import INTERNET, INTERNET_ADDRESSES, ROUTER, resolver_addresses
from cloudroute.lab.hosts.resolver import Resolver
from cloudroute.lab.hosts.router import Router

MOST_SEGMENTS = 65535
"""The kernel's own GSO_MAX_SEGS, of a device that cuts packets to size."""
DEFAULT_MTU = 9001
"""MTU inside a VPC, in bytes."""


class Internet(NamedTuple):
    """The host in the internet, and its addresses: IPv4, IPv6."""

    namespace: Namespace
    addresses: tuple[str, ...]


class VpcNet:
    """The VPC `vpc` of `aws`, as namespaces `<prefix>vpc` and `<prefix>inet`. Methods may be called from any thread."""

    def __init__(self, namespace_prefix: str, aws: Aws, vpc: Vpc, mtu: int = DEFAULT_MTU) -> None:
        self.trouble = ""
        """Error of the last update of the namespace from EC2's state; "" while all is well."""
        self._aws = aws
        self._vpc = vpc
        self._lock = threading.Lock()
        self._hosts: dict[str, Namespace] = {}
        self._blocked: set[tuple[str, int]] = set()
        self._narrow: set[str] = set()
        self._changed = threading.Condition()
        """Guards the next three."""
        self._changes = 0
        """Number of EC2's changes."""
        self._shown = 0
        """Number of the last change that was applied to the namespace, or tried."""
        self._closing = False
        router, internet = (Namespace(namespace_prefix + name) for name in (ROUTER, INTERNET))
        self._router = Router(router, internet, vpc.cidrs, mtu)
        self._router.create()
        self.resolver_addresses = resolver_addresses(vpc.cidrs)
        """Addresses of the VPC's DNS server: in the primary CIDR, then link-local, IPv4 and IPv6."""
        self._resolver = Resolver(router, self.resolver_addresses)
        self._metadata = Metadata(router, aws)
        aws.changed = self._await_change
        self.sync()
        self._thread = threading.Thread(target=self._follow, name="vpc", daemon=True)
        self._thread.start()

    @property
    def router(self) -> Namespace:
        """The router's namespace, which all packets pass: for tcpdump."""
        return self._router.namespace

    @property
    def internet(self) -> Internet:
        """The one host of the internet. It answers addresses of the VPC and no others."""
        return Internet(self._router.internet, INTERNET_ADDRESSES)

    def attach(self, host_namespace: Namespace, machine: Machine) -> None:
        """Give a host the primary ENI of a machine, as eth0 with its MAC and addresses, while the machine runs."""
        self.attach_all({machine.id: host_namespace})

    def attach_all(self, hosts: Mapping[str, Namespace]) -> None:
        """Attach many hosts at once, by instance id; by the ENI's own id where no instance has it."""
        with self._lock:
            self._hosts |= hosts
        self.sync()

    def detach(self, holder_id: str) -> None:
        """Detach the ENI from its host."""
        with self._lock:
            self._hosts.pop(holder_id, None)
        self.sync()

    def block(self, protocol: str = "udp", port: int = VXLAN_PORT) -> None:
        """Drop packets to this port of any host, as security groups without a rule for it would."""
        with self._lock:
            self._blocked.add((protocol, port))
        self.sync()

    def unblock(self, protocol: str = "udp", port: int = VXLAN_PORT) -> None:
        """Stop dropping packets to this port."""
        with self._lock:
            self._blocked.discard((protocol, port))
        self.sync()

    def narrow(self, *holder_ids: str) -> None:
        """Let the links of these instances silently lose packets of more than 1,500 bytes; without any, all is well.

        Hosts, and the internet's, then cut packets to size themselves: the router can't see the segments of a larger
        one.
        """
        with self._lock:
            self._narrow = set(holder_ids)
            for host in (*self._hosts.values(), self._router.internet):
                segments = 1 if holder_ids else MOST_SEGMENTS
                host.batch([f"link set eth0 gso_max_segs {segments}"])
        self.sync()

    def forget_flows(self) -> None:
        """Forget the flows that security groups have admitted: what they admit no more is dropped from now on."""
        with self._lock:
            self._router.forget_flows()

    def sync(self) -> None:
        """Bring the namespace to EC2's present state. Raises CloudrouteError."""
        with self._lock:
            self._router.show(take(self._aws, self._vpc.id), self._hosts, self._blocked, self._narrow)

    def close(self) -> None:
        """Remove both namespaces. The hosts' namespaces stay."""
        self._aws.changed = lambda: None
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._resolver.close()
        self._metadata.close()
        self._router.delete()

    def _await_change(self) -> None:
        """Handle a change of EC2: wait until it applies to packets. A caller told of a route may rely on it."""
        with self._changed:
            self._changes += 1
            mine = self._changes
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._shown >= mine or self._closing)

    def _follow(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._changes > self._shown or self._closing)
                if self._closing:
                    return
                seen = self._changes
            try:
                self.sync()
            except Exception as error:  # noqa: BLE001 - without this thread the VPC would silently stop following EC2
                self.trouble = f"{type(error).__name__}: {error}"
            else:
                self.trouble = ""
            with self._changed:
                self._shown = seen
                self._changed.notify_all()

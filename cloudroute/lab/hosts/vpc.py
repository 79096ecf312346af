"""The VPC: one namespace that does with packets what EC2 would, driven by what EC2 says.

    host eth0 ── port on the bridge of its subnet ── `ip rule iif <bridge>` ── the table of that subnet ── ...

- **Route tables** bind strictly: each subnet looks only at the table it is associated with, and what that does not
  know is swallowed. A route to an ENI hands the packet to that ENI; once EC2 says blackhole, it is one.
- **Inside a subnet** frames go from ENI to ENI by the bridge, with no route. It delivers to the MACs of its ENIs and to
  no others.
- **The source/dest check** of an ENI is two rules on its port: a packet from it has one of its addresses as source, one
  to it as destination. They see every frame, routed or not. ARP and neighbour discovery pass.
- **The Resolver** answers from the router, at the addresses of AWS's, queries from addresses of the VPC and no others.
- **The internet** is another namespace. Its gateway lets out what has a source in the VPC, and drops all else.

EC2 calls `changed` after each change; a thread then makes the namespace equal to it, a few tens of milliseconds later.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import NamedTuple

from cloudroute.lab.aws import Aws, Machine, Vpc
from cloudroute.lab.hosts.netns import Namespace
from cloudroute.lab.hosts.picture import take
from cloudroute.lab.hosts.program import INTERNET, INTERNET_ADDRESSES, ROUTER, resolver_addresses
from cloudroute.lab.hosts.resolver import Resolver
from cloudroute.lab.hosts.router import Router

DEFAULT_MTU = 9001
"""Inside a VPC."""


class Internet(NamedTuple):
    """A host out there, and its addresses: IPv4, IPv6."""

    namespace: Namespace
    addresses: tuple[str, ...]


class VpcNet:
    """The VPC `vpc` of `aws`, as namespaces `<prefix>vpc` and `<prefix>inet`. Methods may be called from any thread."""

    def __init__(self, namespace_prefix: str, aws: Aws, vpc: Vpc, mtu: int = DEFAULT_MTU) -> None:
        self.trouble = ""
        """Why the namespace is not what EC2 says, in words; "" while all is well."""
        self._aws = aws
        self._vpc = vpc
        self._lock = threading.Lock()
        self._hosts: dict[str, Namespace] = {}
        self._blocked: set[tuple[str, int]] = set()
        self._news = threading.Condition()
        """Of the next three."""
        self._changes = 0
        """How often EC2 has changed."""
        self._shown = 0
        """The change up to which the namespace has followed, or has tried to."""
        self._closing = False
        router, internet = (Namespace(namespace_prefix + name) for name in (ROUTER, INTERNET))
        self._router = Router(router, internet, vpc.cidrs, mtu)
        self._router.create()
        self.resolver_addresses = resolver_addresses(vpc.cidrs)
        """Where the VPC's DNS server answers: in the primary CIDR, then link-local, IPv4 and IPv6."""
        self._resolver = Resolver(router, self.resolver_addresses)
        aws.changed = self._await_change
        self.sync()
        self._thread = threading.Thread(target=self._follow, name="vpc", daemon=True)
        self._thread.start()

    @property
    def router(self) -> Namespace:
        """Where the packets pass: for tcpdump."""
        return self._router.namespace

    @property
    def internet(self) -> Internet:
        """The internet has one host. It answers addresses of the VPC and no others."""
        return Internet(self._router.internet, INTERNET_ADDRESSES)

    def attach(self, host_namespace: Namespace, machine: Machine) -> None:
        """Give a host the primary ENI of a machine, as eth0 with its MAC and addresses, for as long as that runs."""
        self.attach_all({machine.id: host_namespace})

    def attach_all(self, hosts: Mapping[str, Namespace]) -> None:
        """The same for many at once, by instance id."""
        with self._lock:
            self._hosts |= hosts
        self.sync()

    def detach(self, instance_id: str) -> None:
        """Take it away again."""
        with self._lock:
            self._hosts.pop(instance_id, None)
        self.sync()

    def block(self, protocol: str = "udp", port: int = 8472) -> None:
        """Drop what goes to this port of any host, as security groups that forgot it would."""
        with self._lock:
            self._blocked.add((protocol, port))
        self.sync()

    def unblock(self, protocol: str = "udp", port: int = 8472) -> None:
        """Let it pass again."""
        with self._lock:
            self._blocked.discard((protocol, port))
        self.sync()

    def sync(self) -> None:
        """Make the namespace equal to what EC2 says now. Raises CloudrouteError."""
        with self._lock:
            self._router.show(take(self._aws, self._vpc.id), self._hosts, self._blocked)

    def close(self) -> None:
        """Remove both namespaces. The hosts' are not touched."""
        self._aws.changed = lambda: None
        with self._news:
            self._closing = True
            self._news.notify_all()
        self._thread.join()
        self._resolver.close()
        self._router.delete()

    def _await_change(self) -> None:
        """EC2 has changed: wait until packets go by it. Who was told that a route is there may rely on it."""
        with self._news:
            self._changes += 1
            mine = self._changes
            self._news.notify_all()
            self._news.wait_for(lambda: self._shown >= mine or self._closing)

    def _follow(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._changes > self._shown or self._closing)
                if self._closing:
                    return
                seen = self._changes
            try:
                self.sync()
            except Exception as error:  # noqa: BLE001 - without this thread the VPC would silently stand still
                self.trouble = f"{type(error).__name__}: {error}"
            else:
                self.trouble = ""
            with self._news:
                self._shown = seen
                self._news.notify_all()

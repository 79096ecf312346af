"""`ports.Kernel`: a node's kernel and its files, joined from their adapters.

    kinds                                 adapter           how changes by other programs are noticed
    links, addresses, bridges, fdb[6],
    neighbours[6], nexthops, routes,
    rules                                 netlink.Netlink   the kernel announces them
    nftables                              nft.Nft           the kernel announces them
    sysctls                               sysctl.Sysctls    the kernel announces some; all are polled each second
    files                                 cni.Files         polled each second

The kernel announces forwarding and rp_filter, but for every device, those of pods too, and for our own writes. So the
settings are compared before a change is reported. Polling finds changes that the kernel does not announce (accept_ra,
files on any kind of mount); it costs two ten-thousandths of a CPU, most of it for waking up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudroute.adapters.cni import Files, find_plugins, leases_of_others, shadowing
from cloudroute.adapters.netlink.netlink import Netlink
from cloudroute.adapters.nft.client import Nft
from cloudroute.adapters.sysctl import Sysctls
from cloudroute.dataplane import Host, Kind, PeerBytes, TransitSource
from cloudroute.ports import KindDriver

_POLL_SECONDS = 1.0


class HostKernel:
    """ports.Kernel of the calling thread's network namespace."""

    def __init__(self, cni_conf_dir: str) -> None:
        self._nft = Nft()
        self._netlink = Netlink()
        self._sysctls = Sysctls()
        self._files = Files(cni_conf_dir)
        self._cni_conf_dir = cni_conf_dir
        self._tables: dict[Kind, KindDriver[Any, Any]] = {
            "links": self._netlink.links,
            "addresses": self._netlink.addresses,
            "sysctls": self._sysctls,
            "bridges": self._netlink.bridges,
            "fdb": self._netlink.fdb,
            "neighbours": self._netlink.neighbours,
            "fdb6": self._netlink.fdb6,
            "neighbours6": self._netlink.neighbours6,
            "nexthops": self._netlink.nexthops,
            "routes": self._netlink.routes,
            "rules": self._netlink.rules,
            "nftables": self._nft.table,
            "files": self._files,
        }
        self._poller: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def tables(self) -> Mapping[Kind, KindDriver[Any, Any]]:
        return self._tables

    def host(self, interface: str) -> Host:
        host = self._netlink.host(interface)
        accept_ra = Path("/proc/sys/net/ipv6/conf") / host.interface / "accept_ra"
        try:
            return host._replace(accepts_ra=accept_ra.read_text().strip() in ("1", "2"))
        except OSError:  # no IPv6 on this machine, or not on this NIC
            return host

    def listen(self, changed: Callable[[Collection[Kind]], None]) -> None:
        def hear(kinds: Collection[Kind]) -> None:
            if "sysctls" in kinds and not self._sysctls.altered():
                kinds = [kind for kind in kinds if kind != "sysctls"]
            if kinds:
                changed(kinds)

        self._netlink.listen(hear)
        self._nft.listen(changed)
        self._poller = threading.Thread(target=self._poll, args=(changed,), name="host-poll", daemon=True)
        self._poller.start()

    def plugins(self) -> tuple[frozenset[str], Sequence[str]]:
        return find_plugins()

    def shadowing(self) -> Sequence[str]:
        return shadowing(self._cni_conf_dir)

    def leases_of_others(self) -> Mapping[str, Collection[bytes]]:
        return leases_of_others()

    def peer_bytes(self) -> Sequence[PeerBytes]:
        return self._nft.peer_bytes()

    def transit_packets(self) -> Mapping[TransitSource, int]:
        return self._nft.transit_packets()

    def dead(self) -> str:
        poller = self._poller
        if poller is not None and not poller.is_alive() and not self._stop.is_set():
            return poller.name
        return self._netlink.dead() or self._nft.dead()

    def close(self) -> None:
        self._stop.set()
        if self._poller is not None:
            self._poller.join()
        self._netlink.close()
        self._nft.close()
        self._sysctls.close()

    def _poll(self, changed: Callable[[Collection[Kind]], None]) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            kinds: list[Kind] = []
            if self._sysctls.altered():
                kinds.append("sysctls")
            if self._files.altered():
                kinds.append("files")
            if kinds:
                changed(kinds)

"""Faults of a running lab and their repairs, each by a name, for `cloudroute lab break`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from cloudroute.config.settings import VXLAN_PORT
from cloudroute.dataplane import PROTOCOL, TABLE, VTEP
from cloudroute.errors import CloudrouteError
from cloudroute.lab.hosts.host import LabHost
from cloudroute.lab.hosts.lab import HostLab

LIMIT_MAX = 1000
_TUNNEL = "cloudroute-lab"
"""The nftables table that blocks a host's tunnel."""
_BLOCK = f"""table inet {_TUNNEL} {{
  chain in {{ type filter hook input priority -350; udp dport {VXLAN_PORT} drop; }}
  chain out {{ type filter hook output priority -350; udp dport {VXLAN_PORT} drop; }}
}}
"""


def _set_mac(host: LabHost) -> None:
    mac = host.run("cat", f"/sys/class/net/{VTEP}/address").strip()
    host.run("ip", "link", "set", VTEP, "address", mac)


def _flush_neighbours(host: LabHost) -> None:
    for family in ("-4", "-6"):
        host.run("ip", family, "neigh", "flush", "dev", VTEP, "nud", "permanent")


def _delete_routes(host: LabHost) -> None:
    # Not by `ip route flush`: the kernel refuses its request for a route with a nexthop id.
    for family in ("-4", "-6"):
        for line in host.run("ip", family, "route", "show", "proto", str(PROTOCOL)).splitlines():
            if "nhid" in line:
                host.run("ip", family, "route", "delete", line.split()[0], "proto", str(PROTOCOL))


def _block_tunnel(host: LabHost) -> None:
    _unblock_tunnel(host)
    host.namespace.run("nft", "-f", "-", stdin=_BLOCK)


def _unblock_tunnel(host: LabHost) -> None:
    with contextlib.suppress(CloudrouteError):  # the tunnel was not blocked
        host.run("nft", "delete", "table", "inet", _TUNNEL)


OF_HOST: Mapping[str, Callable[[LabHost], object]] = {
    "kill-agent": lambda host: host.kill_agent(),
    "stop-agent": lambda host: host.stop_agent(),
    "start-agent": lambda host: host.start_agent(),
    "freeze-agent": lambda host: host.freeze_agent(),
    "thaw-agent": lambda host: host.thaw_agent(),
    "delete-device": lambda host: host.run("ip", "link", "delete", VTEP),
    "down-device": lambda host: host.run("ip", "link", "set", VTEP, "down"),
    "drop-carrier": lambda host: host.set_carrier(on=False),
    "restore-carrier": lambda host: host.set_carrier(on=True),
    "set-mac": _set_mac,
    "flush-neighbours": _flush_neighbours,
    "delete-routes": _delete_routes,
    "flush-nexthops": lambda host: host.run("ip", "nexthop", "flush", "proto", str(PROTOCOL)),
    "flush-nft": lambda host: host.run("nft", "delete", "table", "inet", TABLE),
    "strict-rp-filter": lambda host: host.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1"),
    "block-tunnel": _block_tunnel,
    "unblock-tunnel": _unblock_tunnel,
}
"""Faults of one host."""

OF_LAB: Mapping[str, Callable[[HostLab], object]] = {
    "kill-controller": lambda lab: lab.kill_controller(),
    "stop-controller": lambda lab: lab.stop_controller(),
    "start-controller": lambda lab: lab.start_controller(),
    "stop-api": lambda lab: lab.stop_api(),
    "start-api": lambda lab: lab.start_api(),
}
"""Faults of the whole lab."""

OF_MACHINE: Mapping[str, Callable[[HostLab, str], object]] = {
    "terminate": lambda lab, name: lab.terminate(name),
    "replace": lambda lab, name: lab.replace(name),
}
"""Faults that end a host's instance."""


def apply(lab: HostLab, what: str, word: str) -> None:
    """Apply a fault: `word` is a host's name, a number or "" as `what` needs it. Raises CloudrouteError."""
    if what == "limit":
        lab.set_route_limit(_limit(word))
    elif what in OF_LAB:
        if word:
            raise CloudrouteError(f"{what} takes no host, but {word} was given")
        OF_LAB[what](lab)
    elif what in OF_MACHINE:
        OF_MACHINE[what](lab, _host(lab, what, word).name)
    elif what in OF_HOST:
        OF_HOST[what](_host(lab, what, word))
    else:
        known = ", ".join(["limit", *OF_MACHINE, *OF_LAB, *OF_HOST])
        raise CloudrouteError(f"{what}: nothing is known to break by that name; expected one of {known}")


def _limit(word: str) -> int:
    if not word.isdigit() or not 1 <= int(word) <= LIMIT_MAX:
        raise CloudrouteError(f"limit {word}: expected a number of entries from 1 to {LIMIT_MAX}")
    return int(word)


def _host(lab: HostLab, what: str, name: str) -> LabHost:
    if not name:
        raise CloudrouteError(f"{what} needs a host: {', '.join(lab.hosts)}")
    if name not in lab.hosts:
        raise CloudrouteError(f"{name}: there is no such host; there are {', '.join(lab.hosts)}")
    return lab.hosts[name]

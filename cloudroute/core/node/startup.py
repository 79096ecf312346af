"""States of an agent from its start to its end: their order, and the kernel objects that it writes in each.

A write that comes too early cuts pods off. Half a list has no routes to the other half's pods. The CNI configuration of
the former boot starts pods before anything leads to them. A NodeRoute of the earlier machine of the same name gives
them addresses that lead elsewhere. So each turn passes through these states in order, and ends in the first that it
can't leave:

    state         is left when                               writes                     reasons of its stay

    LISTING       NodeRoutes and RouteTables are listed      (removes the conflist of   (/readyz alone)
       │                                                     a former boot) [1]
       ▼
    IDENTIFYING   the Node's NodeRoute is there, and is of   nothing                    NoNodeRoute
       │          this machine [1]
       ▼
    PREPARING     the NIC is found; NodeRoute and NIC are    nothing                    Interface, NoPodCIDR
       │          usable
       ▼
    PROGRAMMING   the node's own pods have all they need,    kernel tables              KernelFailed, AddressesInUse,
       │          now or once in this process [2]                                       CNIPluginsMissing
       ▼
    SERVING       a signal ends the process                  conflist                   Ready, PeersFailed,
       │                                                                                ConflistFailed [2]
       ▼
    STOPPED       the next process begins                    nothing                    AgentStopped

[1] Only while no agent has programmed this kernel since it booted: `cr0` is missing or down. It comes up in
    PROGRAMMING, after both were done. So an agent that finds it up keeps the conflist and the NodeRoute.
[2] A conflist is not taken away for a later failure: a kubelet that goes NotReady for a repair would do more harm.
    PROGRAMMING's reasons are then reported in SERVING.

The kubelet reports the Node as ready once there is a conflist, so no pod starts before SERVING.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import NamedTuple

from cloudroute.core.node.conflist import NEEDED_PLUGINS
from cloudroute.dataplane import LEASES, NETWORK, Kind, network, written
from cloudroute.types import Cidr

BASE: tuple[Kind, ...] = ("links", "sysctls", "addresses", "bridges", "nftables")
"""Kinds that the node's own pods need; entries of `cr6` among them serve only peers with IPv6 alone."""
PEERS: tuple[Kind, ...] = ("fdb", "neighbours", "fdb6", "neighbours6", "nexthops", "routes", "rules")
"""Kinds that lead to other nodes' pods."""


class AgentState(Enum):
    """State in which a turn of an agent ended."""

    LISTING = auto()
    IDENTIFYING = auto()
    PREPARING = auto()
    PROGRAMMING = auto()
    SERVING = auto()
    STOPPED = auto()

    @property
    def writes(self) -> tuple[Kind, ...]:
        """Kinds that are written in this state."""
        match self:
            case AgentState.PROGRAMMING:
                return (*BASE, *PEERS)
            case AgentState.LISTING | AgentState.SERVING:
                return ("files",)
            case _:
                return ()


class Obstacle(NamedTuple):
    """Reason, one CamelCase word, and a sentence for each thing that is not in place, with its remedy."""

    reason: str
    words: Sequence[str]


def pods_obstacle(
    pod_cidrs: Collection[Cidr],
    *,
    failures: Sequence[str],
    plugins: Collection[str],
    searched: Collection[str],
    leases: Mapping[str, Collection[bytes]],
) -> Obstacle | None:
    """Return what the node's own pods still need before there may be a conflist; None if they have all.

    `failures`: entries of `BASE` that are not in place, in words. `plugins`, `searched`: the installed CNI plugins, and
    the folders that were searched for them. `leases`: addresses that host-local gave to pods of other networks, by
    network.
    """
    if failures:
        return Obstacle("KernelFailed", failures)
    if lacking := [name for name in NEEDED_PLUGINS if name not in plugins]:
        words = (
            f"the CNI plugins {' and '.join(lacking)} are in none of {', '.join(searched)}: install the CNI plugins "
            "there (Debian: containernetworking-plugins), or name their folder by CNI_PATH"
        )
        return Obstacle("CNIPluginsMissing", [words])
    in_use = list(_addresses_in_use(pod_cidrs, leases))
    return Obstacle("AddressesInUse", in_use) if in_use else None


def _addresses_in_use(pod_cidrs: Collection[Cidr], leases: Mapping[str, Collection[bytes]]) -> Iterator[str]:
    """Yield a sentence for each other network whose pods hold addresses of this node: new pods would get them."""
    for name, addresses in leases.items():
        taken = sorted(one for one in addresses if any(cidr.covers(network(one, 8 * len(one))) for cidr in pod_cidrs))
        if taken:
            yield (
                f"pods of the network {name} have {len(taken)} addresses of this node, as {written(taken[0])}: "
                f"link its leases into {LEASES}/{NETWORK} (docs/moving), or end these pods and remove {LEASES}/{name}"
            )

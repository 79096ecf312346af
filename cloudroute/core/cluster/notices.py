"""Notices for people about a node whose path changes, or does not although it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloudroute.core.cluster.members import Member
from cloudroute.core.cluster.states import State
from cloudroute.core.cluster.tables import TableUse
from cloudroute.types import STOPPED, Node, NodeRoute, NodeRouteSpec, Notice

LONGEST = 1024
"""Most characters of an agent's message: the CRD takes no more."""
HARMLESS = "PeersFailed"
"""Not-ready reason that does not affect inbound traffic: the agent can't send to some peers."""


def is_stopped(status: Mapping[str, object]) -> bool:
    """Whether a node's agent ended on a signal, and none has started there since.

    >>> is_stopped({"ready": False, "reason": "AgentStopped"}), is_stopped({"ready": True, "reason": "Ready"})
    (True, False)
    """
    return status.get("reason") == STOPPED and status.get("ready") is False


def agent_trouble(status: Mapping[str, object]) -> str:
    """Reason why a node can't receive, in its agent's words; "" when it can, or when no agent has reported.

    >>> agent_trouble({"ready": False, "reason": "Interface", "message": "eth0 is down"})
    'Interface: eth0 is down'
    >>> agent_trouble({"ready": False, "reason": "PeersFailed"})
    ''
    """
    reason = _text(status.get("reason")) or "no reason given"
    if status.get("ready") is not False or reason == HARMLESS:
        return ""
    message = _text(status.get("message"))
    return f"{reason}: {message}" if message else reason


def _text(words: object) -> str:
    """An agent's text, exact: it is escaped where it leaves the process."""
    return str(words or "")[:LONGEST].strip(" ")


def held_back(member: Member, table_ids: Sequence[str], trouble: str) -> Notice:
    """Warning for a node that only its agent keeps from being native from these tables (or direct, without any)."""
    what = f"native from {', '.join(table_ids)}" if table_ids else "direct"
    words = f"not {what} yet: it will be when its agent is ready, which says {trouble}"
    return Notice("Node", member.name, member.node.uid, "AgentNotReady", words)


def agent_missing(node: Node, seconds: float) -> Notice:
    """Warning for a node whose agent has been stopped for longer than routes are kept for it."""
    words = (
        f"its agent has been stopped for {seconds:g} s: routes that other nodes no longer use are deleted without "
        "waiting for it, and what its pods send by them is lost until an agent runs on this node"
    )
    return Notice("Node", node.name, node.uid, "AgentStopped", words)


def withdrawn(member: Member, old: NodeRoute, spec: NodeRouteSpec, uses: Mapping[str, TableUse]) -> Notice | None:
    """Warning for a live node that loses its route in some tables; None for any other node.

    Between nodes another path takes over without loss. But a host that is no node saw the pod's own address while the
    route existed, and has no other path back.
    """
    lost = [table_id for table_id in old.spec.native_in if table_id not in spec.native_in]
    lost = [table_id for table_id in lost if not _stopped(member, uses.get(table_id))]
    if not lost or member.state is State.DEAD:
        return None
    words = (
        "hosts that are no nodes lose their way to its pods: established connections with them break where they saw "
        "the pod's own address, new ones from the pods are masqueraded. Withdrawn from "
        f"{', '.join(_served(table_id, uses.get(table_id)) for table_id in lost)}"
    )
    return Notice("Node", member.name, member.node.uid, "RouteWithdrawn", words, f"{old.uid}/{old.generation}")


def _stopped(member: Member, use: TableUse | None) -> bool:
    """Whether the node's routes are blackholes: then its instance is stopped, and no connection is left to break."""
    return use is not None and any(cidr in use.ours and use.ours[cidr].blackhole for cidr in member.cidrs)


def _served(table_id: str, use: TableUse | None) -> str:
    """A table's id, with the subnets that use it."""
    subnets = [f"{subnet.id} {' '.join(map(str, subnet.cidrs))}" for subnet in use.subnets] if use else []
    return f"{table_id} ({', '.join(subnets)})" if subnets else table_id

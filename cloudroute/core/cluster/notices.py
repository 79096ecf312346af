"""What a person should know of a node whose path changes, or doesn't although it should: pure, and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloudroute.core.cluster.members import Member
from cloudroute.core.cluster.model import Notice
from cloudroute.core.cluster.tables import TableUse
from cloudroute.types import Node, NodeRoute, NodeRouteSpec

LONGEST = 1024
"""Characters of an agent's words: the CRD takes no more."""
HARMLESS = "PeersFailed"
"""Why an agent may be not ready and its node be sent to all the same: it can't send to some others."""


STOPPED = "AgentStopped"
"""Reason in the last status of an agent that ended on a signal. It hears of no change until it starts again."""


def is_stopped(status: Mapping[str, object]) -> bool:
    """Whether a node's agent ended on a signal, and none has started there since.

    >>> is_stopped({"ready": False, "reason": "AgentStopped"}), is_stopped({"ready": True, "reason": "Ready"})
    (True, False)
    """
    return status.get("reason") == STOPPED and status.get("ready") is False


def agent_trouble(status: Mapping[str, object]) -> str:
    """Why a node can't be sent to, in its agent's words; "" when it can, or when no agent has said anything.

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
    """An agent's words, exact: they are made fit for people where they leave the process."""
    return str(words or "")[:LONGEST].strip(" ")


def held_back(member: Member, table_ids: Sequence[str], trouble: str) -> Notice:
    """The node could be native from these tables (or direct, without any) by now, but for its agent."""
    what = f"native from {', '.join(table_ids)}" if table_ids else "direct"
    words = f"not {what} yet: it will be when its agent is ready, which says {trouble}"
    return Notice("Node", member.name, member.node.uid, True, "AgentNotReady", words)


def agent_missing(node: Node, seconds: float) -> Notice:
    """Warning for a node whose agent has been stopped for longer than any route is kept for it."""
    words = (
        f"its agent has been stopped for {seconds:g} s: routes that other nodes no longer use are deleted without "
        "waiting for it, and what its pods send by them is lost until an agent runs on this node"
    )
    return Notice("Node", node.name, node.uid, True, "AgentStopped", words)


def withdrawn(member: Member, old: NodeRoute, spec: NodeRouteSpec, uses: Mapping[str, TableUse]) -> Notice | None:
    """The node lives and loses its route in some tables; None when it does not.

    Between nodes another path takes over without a loss. But a host that is no node saw the pod's own address, as
    long as the route was there, and has no other way back.
    """
    lost = [table_id for table_id in old.spec.native_in if table_id not in spec.native_in]
    lost = [table_id for table_id in lost if not _stopped(member, uses.get(table_id))]
    if not lost or member.dead:
        return None
    words = (
        "hosts that are no nodes lose their way to its pods: established connections with them break where they saw "
        "the pod's own address, new ones from the pods are masqueraded. Withdrawn from "
        f"{', '.join(_served(table_id, uses.get(table_id)) for table_id in lost)}"
    )
    return Notice("Node", member.name, member.node.uid, True, "RouteWithdrawn", words, f"{old.uid}/{old.generation}")


def _stopped(member: Member, use: TableUse | None) -> bool:
    """Whether its routes are blackholes: then the instance is stopped, and no connection is left to break."""
    return use is not None and any(cidr in use.ours and use.ours[cidr].blackhole for cidr in member.cidrs)


def _served(table_id: str, use: TableUse | None) -> str:
    """A table, with the subnets that send by it."""
    subnets = [f"{subnet.id} {' '.join(map(str, subnet.cidrs))}" for subnet in use.subnets] if use else []
    return f"{table_id} ({', '.join(subnets)})" if subnets else table_id

"""States of a node as the controller sees it. Each Node is in exactly one, and each NodeRoute.

A NodeRoute with the name, the instance and the pod CIDRs of a Node is the Node's own and has its state.

    a Node ─┬─▶ INVALID                           its providerID names no instance: it leaves this state once
            ├─▶ DUPLICATE, REFUSED, OTHER_VPC     no network, until the cause is gone
            ├─▶ UNSEEN, BLOCKED                   waits for EC2; for a NodeRoute that is to be deleted
            │      │ ▲
            │      ▼ │  back only before its NodeRoute is written
            └─▶ JOINING ◀──▶ ROUTABLE             its source/dest check is on; is off
                   │ ▲
                   ▼ │  from both, and back from MISSING
                MISSING ◀──▶ DEAD                 EC2 does not show its instance; its instance is terminated

    the NodeRoute of a Node
            ├─▶ LEAVING ──▶ DRAINING ──▶ deleted  its Node is gone: withdrawn, then drained
            ├─▶ GONE ──────────────────▶ deleted  its Node is gone and its instance terminated: no drain
            ├─▶ SUPERSEDED ────────────▶ deleted  its instance has a Node of another name
            └─▶ REPLACED ──────────────▶ deleted  its instance is terminated, a new one has its name and CIDRs

A Node that takes over a NodeRoute of its instance, under another name, can be MISSING or DEAD from its first accepted
plan on. A NodeRoute that is not deleted yet changes between these four, or returns to its Node's state, as its Node
and instance change; but what is DRAINING is not LEAVING again.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """State of a Node (the first ten), or of a NodeRoute without a Node of its own (the others)."""

    INVALID = "invalid"
    """Its providerID names no EC2 instance."""
    DUPLICATE = "duplicate"
    """Another Node has its instance."""
    REFUSED = "refused"
    """It can't have its pod CIDRs, or there are none left."""
    OTHER_VPC = "other VPC"
    """Its instance is in another VPC: no route can lead to it."""
    UNSEEN = "unseen"
    """Nothing is published of it, and EC2 does not show its instance, or not alive, or not its subnet."""
    BLOCKED = "blocked"
    """A NodeRoute that is to be deleted still has its name or its pod CIDR. Its routes and condition stay meanwhile."""
    JOINING = "joining"
    """The source/dest check of its ENI is on, so that only the overlay leads to it: switched off."""
    ROUTABLE = "routable"
    """Its check is off: it gets routes, and once they have settled, paths by them are published."""
    MISSING = "missing"
    """It is published, and EC2 does not show its instance or subnet: kept as it is, since NotFound proves nothing."""
    DEAD = "dead"
    """It is published, and its instance is shutting down or terminated: its routes are deleted without a drain."""
    SUPERSEDED = "superseded"
    """Its instance has a Node under another name: deleted once the NodeRoute of that name is written."""
    REPLACED = "replaced"
    """Its instance is terminated, and a new one has its name and CIDRs: deleted, and its routes redirected."""
    LEAVING = "leaving"
    """Its Node is gone or is another instance now, and agents still use its routes: withdrawn."""
    DRAINING = "draining"
    """Its Node is gone, and it is withdrawn: its routes are deleted after the drain, then itself."""
    GONE = "gone"
    """Its Node is gone and its instance terminated: its routes are deleted at once, then itself."""


SHOWN = (State.ROUTABLE, State.JOINING)
"""States of the members whose instance EC2 shows alive."""
ROUTABLE, JOINING = SHOWN
"""For code that is run for each member: in Python 3.11 `State.JOINING` takes as long as ten other attributes."""

"""Who gets a slot in a route table that may be too small for all.

One sort, and the first that fit: nodes that senders of this table can't reach directly before nodes that they can;
then who has the slot; then priority, age and name. A slot is for the node: all of its families or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from cloudroute.core.members import Member
from cloudroute.core.model import Policy
from cloudroute.core.tables import TableUse
from cloudroute.types import Cidr


def grant(use: TableUse, members: Sequence[Member], by_cidr: Mapping[Cidr, int], policy: Policy) -> dict[int, Member]:
    """Members that shall be routed in this table, in the order of the sort, by their index in `members`.

    `members` come in the order of priority and age; `by_cidr` gives a member's index by its pod CIDR.
    """
    if not use.managed:
        return {}
    holders = sorted({by_cidr[cidr] for cidr in use.ours if cidr in by_cidr})
    room = {family: use.room_for_ours(family) for family in use.families}
    needs = {tuple(cidr.family for cidr in member.cidrs) for member in members}
    granted: dict[int, Member] = {}
    for indexes, holds in _order(members, holders, use, policy):
        spare = 0 if holds else policy.route_reserve
        for index in indexes:
            if not any(all(room.get(family, 0) > spare for family in families) for families in needs):
                break  # nobody fits any more: of 5,000 members a table of 50 looks at 50
            member = members[index]
            fits = all(room.get(cidr.family, 0) > spare for cidr in member.cidrs)
            if fits and _routable(member, use, holds):
                granted[index] = member
                for cidr in member.cidrs:
                    room[cidr.family] -= 1
    return granted


def _order(
    members: Sequence[Member], holders: Sequence[int], use: TableUse, policy: Policy
) -> Iterator[tuple[Iterator[int], bool]]:
    """The sort, as up to four stretches of indexes, each with whether its members have the slot already."""
    held = set(holders)
    direct = use.only_subnet if policy.direct_routing != "off" else ""

    def reachable(wanted: bool, indexes: Iterable[int]) -> Iterator[int]:
        return (i for i in indexes if (bool(direct) and members[i].subnet_id == direct) == wanted)

    others = [i for i in range(len(members)) if i not in held]
    yield reachable(False, holders), True
    yield reachable(False, others), False
    if policy.direct_routing == "auto" and direct:
        yield reachable(True, holders), True
        yield reachable(True, others), False


def _routable(member: Member, use: TableUse, holds: bool) -> bool:
    """Whether the member can have a route here: alive, seen by EC2 (or unseen with what it has), and not taken."""
    if member.dead:
        return False
    if not member.known and (not holds or all(_gone(use, cidr) for cidr in member.cidrs)):
        return False
    return not any(cidr in use.table.routes and cidr not in use.ours for cidr in member.cidrs)


def _gone(use: TableUse, cidr: Cidr) -> bool:
    """Whether EC2 says that the target of our route is gone: together with an unknown instance that proves it."""
    route = use.ours.get(cidr)
    return route is None or route.blackhole

"""Slots for nodes in a route table that may be too small for all.

One sort, and the first that fit: nodes that senders of this table can't reach directly come before nodes that they
can; then holders, which have all of their routes in the table; then by priority, age and name. A slot is for a whole
node: all of its families that can be routed, or none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import filterfalse, islice

from cloudroute.core.cluster.members import Member, Membership
from cloudroute.core.cluster.model import Policy
from cloudroute.core.cluster.states import SHOWN, State
from cloudroute.core.cluster.tables import TableUse
from cloudroute.types import Family

Grants = Mapping[str, Mapping[int, Member]]
"""Table id -> index of a member -> member that shall have its routes there, in the order of the sort."""
Families = tuple[Family, ...]


def grant(uses: Mapping[str, TableUse], membership: Membership, policy: Policy) -> Grants:
    """Choose the members that shall have their routes in each table."""
    candidates = _Candidates(membership, policy)
    return {table_id: _grant_in(use, candidates, policy) if use.managed else {} for table_id, use in uses.items()}


class _Candidates:
    """Facts about the members that each table needs, by index; computed once."""

    def __init__(self, membership: Membership, policy: Policy) -> None:
        members, every = membership.members, policy.families
        self.members, self.neighbours, self._index_of = members, membership.neighbours, membership.index_of
        self.families: list[Families] = [
            every if len(member.routed) == len(every) else tuple([cidr.family for cidr in member.routed])
            for member in members
        ]
        self.kinds = set(self.families)
        self._unsure = [index for index, member in enumerate(members) if member.state not in SHOWN]
        self._unrouted = [index for index, families in enumerate(self.families) if not families]

    def holders(self, use: TableUse) -> set[int]:
        """Members that have all of their routes in a table."""
        entries = Counter(map(self._index_of.get, use.ours))
        return {i for i, count in entries.items() if i is not None and count >= len(self.families[i])}

    def barred(self, use: TableUse) -> set[int]:
        """Members that can't be routed in a table: no route can lead to them, or a foreign route has their CIDR."""
        taken = {self._index_of[cidr] for cidr in use.foreign if cidr in self._index_of}
        return taken.union(self._unrouted, [index for index in self._unsure if not _routable(self.members[index], use)])


def _grant_in(use: TableUse, candidates: _Candidates, policy: Policy) -> dict[int, Member]:
    room = {family: use.room_for_ours(family) for family in use.families}
    barred = candidates.barred(use)
    members, families = candidates.members, candidates.families
    granted: dict[int, Member] = {}
    for indexes, spare in _groups(use, candidates, policy):
        queue = filterfalse(barred.__contains__, indexes)
        sure = min(room.values(), default=0) - spare  # this many fit, whatever their families
        first = list(islice(queue, max(0, sure)))
        granted |= {index: members[index] for index in first}
        for kind, count in Counter(map(families.__getitem__, first)).items():
            for family in kind:
                room[family] -= count
        for index in queue:
            if _fits(families[index], room, spare):
                granted[index] = members[index]
                for family in families[index]:
                    room[family] -= 1
            elif not any(_fits(kind, room, spare) for kind in candidates.kinds):
                break  # no member fits any more: of 5,000 members a table of 50 checks 51
    return granted


def _groups(use: TableUse, candidates: _Candidates, policy: Policy) -> Iterator[tuple[Iterable[int], int]]:
    """Up to four groups of indexes, best first, each with the number of entries that its members must leave free.

    Inside a group the order is that of `Membership.members`.
    The reserve holds back new routes only, except that nodes which are reached directly yield their entries to it.
    """
    near = candidates.neighbours.get(use.only_subnet, frozenset())
    holders = candidates.holders(use)
    apart = near | holders
    yield sorted(holders - near), 0
    yield (index for index in range(len(candidates.members)) if index not in apart), policy.route_reserve
    if policy.direct_routing == "auto":
        yield sorted(holders & near), policy.route_reserve
        yield sorted(near - holders), policy.route_reserve


def _fits(families: Families, room: Mapping[Family, int], spare: int) -> bool:
    return all(room[family] > spare for family in families)


def _routable(member: Member, use: TableUse) -> bool:
    """Whether a route can lead to a member that EC2 does not show, or shows dead."""
    if member.state is State.DEAD:
        return False
    # A blackhole means a missing target: together with an unknown instance it proves that the instance is gone.
    return any(cidr in use.ours and not use.ours[cidr].blackhole for cidr in member.cidrs)

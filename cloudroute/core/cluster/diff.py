"""Difference between the routes that members shall have and the routes in the tables.

Computed once per plan. Only differences appear, so that a settled table costs its comparison and nothing after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cloudroute.core.cluster.gateways import Placement
from cloudroute.core.cluster.members import Member, Membership
from cloudroute.core.cluster.model import Policy
from cloudroute.core.cluster.slots import Grants
from cloudroute.core.cluster.tables import Selection, TableUse
from cloudroute.types import Cidr


class Gap(NamedTuple):
    """Faults of a table's routes to a member that has a slot in it."""

    missing: tuple[Cidr, ...]
    """The member's CIDRs without a route."""
    astray: tuple[Cidr, ...]
    """The member's CIDRs whose route leads to another ENI. If both are empty, a route is right but a blackhole."""

    @property
    def blackhole(self) -> bool:
        """Whether the routes are right and only the instance does not run: no step can help."""
        return not self.missing and not self.astray


Gaps = Mapping[str, Mapping[int, Gap]]
"""Table id -> index of a member -> its gap; members without a gap are absent."""


@dataclass(frozen=True)
class Comparison:
    """Members and route tables of a snapshot: what there is, and what there shall be."""

    policy: Policy
    selection: Selection
    membership: Membership
    uses: Mapping[str, TableUse]
    """The selected tables by id, in the order of ids."""
    grants: Grants
    gaps: Gaps
    placement: Placement


def diff(uses: Mapping[str, TableUse], grants: Grants) -> Gaps:
    """Compare every table with its grants."""
    return {table_id: diff_table(use, grants[table_id]) for table_id, use in uses.items()}


def diff_table(use: TableUse, granted: Mapping[int, Member]) -> dict[int, Gap]:
    """Compare one table with its grants."""
    gaps = {}
    route_to = use.ours.get
    for index, member in granted.items():
        eni = member.interface_id
        for cidr in member.routed:
            route = route_to(cidr)
            if route is None or route.target != eni or route.blackhole:
                gaps[index] = _gap(use, member)
                break
    return gaps


def _gap(use: TableUse, member: Member) -> Gap:
    missing, astray = [], []
    for cidr in member.routed:
        route = use.ours.get(cidr)
        if route is None:
            missing.append(cidr)
        elif route.target != member.interface_id:
            astray.append(cidr)
    return Gap(tuple(missing), tuple(astray))

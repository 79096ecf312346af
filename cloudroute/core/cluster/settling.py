"""To native: NodeRoute, routes and source/dest check, `settle_seconds`, then the paths are published.

They wait while the agent reports not ready. The timers are in `Carryover`; a controller that lost it (a restart) starts
them anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cloudroute.core.cluster.diff import Comparison, Gap
from cloudroute.core.cluster.members import Member
from cloudroute.core.cluster.model import DeleteNodeRoute, DisableSourceDestCheck, Key, Snapshot, Wait, WriteNodeRoute
from cloudroute.core.cluster.notices import agent_trouble, held_back, is_stopped, withdrawn
from cloudroute.core.cluster.states import JOINING, SHOWN
from cloudroute.types import NodeRouteSpec, Notice

Lacking = Sequence[tuple[str, Gap]]
"""Ids of the tables in which a member lacks routes, each with the gap."""


class Publication(NamedTuple):
    """Writes of the members' NodeRoutes, and all that a member needs before its paths are published."""

    replaced: tuple[DeleteNodeRoute, ...]
    """NodeRoutes of predecessors: they come before the writes of their names."""
    writes: Mapping[str, WriteNodeRoute]
    """By name: the NodeRoutes that differ from their members."""
    checks: tuple[DisableSourceDestCheck, ...]
    settling: Mapping[tuple[str, str], float]
    """Timers, as in `Carryover`."""
    waits: tuple[Wait, ...]
    notices: tuple[Notice, ...]


class _Settling(NamedTuple):
    """Whether a member's new paths can be published: in place for long enough, and no further one about to follow."""

    done: bool
    timers: Mapping[tuple[str, str], float] = {}
    wait: Wait | None = None
    notice: Notice | None = None


def publish_members(snapshot: Snapshot, found: Comparison) -> Publication:
    """Write the NodeRoutes that differ from their members, and switch off the source/dest checks that are still on."""
    membership = found.membership
    replaced = [DeleteNodeRoute(member.predecessor) for member in membership.members if member.predecessor]
    before = {step.node.name: (step.key,) for step in membership.assign}
    before |= {step.old.name: (step.key,) for step in replaced}
    writes: dict[str, WriteNodeRoute] = {}
    settled: list[_Settling] = []
    notices: list[Notice | None] = []
    reached, lacking = _granted(found)
    direct = found.policy.direct_routing != "off"
    for index, member in enumerate(membership.members):
        record = member.record
        spec = record.spec if record else None
        joining = member.state is JOINING
        native = () if joining else reached.get(index, ())
        subnet = member.subnet_id if direct and not joining else ""
        if spec is None or spec.native_in != native or spec.subnet_id != subnet:
            settling = _settle(snapshot, found, member, native, subnet, lacking.get(index, ()))
            settled.append(settling)
            notices.append(settling.notice)
            if not settling.done:
                native, subnet = _published(spec, native, subnet)
        old = record if record and record.name == member.name else None
        gateway = member.name in found.placement.published
        if old is None or not _is_published(old.spec, member, native, subnet, gateway=gateway):
            wanted = _spec(member, native, subnet, gateway=gateway)
            writes[member.name] = WriteNodeRoute(member.name, old, wanted, before.get(member.name, ()))
            notices.append(withdrawn(member, record, wanted, found.uses) if record else None)
    return Publication(
        tuple(replaced),
        writes,
        tuple([_check(member) for member in membership.members if member.state is JOINING]),
        {key: since for settling in settled for key, since in settling.timers.items()},
        tuple([settling.wait for settling in settled if settling.wait]),
        tuple([notice for notice in notices if notice]),
    )


def _check(member: Member) -> DisableSourceDestCheck:
    return DisableSourceDestCheck(member.interface_id, member.instance_id, member.name, member.table_id)


def _granted(found: Comparison) -> tuple[dict[int, tuple[str, ...]], dict[int, list[tuple[str, Gap]]]]:
    """By member: the tables that have all its routes, in order, and the tables with a gap."""
    reached: dict[int, list[str]] = {}
    lacking: dict[int, list[tuple[str, Gap]]] = {}
    for table_id in sorted(found.grants):
        gaps = found.gaps[table_id]
        for index in found.grants[table_id]:
            if index in gaps:
                lacking.setdefault(index, []).append((table_id, gaps[index]))
            elif index in reached:
                reached[index].append(table_id)
            else:
                reached[index] = [table_id]
    return {index: tuple(table_ids) for index, table_ids in reached.items()}, lacking


def _published(old: NodeRouteSpec | None, native: tuple[str, ...], subnet: str) -> tuple[tuple[str, ...], str]:
    """Return the paths of these that are published already.

    All changes of a node are published together: one write, not one for each table and the check.
    """
    if old is None:
        return (), ""
    native = tuple([table_id for table_id in native if table_id in old.native_in])
    return native, subnet if subnet == old.subnet_id else ""


def _spec(member: Member, native: tuple[str, ...], subnet: str, *, gateway: bool) -> NodeRouteSpec:
    return NodeRouteSpec(
        member.cidrs, member.node.node_ips, member.instance_id, member.interface_id, subnet, member.table_id, native,
        gateway,
    )  # fmt: skip


def _is_published(old: NodeRouteSpec, member: Member, native: Sequence[str], subnet: str, *, gateway: bool) -> bool:
    """Whether the NodeRoute, which has the member's instance and CIDRs, has these paths and all else of the member."""
    return (
        old.native_in == native
        and old.subnet_id == subnet
        and old.gateway == gateway
        and old.network_interface_id == member.interface_id
        and old.route_table_id == member.table_id
        and old.node_ips == member.node.node_ips
    )


def _settle(
    snapshot: Snapshot, found: Comparison, member: Member, native: Sequence[str], subnet: str, lacking: Lacking
) -> _Settling:
    if member.state not in SHOWN:
        return _Settling(done=False)  # the state of its source/dest check is not known either
    old = member.record.spec if member.record else None
    new = [table_id for table_id in native if old is None or table_id not in old.native_in]
    if subnet and (old is None or old.subnet_id != subnet):
        new.append("")
    timers = {(what, member.instance_id): _since(snapshot, what, member.instance_id) for what in new}
    ends = [since + found.policy.settle_seconds for since in timers.values()]
    inherited = any((table_id, cidr) in snapshot.inherited for table_id in new for cidr in member.routed)
    if inherited and found.policy.overlay:  # without the overlay a wait costs more packets
        ends.append(snapshot.inherited_until)
    until = max(ends, default=0.0)
    if any(_coming(snapshot, found, table_id, gap) for table_id, gap in lacking):
        return _Settling(done=False, timers=timers)
    if until > snapshot.now:
        return _Settling(done=False, timers=timers, wait=Wait(until, f"{member.name} to settle"))
    return _ready(member, new, timers)


def _since(snapshot: Snapshot, table_id: str, instance_id: str) -> float:
    """Monotonic second since which a path is in place: now, unless an earlier plan found it."""
    return snapshot.carryover.settling.get((table_id, instance_id), snapshot.now)


def _ready(member: Member, new: Sequence[str], timers: Mapping[tuple[str, str], float]) -> _Settling:
    """Let `new` paths wait while the node's own agent reports that it can't receive.

    A missing report counts as ready: there may be no agent yet, or an older one. Published paths stay in any case.
    """
    status = member.record.status if member.record else {}
    trouble = agent_trouble(status) if new else ""
    if not trouble:
        return _Settling(done=True, timers=timers)
    # An upgrade stops every agent for a moment: no Event for that.
    notice = None if is_stopped(status) else held_back(member, [table_id for table_id in new if table_id], trouble)
    return _Settling(done=False, timers=timers, notice=notice)


def _coming(snapshot: Snapshot, found: Comparison, table_id: str, gap: Gap) -> bool:
    """Whether a missing route will exist soon: it can be requested now and has not failed.

    If it waits for another route to drain or for a back-off, the node's other paths do not wait for it.
    """
    keys: list[Key] = [("route", table_id, str(cidr)) for cidr in (*gap.missing, *gap.astray)]
    use, reserve = found.uses[table_id], found.policy.route_reserve
    room = all(use.free(cidr.family) > reserve for cidr in gap.missing)
    return bool(keys) and room and snapshot.held.isdisjoint(keys)

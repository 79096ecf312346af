"""The steps of a plan, one row each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict

from cloudroute.adapters.kube.project import node_route_spec
from cloudroute.core.cluster.model import (
    AssignPodCidrs,
    ChangeRoute,
    DeleteNodeRoute,
    DeleteRouteTableObject,
    DisableSourceDestCheck,
    SetCondition,
    Step,
    WriteNodeRoute,
    WriteRouteTableObject,
)
from cloudroute.types import Cidr, Family, RouteTableObject


class Row(TypedDict):
    """`action` is the name of the AWS call, or a verb for a Kubernetes object."""

    action: str
    object: str
    node: str
    change: str


def rows(steps: Iterable[Step], node_mask: Mapping[Family, int]) -> list[Row]:
    """Return the rows of a plan's steps, in order."""
    return [_row(step, node_mask) for step in steps]


def _row(step: Step, node_mask: Mapping[Family, int]) -> Row:
    match step:
        case AssignPodCidrs():
            return _make("assign podCIDRs", f"node/{step.node.name}", step.node.name, _list(step.cidrs))
        case WriteNodeRoute():
            verb = "create" if step.old is None else "update"
            return _make(verb, f"noderoute/{step.name}", step.name, _difference(step))
        case DeleteNodeRoute():
            return _make("delete", f"noderoute/{step.old.name}", step.old.name, "")
        case DisableSourceDestCheck():
            return _make("ModifyNetworkInterfaceAttribute", step.interface_id, step.node, "source/dest check off")
        case ChangeRoute():
            target = f" to {step.interface_id}" if step.interface_id else ""
            to = step.destination
            gateway = ", as a gateway" if to.length < node_mask[to.family] else ""
            return _make(f"{step.verb.title()}Route", step.table_id, step.node, f"{to}{target}{gateway}")
        case SetCondition():
            words = f"NetworkUnavailable={step.condition.status}, {step.condition.reason}"
            return _make("set condition", f"node/{step.node.name}", step.node.name, words)
        case WriteRouteTableObject():
            verb = "create" if step.old is None else "update"
            return _make(verb, f"routetable/{step.report.id}", "", _fill(step.report))
        case DeleteRouteTableObject():
            return _make("delete", f"routetable/{step.old.id}", "", "")


def _fill(report: RouteTableObject) -> str:
    return "; ".join(f"{family}: {use.used} used, {use.ours} ours" for family, use in report.families.items())


def _make(action: str, object_: str, node: str, change: str) -> Row:
    return {"action": action, "object": object_, "node": node, "change": change}


def _difference(step: WriteNodeRoute) -> str:
    """Return the fields of the spec that get another value, as the object names them."""
    old, new = node_route_spec(step.old.spec) if step.old else {}, node_route_spec(step.spec)
    changed = (name for name in {**old, **new} if (old.get(name) or "") != (new.get(name) or ""))
    return "; ".join(f"{name}: {_show(new.get(name))}" for name in changed)


def _show(value: object) -> str:
    return (_list(value) if isinstance(value, list) else str(value or "")) or "none"


def _list(values: Iterable[Cidr | str]) -> str:
    return ",".join(map(str, values))

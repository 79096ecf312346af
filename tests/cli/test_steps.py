"""The rows of `cloudroute plan`: what changes, by the names of the objects."""

from __future__ import annotations

from dataclasses import replace

from cloudroute.commands.steps import rows
from cloudroute.core.cluster.model import WriteNodeRoute
from cloudroute.types import Cidr, NodeRoute, NodeRouteSpec

SPEC = NodeRouteSpec((Cidr.parse("100.64.1.0/24"),), ("10.0.0.4",), "i-1", "eni-1", "subnet-1", "rtb-1", ())


def change(old: NodeRouteSpec | None, new: NodeRouteSpec) -> str:
    record = NodeRoute("n1", "uid", "1", "", old) if old else None
    (row,) = rows([WriteNodeRoute("n1", record, new)], {"ipv4": 24})
    return row["change"]


def test_a_new_noderoute_shows_what_it_has() -> None:
    assert change(None, SPEC) == (
        "podCIDRs: 100.64.1.0/24; nodeIPs: 10.0.0.4; instanceID: i-1; networkInterfaceID: eni-1; subnetID: subnet-1; "
        "routeTableID: rtb-1"
    )


def test_a_changed_noderoute_shows_what_changes() -> None:
    native = replace(SPEC, native_in=("rtb-1", "rtb-2"), gateway=True)
    assert change(SPEC, native) == "nativeIn: rtb-1,rtb-2; gateway: True"
    assert change(native, SPEC) == "nativeIn: none; gateway: none"

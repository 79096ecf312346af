"""Expected final states of a cluster."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tests.controller.lab import Lab

NATIVE = ("False", "RouteCreated")
OVERLAY = ("False", "OverlayFallback")


def primary(lab: Lab, name: str) -> Any:
    """The primary ENI of a Node, as EC2 describes it."""
    found = lab.aws.scene.ec2.describe_instances(InstanceIds=[lab.instance(name)])
    interfaces = found["Reservations"][0]["Instances"][0]["NetworkInterfaces"]
    return next(eni for eni in interfaces if eni["Attachment"]["DeviceIndex"] == 0)


def all_native(lab: Lab, names: Collection[str]) -> None:
    """These Nodes and no others: each routed in every table, its check off, its condition well, published native."""
    enis = {name: primary(lab, name) for name in names}
    wanted = {lab.pod_cidrs(name)[0]: enis[name]["NetworkInterfaceId"] for name in names}
    assert len(wanted) == len(names), "pod CIDRs must differ"
    for table_id in lab.tables():
        assert lab.routes(table_id) == wanted
    assert lab.conditions() == dict.fromkeys(names, NATIVE)
    assert [name for name in names if enis[name]["SourceDestCheck"]] == []
    assert {name: route.spec.native_in for name, route in lab.published().items()} == dict.fromkeys(
        names, tuple(sorted(lab.tables()))
    )

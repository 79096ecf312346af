"""`cloudroute doctor` with gateways: all is well, and what breaks breaks its own check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cloudroute.core.explain.doctor.gateways import LABEL
from cloudroute.selector import Selector
from tests.controller.lab import POOL
from tests.doctor.lab import FROM_VPC, GATEWAYS, NO_GATEWAYS, UNASKED, DoctorLab, bad, doctor_lab, found
from tests.doctor.test_breaks import breaks_exactly, named

Break = Callable[[DoctorLab], dict[str, Any] | None]


def test_all_is_well_with_gateways() -> None:
    """Two nodes in two zones renew their Leases; their instance types and what they let in are told."""
    with doctor_lab() as healthy:
        one, other = healthy.names[:2]
        healthy.select_gateways(one, other)
        findings = healthy.examine(**GATEWAYS)
        assert UNASKED.keys() - bad(findings) == set(NO_GATEWAYS)
        assert found(findings, "gateways").found == f"{one}, {other}: each renews its Lease"
        assert f"{one} is m1.small, {other} is m1.small" in found(findings, "gateway-instances").found
        assert found(findings, "gateway-routes").found == f"nobody else routes {POOL}"


def _not_selected(_: DoctorLab) -> dict[str, Any]:
    return {"gateway_nodes": Selector.parse(LABEL.replace("gateway", "router"))}


def _own_label(broken: DoctorLab) -> dict[str, Any]:
    """A label that a kubelet may set selects the same nodes."""
    for name in broken.names[:2]:
        broken.kube.patch("nodes", name, {"metadata": {"labels": {"role": "gateway"}}})
    return {"gateway_nodes": Selector.parse("role=gateway")}


def _only_one(broken: DoctorLab) -> None:
    key, _, _ = LABEL.partition("=")
    broken.kube.patch("nodes", broken.names[1], {"metadata": {"labels": {key: "none"}}})


def _cordoned(broken: DoctorLab) -> None:
    broken.kube.patch("nodes", broken.names[1], {"spec": {"unschedulable": True}})


def _silent(count: int) -> Break:
    def break_it(broken: DoctorLab) -> None:
        for name in broken.names[:count]:
            broken.renewed(name, seconds_ago=60)

    return break_it


def _no_lease(broken: DoctorLab) -> None:
    broken.kube.delete("leases", f"gw-{broken.names[0]}", "cloudroute")


def _other_route(destination: str) -> Break:
    return lambda broken: broken.foreign(broken.tables()[0], destination, GatewayId=broken.gateway())


def _shut(broken: DoctorLab) -> None:
    broken.aws.scene.ec2.revoke_security_group_ingress(GroupId=broken.group, IpPermissions=[FROM_VPC])


def _https_alone(broken: DoctorLab) -> None:
    _shut(broken)
    broken.admit(broken.group, {**FROM_VPC, "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443})


def _acl(broken: DoctorLab) -> None:
    broken.acl((90, "deny", "6", "10.0.200.0/24", 0, 65535))


BREAKS: list[tuple[str, str, Break]] = [
    ("gateways", "failed", _not_selected),
    ("gateway-label", "warning", _own_label),
    ("gateways", "warning", _only_one),
    ("gateways", "warning", _cordoned),
    ("gateways", "warning", _silent(1)),
    ("gateways", "warning", _no_lease),
    ("gateways", "failed", _silent(2)),
    ("gateway-routes", "warning", _other_route(POOL)),
    ("foreign-routes", "warning", _other_route("100.64.200.0/24")),
    ("gateway-groups", "warning", _shut),
    ("gateway-groups", "warning", _https_alone),
    ("gateway-acls", "warning", _acl),
]


@pytest.mark.parametrize(("check", "state", "break_it"), BREAKS, ids=named(BREAKS))
def test_each_check_finds_what_it_is_for(check: str, state: str, break_it: Break) -> None:
    """One thing is wrong in a world with gateways: that check says so, with what to do; no other does."""
    with doctor_lab() as broken:
        broken.select_gateways(*broken.names[:2])
        settings = break_it(broken) or {}
        breaks_exactly(check, state, broken.examine(**{**GATEWAYS, **settings}))

"""`cloudroute doctor` on strict EC2 and the embedded API: all is well, and what breaks breaks its own check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cloudroute.core.explain.doctor import Finding
from cloudroute.core.explain.doctor.aws import ACTIONS
from cloudroute.core.explain.doctor.facts import Networkd
from cloudroute.core.explain.doctor.findings import known
from cloudroute.core.explain.doctor.node import FEATURES
from cloudroute.core.explain.doctor.policies import QUEUE
from cloudroute.core.identity import identity
from cloudroute.types import Cidr
from tests.controller.lab import POOL
from tests.doctor.lab import (
    API,
    API_FROM_PODS,
    PODS,
    QUOTAS,
    UNASKED,
    DoctorLab,
    Rule,
    bad,
    doctor_lab,
    found,
    sound_machine,
)

UDP = {"IpProtocol": "udp", "FromPort": 8472, "ToPort": 8472}
TCP = {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "IpRanges": [{"CidrIp": POOL}]}
Break = Callable[[DoctorLab], dict[str, Any] | None]


def test_all_is_well() -> None:
    """Every check passes, but for what nobody needs or can tell there; and nothing was written anywhere."""
    with doctor_lab() as healthy:
        healthy.aws.reset_calls()
        healthy.kube.reset_counts()
        findings = healthy.examine()
        assert bad(findings) == UNASKED
        assert not healthy.kube.changes
        done = {action for (action, code) in healthy.aws.calls if code == "OK"}
        assert {action for action in done if not action.startswith(("Describe", "Get"))} == set()
        assert UNASKED.keys() - bad(healthy.examine(route_limit="auto")) == set(QUOTAS)


def void(_: object) -> None:
    """Drop a result."""


def _no_crd(broken: DoctorLab) -> None:
    broken.kube.delete("customresourcedefinitions", "routetables.cloudroute.io")


def _old_crd(broken: DoctorLab) -> None:
    versions = broken.kube.get("customresourcedefinitions", "noderoutes.cloudroute.io")["spec"]["versions"]
    versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["description"] = "older"
    broken.kube.patch("customresourcedefinitions", "noderoutes.cloudroute.io", {"spec": {"versions": versions}})


def _agent(**status: Any) -> Break:
    return lambda broken: broken.agent_says(broken.names[1], **status)


def _clock_of_ours(broken: DoctorLab) -> None:
    broken.ahead = broken.aws_ahead = 60


def _clock_of_aws(broken: DoctorLab) -> None:
    broken.aws_ahead = -300


def _condition(broken: DoctorLab) -> None:
    said = {"type": "NetworkUnavailable", "status": "False", "reason": "RouteCreated"}
    conditions = [{**said, "message": "RouteController created a route"}]
    broken.kube.patch_status("nodes", broken.names[0], {"conditions": conditions})


def _untagged(broken: DoctorLab) -> None:
    tags = [{"Key": "kubernetes.io/cluster/test"}]
    broken.aws.scene.ec2.delete_tags(Resources=[broken.tables()[1]], Tags=tags)


def _peer(broken: DoctorLab) -> None:
    broken.peer(broken.aws.scene.vpc(POOL, zones=1).id, broken.vpc.id)


def _two_more(broken: DoctorLab) -> dict[str, Any]:
    broken.use_group(broken.group, *broken.join_many(2))
    return {"route_reserve": 49, "direct_routing": "off"}


def _pool(cidr: str) -> Break:
    def break_it(broken: DoctorLab) -> dict[str, Any]:
        rule = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": cidr}]}]
        for group in (broken.group, broken.plane.group_id):
            broken.aws.scene.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rule)
        return {"cluster_cidr": (POOL, cidr)}

    return break_it


def _check_on(broken: DoctorLab) -> None:
    eni = broken.machine(broken.names[0]).interface_id
    broken.aws.scene.ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, SourceDestCheck={"Value": True})


def _group(*rules: dict[str, Any]) -> Break:
    return lambda broken: broken.use_group(broken.make_group(*rules), *broken.names)


def _no_way_out(broken: DoctorLab) -> None:
    everywhere = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    broken.aws.scene.ec2.revoke_security_group_egress(GroupId=broken.group, IpPermissions=everywhere)
    own = {**UDP, "UserIdGroupPairs": [{"GroupId": broken.group}]}
    api = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}
    broken.aws.scene.ec2.authorize_security_group_egress(GroupId=broken.group, IpPermissions=[own, api])


def _shut(group: Callable[[DoctorLab], str], rule: Callable[[DoctorLab], dict[str, Any]]) -> Break:
    """The group lets that in no more."""

    def break_it(broken: DoctorLab) -> None:
        ec2 = broken.aws.scene.ec2
        ec2.revoke_security_group_ingress(GroupId=group(broken), IpPermissions=[rule(broken)])

    return break_it


def _plane(broken: DoctorLab) -> str:
    return broken.plane.group_id


def _silent_plane(broken: DoctorLab) -> None:
    """The control plane's group lets nothing out but to kubelets."""
    ec2, group = broken.aws.scene.ec2, broken.plane.group_id
    everywhere = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=everywhere)
    kubelets = {
        "IpProtocol": "tcp",
        "FromPort": 10250,
        "ToPort": 10250,
        "UserIdGroupPairs": [{"GroupId": broken.group}],
    }
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[kubelets])


def _acl(*rules: Rule, egress: bool = False, allow_rest: bool = True) -> Break:
    return lambda broken: void(broken.acl(*rules, egress=egress, allow_rest=allow_rest))


def _metadata(**options: Any) -> Break:
    return lambda broken: broken.metadata(broken.names[0], **options)


def _many_pods(broken: DoctorLab) -> None:
    broken.kube.patch_status("nodes", broken.names[0], {"allocatable": {"pods": "254"}})


def _outpost(broken: DoctorLab) -> None:
    arn = f"arn:aws:outposts:{broken.aws.region}:{broken.aws.account}:outpost/op-0123456789abcdef0"
    broken.join_in(broken.vpc.zones[0].name, arn)


def _machine(**changed: Any) -> Break:
    return lambda broken: {"machine": replace(sound_machine(broken), **changed)}


def _host(**changed: Any) -> Break:
    def break_it(broken: DoctorLab) -> dict[str, Any]:
        machine = sound_machine(broken)
        return {"machine": replace(machine, host=known(machine.host)._replace(**changed))}

    return break_it


def _feature(name: str) -> Break:
    return _machine(tried={**dict.fromkeys((*FEATURES, QUEUE), ""), name: "Operation not supported"})


def _no_queue(broken: DoctorLab) -> dict[str, Any]:
    """The chart's enforcer runs on a kernel that can't queue."""
    broken.daemon_set("cloudroute-network-policies", "/bin/netpol", namespace="cloudroute")
    return _feature(QUEUE)(broken) or {}


BREAKS: list[tuple[str, str, Break]] = [
    ("crds", "failed", _no_crd),
    ("crds", "warning", _old_crd),
    ("nodes", "failed", lambda broken: void(broken.join(provider_id=""))),
    ("pools", "failed", lambda broken: broken.use_group(broken.group, broken.join(pod_cidrs=("192.168.7.0/24",)))),
    ("agents", "warning", _agent(ready=False, reason="Interface", message="eth0 is down")),
    ("mtu", "warning", _agent(mtu=1450)),
    ("leader", "failed", lambda broken: broken.lead("somebody")),
    ("leader", "failed", lambda broken: broken.lead(identity(broken.names[0], "77aa0c1d"), 700)),
    ("leader", "warning", lambda broken: broken.lead(identity("laptop", "77aa0c1d"))),
    ("clock", "warning", _clock_of_ours),
    ("clock", "failed", _clock_of_aws),
    ("other-networks", "failed", lambda broken: broken.daemon_set("aws-node")),
    ("other-networks", "failed", lambda broken: broken.daemon_set("kube-flannel-ds")),
    ("other-networks", "warning", lambda broken: broken.daemon_set("cilium")),
    (
        "route-controller",
        "failed",
        lambda broken: broken.manager("cloud-controller-manager", "--allocate-node-cidrs=true"),
    ),
    ("route-controller", "warning", _condition),
    ("instances", "failed", lambda broken: void(broken.join(provider_id="aws:///eu-central-1a/i-0123456789abcdef0"))),
    ("tables", "warning", _untagged),
    ("free-entries", "warning", _two_more),
    (
        "foreign-routes",
        "warning",
        lambda broken: broken.foreign(broken.tables()[0], "100.64.200.0/24", GatewayId=broken.gateway()),
    ),
    ("overlap-vpc", "failed", _pool("10.0.0.0/16")),
    ("overlap-services", "failed", _pool("10.96.0.0/16")),
    ("overlap-peers", "failed", _peer),
    ("source-dest-check", "failed", _check_on),
    ("groups-overlay", "failed", _group(PODS)),
    ("groups-overlay", "failed", _group(PODS, {**UDP, "FromPort": 4789, "ToPort": 4789, "itself": True})),
    ("groups-pods", "failed", _group({**UDP, "itself": True})),
    ("groups-pods", "warning", _group({**UDP, "itself": True}, TCP)),
    ("groups-pods", "failed", _no_way_out),
    ("groups-control-plane", "failed", _shut(_plane, lambda _: API_FROM_PODS)),
    ("groups-control-plane", "failed", _shut(_plane, lambda _: API)),
    ("groups-control-plane", "warning", _shut(lambda broken: broken.group, lambda broken: broken.from_plane()[0])),
    ("groups-control-plane", "warning", _shut(lambda broken: broken.group, lambda broken: broken.from_plane()[1])),
    ("groups-control-plane", "warning", _silent_plane),
    ("acls-overlay", "failed", _acl((90, "deny", "17", "10.0.0.0/8", 8472, 8472))),
    ("acls-overlay", "failed", _acl((90, "deny", "17", "10.0.16.0/24", 8000, 9000), egress=True)),
    ("acls-pods", "failed", _acl((90, "allow", "17", "10.0.0.0/16", 8472, 8472), allow_rest=False)),
    ("acls-pods", "failed", _acl((90, "deny", "6", "100.64.7.0/24", 1024, 65535))),
    ("acls-pods", "failed", _acl((90, "deny", "17", POOL, 60000, 60000), egress=True)),
    ("acls-pods", "warning", _acl((80, "allow", "6", POOL, 80, 80), (90, "deny", "6", POOL, 1, 1023))),
    ("metadata-service", "warning", _metadata(HttpTokens="optional")),
    ("metadata-service", "warning", _metadata(HttpPutResponseHopLimit=2)),
    ("max-pods", "warning", _many_pods),
    ("jumbo-frames", "warning", lambda broken: broken.join_in("eu-central-1-ham-1a")),
    ("jumbo-frames", "warning", lambda broken: broken.join_in("eu-central-1-wl1-ber-wlz-1")),
    ("jumbo-frames", "warning", _outpost),
    ("network-policies", "warning", DoctorLab.network_policy),
    ("policy-queue", "failed", _no_queue),
]

SETTINGS: list[tuple[str, str, Break]] = [
    ("quota", "warning", lambda _: {"route_limit": 100}),
    ("tables", "failed", lambda _: {"route_table": ("rtb-0123456789abcdef0",)}),
    ("free-entries", "warning", lambda _: {"route_limit": 2}),
    ("free-entries", "failed", lambda _: {"route_limit": 2, "overlay": False}),
    ("nic", "failed", _host(up=False)),
    ("nic", "warning", _host(mtu=1500)),
    ("net-admin", "failed", _machine(net_admin=False)),
    ("vxlan", "failed", _feature("vxlan")),
    ("nexthop-objects", "failed", _feature("nexthop objects")),
    ("nftables", "failed", _feature("nftables")),
    ("sysctls", "failed", _machine(sysctls="/proc/sys/net/ipv4/ip_forward can't be written")),
    ("cni-plugins", "failed", _machine(plugins=("ptp",))),
    ("cni-configuration", "failed", _machine(shadowing=("05-other.conflist",))),
    ("other-devices", "warning", _machine(devices=("flannel.1 is a VXLAN device with our id 1 and port 8472",))),
    ("networkd", "warning", _machine(networkd=Networkd(257, frozenset({"ManageForeignRoutes"})))),
    ("bridge-netfilter", "warning", _machine(bridges={"cni0": (Cidr.parse("100.64.1.0/24"),)})),
    ("forwarding", "warning", _machine(forward_drop=("nftables ip filter FORWARD",))),
]
"""These change nothing but settings and machine: one lab is enough for all."""


def breaks_exactly(check: str, state: str, findings: list[Finding]) -> None:
    """Assert that this check alone reports a problem, and says what to do."""
    wrong = {name: how for name, how in bad(findings).items() if how != "not checked"}
    assert wrong == {check: state}
    (finding,) = [one for one in findings if one.state == state and one.check == check]
    assert finding.found
    assert finding.why
    assert finding.todo


def named(cases: list[tuple[str, str, Break]]) -> list[str]:
    return [f"{number}-{check}-{state}" for number, (check, state, _) in enumerate(cases)]


@pytest.mark.parametrize(("check", "state", "break_it"), BREAKS, ids=named(BREAKS))
def test_each_check_finds_what_it_is_for(check: str, state: str, break_it: Break) -> None:
    """One thing is wrong in the lab: that check says so, with what to do; no other does."""
    with doctor_lab() as broken:
        settings = break_it(broken) or {}
        breaks_exactly(check, state, broken.examine(**settings))


@pytest.mark.parametrize(("check", "state", "break_it"), SETTINGS, ids=named(SETTINGS))
def test_each_check_finds_settings_and_machines_that_do_not_fit(
    shared: DoctorLab, check: str, state: str, break_it: Break
) -> None:
    """A setting or the machine is wrong: that check says so, with what to do; no other does."""
    breaks_exactly(check, state, shared.examine(**break_it(shared) or {}))


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_that_iam_refuses_is_named(shared: DoctorLab, action: str) -> None:
    """Its own line fails; what can't be read for it is not checked, and says so."""
    findings = shared.examine({"Effect": "Deny", "Action": action, "Resource": "*"}, route_limit="auto")
    light = action == "ec2:DescribeManagedPrefixLists" or action.startswith("servicequotas:")
    breaks_exactly(action, "warning" if light else "failed", findings)
    finding = found(findings, action)
    assert action in finding.found
    assert f"allow {action} for arn:aws:iam::" in finding.todo


def test_a_table_where_routes_are_refused_is_named(shared: DoctorLab) -> None:
    """IAM's answer may differ from table to table: each is asked."""
    table = shared.tables()[1]
    deny = {"Effect": "Deny", "Action": "ec2:DeleteRoute", "Resource": f"arn:aws:ec2:*:*:route-table/{table}"}
    findings = shared.examine(deny)
    assert {name for name, how in bad(findings).items() if how == "failed"} == {"ec2:DeleteRoute"}
    assert table in found(findings, "ec2:DeleteRoute").found

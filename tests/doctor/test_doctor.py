"""`cloudroute doctor` on strict EC2 and the embedded API: all is well, and what breaks breaks its own check."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from cloudroute.commands import doctor
from cloudroute.commands.command import Invocation
from cloudroute.commands.doctor_facts import own_session
from cloudroute.config import ControllerSettings, OutputSettings
from cloudroute.core.doctor import Finding
from cloudroute.core.doctor.aws import ACTIONS
from cloudroute.core.doctor.findings import Unknown, known
from cloudroute.core.doctor.node import FEATURES
from cloudroute.lab.aws import ROOT_KEY
from tests.controller.lab import POOL
from tests.doctor.world import PODS, World, bad, sound_machine, world

QUOTA = {"servicequotas:GetServiceQuota": "not checked", "servicequotas:GetAWSDefaultServiceQuota": "not checked"}
"""With a fixed --route-limit."""
UDP = {"IpProtocol": "udp", "FromPort": 8472, "ToPort": 8472}
TCP = {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "IpRanges": [{"CidrIp": POOL}]}
Break = Callable[[World], dict[str, Any] | None]


def found(findings: list[Finding], check: str) -> Finding:
    (one,) = [finding for finding in findings if finding.check == check]
    return one


def test_all_is_well() -> None:
    """Every check passes, but for quotas that nobody needs; and nothing was written anywhere."""
    with world() as healthy:
        healthy.aws.reset_calls()
        healthy.kube.reset_counts()
        findings = healthy.examine()
        assert bad(findings) == QUOTA
        assert not healthy.kube.changes
        done = {action for (action, code) in healthy.aws.calls if code == "OK"}
        assert {action for action in done if not action.startswith(("Describe", "Get"))} == set()
        assert bad(healthy.examine(route_limit="auto")) == {}


# --- each check, broken alone ---------------------------------------------------------------------


def _no_crd(broken: World) -> None:
    broken.kube.delete("customresourcedefinitions", "routetables.cloudroute.io")


def _old_crd(broken: World) -> None:
    versions = broken.kube.get("customresourcedefinitions", "noderoutes.cloudroute.io")["spec"]["versions"]
    versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["description"] = "older"
    broken.kube.patch("customresourcedefinitions", "noderoutes.cloudroute.io", {"spec": {"versions": versions}})


def _agent(**status: Any) -> Break:
    return lambda broken: broken.agent_says(broken.names[1], **status)


def _clock_of_ours(broken: World) -> None:
    broken.ahead = broken.aws_ahead = 60


def _clock_of_aws(broken: World) -> None:
    broken.aws_ahead = -300


def _condition(broken: World) -> None:
    said = {"type": "NetworkUnavailable", "status": "False", "reason": "RouteCreated"}
    conditions = [{**said, "message": "RouteController created a route"}]
    broken.kube.patch_status("nodes", broken.names[0], {"conditions": conditions})


def _untagged(broken: World) -> None:
    tags = [{"Key": "kubernetes.io/cluster/test"}]
    broken.aws.scene.ec2.delete_tags(Resources=[broken.tables()[1]], Tags=tags)


def _peered(broken: World, one: str, other: str) -> None:
    ec2 = broken.aws.scene.ec2
    made = ec2.create_vpc_peering_connection(VpcId=one, PeerVpcId=other)["VpcPeeringConnection"]
    ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=made["VpcPeeringConnectionId"])


def _peer(broken: World) -> None:
    _peered(broken, broken.aws.scene.vpc(POOL, zones=1).id, broken.vpc.id)


def _two_more(broken: World) -> dict[str, Any]:
    broken.use_group(broken.group, *broken.join_many(2))
    return {"route_reserve": 49, "direct_routing": "off"}


def _pool(cidr: str) -> Break:
    def break_it(broken: World) -> dict[str, Any]:
        rule = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": cidr}]}]
        broken.aws.scene.ec2.authorize_security_group_ingress(GroupId=broken.group, IpPermissions=rule)
        return {"cluster_cidr": (cidr,)}

    return break_it


def _check_on(broken: World) -> None:
    eni = broken.machine(broken.names[0]).interface_id
    broken.aws.scene.ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, SourceDestCheck={"Value": True})


def _group(*rules: dict[str, Any]) -> Break:
    return lambda broken: broken.use_group(broken.make_group(*rules), *broken.names)


def _no_way_out(broken: World) -> None:
    everywhere = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    broken.aws.scene.ec2.revoke_security_group_egress(GroupId=broken.group, IpPermissions=everywhere)
    own = [{**UDP, "UserIdGroupPairs": [{"GroupId": broken.group}]}]
    broken.aws.scene.ec2.authorize_security_group_egress(GroupId=broken.group, IpPermissions=own)


def _machine(**changed: Any) -> Break:
    return lambda broken: {"machine": replace(sound_machine(broken), **changed)}


def _host(**changed: Any) -> Break:
    def break_it(broken: World) -> dict[str, Any]:
        machine = sound_machine(broken)
        return {"machine": replace(machine, host=known(machine.host)._replace(**changed))}

    return break_it


def _feature(name: str) -> Break:
    return _machine(tried={**dict.fromkeys(FEATURES, ""), name: "Operation not supported"})


BREAKS: list[tuple[str, str, Break]] = [
    ("crds", "failed", _no_crd),
    ("crds", "warning", _old_crd),
    ("nodes", "failed", lambda broken: void(broken.join(provider_id=""))),
    ("agents", "warning", _agent(ready=False, reason="Interface", message="eth0 is down")),
    ("mtu", "warning", _agent(mtu=1450)),
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
    ("bridge", "failed", _feature("bridge")),
    ("nexthop-objects", "failed", _feature("nexthop objects")),
    ("nftables", "failed", _feature("nftables")),
    ("sysctls", "failed", _machine(sysctls="/proc/sys/net/ipv4/ip_forward can't be written")),
    ("cni-plugins", "failed", _machine(plugins=("bridge",))),
    ("cni-configuration", "failed", _machine(shadowing=("05-other.conflist",))),
    ("other-devices", "warning", _machine(devices=("flannel.1 is a VXLAN device with our id 1 and port 8472",))),
    ("forwarding", "warning", _machine(forward_drop=("nftables ip filter FORWARD",))),
]
"""These change nothing but settings and machine: one world is enough for all."""


def void(_: object) -> None:
    """Drop a result."""


def breaks_exactly(check: str, state: str, findings: list[Finding]) -> None:
    """That check is not well, and says what to do; no other is."""
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
    """One thing is wrong in the world: that check says so, with what to do; no other does."""
    with world() as broken:
        settings = break_it(broken) or {}
        breaks_exactly(check, state, broken.examine(**settings))


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    """A world that no test changes."""
    with world() as healthy:
        yield healthy


@pytest.mark.parametrize(("check", "state", "break_it"), SETTINGS, ids=named(SETTINGS))
def test_each_check_finds_settings_and_machines_that_do_not_fit(
    shared: World, check: str, state: str, break_it: Break
) -> None:
    """A setting or the machine is wrong: that check says so, with what to do; no other does."""
    breaks_exactly(check, state, shared.examine(**break_it(shared) or {}))


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_that_iam_refuses_is_named(shared: World, action: str) -> None:
    """Its own line fails; what can't be read for it is not checked, and says so."""
    findings = shared.examine({"Effect": "Deny", "Action": action, "Resource": "*"}, route_limit="auto")
    light = action == "ec2:DescribeManagedPrefixLists" or action.startswith("servicequotas:")
    breaks_exactly(action, "warning" if light else "failed", findings)
    finding = found(findings, action)
    assert action in finding.found
    assert f"allow {action} for arn:aws:iam::" in finding.todo


def test_a_table_where_routes_are_refused_is_named(shared: World) -> None:
    """IAM's answer may differ from table to table: each is asked."""
    table = shared.tables()[1]
    deny = {"Effect": "Deny", "Action": "ec2:DeleteRoute", "Resource": f"arn:aws:ec2:*:*:route-table/{table}"}
    findings = shared.examine(deny)
    assert {name for name, how in bad(findings).items() if how == "failed"} == {"ec2:DeleteRoute"}
    assert table in found(findings, "ec2:DeleteRoute").found


# --- with only part of the access -----------------------------------------------------------------


def test_without_credentials_the_rest_is_checked(shared: World) -> None:
    """One failed line says what is missing; Kubernetes and the machine are checked all the same."""
    findings = shared.examine(session=boto3.Session(), region="eu-central-1")
    assert [one.check for one in findings if one.state == "failed"] == ["credentials"]
    assert "Unable to locate credentials" in found(findings, "credentials").found
    assert {one.group for one in findings if one.state == "ok"} == {"Kubernetes", "AWS", "VPC", "Node"}
    assert all("see credentials" in one.found for one in findings if one.group == "VPC" and one.state != "ok")


def test_a_profile_that_is_not_there(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is said in the line about credentials."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    findings = shared.examine(session=own_session())
    assert found(findings, "credentials").found == "The config profile (nobody) could not be found"
    assert [one.check for one in findings if one.state == "failed"] == ["credentials"]


def test_a_region_that_nobody_tells(tmp_path: Path) -> None:
    """Is a failed line; what AWS was to be asked is not checked."""
    with world() as healthy:
        findings = healthy.examine(session=boto3.Session(), kubeconfig=str(tmp_path / "none"))
        assert {one.check for one in findings if one.state == "failed"} == {"api-server", "region"}
        assert {one.found for one in findings if one.group == "AWS" and one.state == "not checked"} == {
            "no region is known (see region)",
            "not needed with --route-limit 50",
        }


def test_without_kubernetes_the_rest_is_checked(tmp_path: Path) -> None:
    """No API server answers: AWS and the VPC that is named are checked."""
    with world() as healthy:
        machine, kubeconfig = sound_machine(healthy), str(healthy.server.kubeconfig(tmp_path / "kubeconfig"))
        healthy.server.close()
        findings = healthy.examine(vpc_id=healthy.vpc.id, region="eu-central-1", kubeconfig=kubeconfig, machine=machine)
        assert [one.check for one in findings if one.state == "failed"] == ["api-server"]
        assert {one.check for one in findings if one.group == "VPC" and one.state == "ok"} >= {
            "tables",
            "overlap-vpc",
            "overlap-peers",
        }
        assert found(findings, "ec2:DeleteRoute").state == "ok"


def test_a_kubeconfig_that_is_not_there(shared: World) -> None:
    """Is a failed line like any other."""
    findings = shared.examine(kubeconfig="/nowhere/config", region="eu-central-1")
    assert [one.check for one in findings if one.state == "failed"] == ["api-server"]
    assert "/nowhere/config" in found(findings, "api-server").found


def test_what_the_controllers_role_may_not_read(shared: World) -> None:
    """In the controller's pod: doctor's own reads are refused, which is no failure, and said."""
    session = shared.aws.session(shared._document("policy.json"))
    findings = shared.examine(session=session)
    unread = {"overlap-peers", "groups-overlay", "groups-pods"}
    assert bad(findings) == {**QUOTA, **dict.fromkeys(unread, "not checked")}
    assert all("run doctor as an administrator" in found(findings, check).found for check in unread)


def test_what_the_controllers_account_may_not_list() -> None:
    """RBAC refuses DaemonSets and kube-system's pods: not checked, and no failure."""
    with world() as healthy:
        for resource in ("daemonsets", "pods"):
            healthy.kube.faults.fail(403, "list", resource)
        findings = healthy.examine()
        assert bad(findings) == {**QUOTA, "other-networks": "not checked", "route-controller": "not checked"}
        assert "run doctor as an administrator" in found(findings, "other-networks").found


def test_before_anything_is_installed() -> None:
    """An empty cluster without CRDs: what is missing fails, nothing raises."""
    with world() as empty:
        machine = sound_machine(empty)
        for kind in ("noderoutes", "routetables"):
            empty.kube.delete("customresourcedefinitions", f"{kind}.cloudroute.io")
        for name in empty.names:
            for table in empty.tables():
                route = {"RouteTableId": table, "DestinationCidrBlock": empty.pod_cidrs(name)[0]}
                empty.aws.scene.ec2.delete_route(**route)
            empty.kube.delete("nodes", name)
        findings = empty.examine(vpc_id=empty.vpc.id, machine=machine)
        assert {one.check: one.state for one in findings if one.state in ("failed", "warning")} == {
            "crds": "failed",
            "nodes": "warning",
        }
        assert found(findings, "agents").found == "there are no NodeRoutes: the controller has not run yet"


def test_without_a_pool(shared: World) -> None:
    """What needs --cluster-cidr is not checked, and says so."""
    findings = shared.examine(cluster_cidr=())
    lacking = {one.check for one in findings if "--cluster-cidr" in one.found and one.state == "not checked"}
    assert lacking == {
        *("free-entries", "foreign-routes", "overlap-vpc", "overlap-peers", "overlap-services", "groups-pods")
    }
    assert not [one for one in findings if one.state == "failed"]


def test_peers_that_do_not_matter() -> None:
    """A peer with other addresses is named; one of somebody else's with ours is not."""
    with world() as healthy:
        fine, *strangers = (healthy.aws.scene.vpc(cidr, zones=1).id for cidr in ("10.1.0.0/16", POOL, "10.2.0.0/16"))
        _peered(healthy, healthy.vpc.id, fine)
        _peered(healthy, *strangers)
        finding = found(healthy.examine(), "overlap-peers")
        assert (finding.state, finding.found) == ("ok", f"{POOL}: no overlap with peers (10.1.0.0/16)")


def test_a_machine_that_is_no_node(shared: World) -> None:
    """Root on a laptop: nothing is demanded of it."""
    stranger = sound_machine(shared)
    host = known(stranger.host)._replace(addresses=((bytes((192, 0, 2, 9)), 24),))
    findings = shared.examine(machine=replace(stranger, host=host, plugins=()))
    node = [one for one in findings if one.group == "Node"]
    assert {(one.state, one.found) for one in node} == {
        ("not checked", "this machine is no node of the cluster: no Node has one of its addresses")
    }


def test_dual_stack() -> None:
    """Both families are checked by the same rules: a group that knows the IPv4 pool alone is too narrow."""
    with world(ipv6=True, cluster_cidr=(POOL, "fd64::/64")) as broken:
        findings = broken.examine()
        assert [one.check for one in findings if one.state == "failed"] == ["groups-pods"]
        assert "fd64::/64" in found(findings, "groups-pods").found


# --- the command ------------------------------------------------------------------------------------


def invocation(form: Any) -> Invocation:
    settings: Any = {ControllerSettings: ControllerSettings(), OutputSettings: OutputSettings(output=form)}
    return Invocation(settings)


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_a_list(form: str, read: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Of objects with check, state, found, why and todo; the exit code tells whether one failed."""
    with world() as broken:
        assert doctor.tell(invocation(form), broken.examine()) == 0
        capsys.readouterr()
        broken.daemon_set("aws-node")
        assert doctor.tell(invocation(form), broken.examine()) == 1
        listed = read(capsys.readouterr().out)
        assert all(set(one) == {"group", "check", "state", "found", "why", "todo"} for one in listed)
        assert [one["check"] for one in listed if one["state"] == "failed"] == ["other-networks"]


def test_people_get_a_table_of_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """By group; what is wrong with why and what to do."""
    with world() as broken:
        broken.use_group(broken.make_group(), broken.names[0])
        deny = {"Effect": "Deny", "Action": "ec2:CreateRoute", "Resource": "*"}
        nowhere = Unknown("not root on Linux: run doctor on a node, with sudo or in the agent's pod")
        findings = broken.examine(deny, machine=nowhere)
        capsys.readouterr()
        assert doctor.tell(invocation("table"), findings) == 1
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines())) <= 100
        headings = [line for line in out.splitlines() if line and not line.startswith(" ")]
        assert headings[:4] == ["Kubernetes", "AWS", "VPC", "Node"]
        assert headings[4].startswith("45 checks: ")
        assert out.count("Why: ") == out.count("To do: ") == sum(one.state == "failed" for one in findings)
        assert out.count("not root on Linux") == 1


def test_the_command_by_the_environments_credentials(
    shared: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As from a shell: endpoint, key and settings come from outside; this machine is no node of that cluster."""
    with shared.aws.serve() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ROOT_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        settings = replace(shared.settings, kubeconfig=shared.kubeconfig)
        asked: Any = {ControllerSettings: settings, OutputSettings: OutputSettings(output="json")}
        capsys.readouterr()
        assert doctor.run(Invocation(asked)) == 0
    listed = [Finding(**one) for one in json.loads(capsys.readouterr().out)]
    assert {one.state for one in listed if one.group in ("Kubernetes", "VPC")} == {"ok"}
    assert {one.state for one in listed if one.group == "Node"} == {"not checked"}

"""`cloudroute doctor` with part of the access or of the world: what can be checked is, the rest says why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from cloudroute.commands.doctor_facts import own_session
from cloudroute.core.explain.doctor.findings import known
from cloudroute.selector import Selector
from tests.controller.lab import POOL
from tests.doctor.lab import (
    API_FROM_PODS,
    NO_GATEWAYS,
    UNASKED,
    DoctorLab,
    bad,
    doctor_lab,
    found,
    sound_machine,
)


def test_without_credentials_the_rest_is_checked(shared: DoctorLab) -> None:
    """One failed line says what is missing; Kubernetes and the machine are checked all the same."""
    findings = shared.examine(session=boto3.Session(), region="eu-central-1")
    assert [one.check for one in findings if one.state == "failed"] == ["credentials"]
    assert "Unable to locate credentials" in found(findings, "credentials").found
    assert {one.group for one in findings if one.state == "ok"} == {"Kubernetes", "AWS", "VPC", "Node"}
    unread = [one for one in findings if one.group == "VPC" and one.state != "ok" and one.check not in NO_GATEWAYS]
    assert all("see credentials" in one.found for one in unread)


def test_a_profile_that_is_not_there(shared: DoctorLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is said in the line about credentials."""
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    findings = shared.examine(session=own_session())
    assert found(findings, "credentials").found == "The config profile (nobody) could not be found"
    assert [one.check for one in findings if one.state == "failed"] == ["credentials"]


def test_a_region_that_nobody_tells(tmp_path: Path) -> None:
    """Is a failed line; what AWS was to be asked is not checked."""
    with doctor_lab() as healthy:
        findings = healthy.examine(session=boto3.Session(), kubeconfig=str(tmp_path / "none"))
        assert {one.check for one in findings if one.state == "failed"} == {"api-server", "region"}
        assert {one.found for one in findings if one.group == "AWS" and one.state == "not checked"} == {
            "no region is known (see region)",
            "not needed with --route-limit 50",
        }


def test_without_kubernetes_the_rest_is_checked(tmp_path: Path) -> None:
    """No API server answers: AWS and the VPC that is named are checked."""
    with doctor_lab() as healthy:
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


def test_a_kubeconfig_that_is_not_there(shared: DoctorLab) -> None:
    """Is a failed line like any other."""
    findings = shared.examine(kubeconfig="/nowhere/config", region="eu-central-1")
    assert [one.check for one in findings if one.state == "failed"] == ["api-server"]
    assert "/nowhere/config" in found(findings, "api-server").found


def test_reads_denied_to_the_controllers_role(shared: DoctorLab) -> None:
    """In the controller's pod: doctor's own reads are refused, which is no failure, and said."""
    session = shared.aws.session(shared.iam_document("policy.json"))
    findings = shared.examine(session=session)
    unread = {
        *("overlap-peers", "groups-overlay", "groups-pods", "groups-control-plane", "acls-overlay", "acls-pods"),
    }
    assert bad(findings) == {**UNASKED, **dict.fromkeys(unread, "not checked")}
    assert all("run doctor as an administrator" in found(findings, check).found for check in unread)


def test_lists_denied_to_the_controllers_account() -> None:
    """RBAC refuses DaemonSets and kube-system's pods: not checked, and no failure."""
    with doctor_lab() as healthy:
        for resource in ("daemonsets", "pods"):
            healthy.kube.faults.fail(403, "list", resource)
        findings = healthy.examine()
        unread = ("other-networks", "route-controller", "network-policies")
        assert bad(findings) == {**UNASKED, **dict.fromkeys(unread, "not checked")}
        assert "run doctor as an administrator" in found(findings, "other-networks").found


def test_a_lease_that_may_not_be_read() -> None:
    """RBAC refuses it: not checked, with the words of the API server."""
    with doctor_lab() as healthy:
        healthy.kube.faults.fail(403, "get", "leases")
        findings = healthy.examine()
        assert bad(findings) == {**UNASKED, "leader": "not checked"}
        assert found(findings, "leader").found.startswith("get leases.coordination.k8s.io cloudroute/cloudroute: 403")


def test_without_an_election(shared: DoctorLab) -> None:
    """A single process on a desk has no Lease."""
    finding = found(shared.examine(leader_elect=False), "leader")
    assert (finding.state, finding.found) == ("not checked", "not needed with --leader-elect=false")


def test_before_anything_is_installed() -> None:
    """An empty cluster without CRDs: what is missing fails, nothing raises."""
    with doctor_lab() as empty:
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


def test_without_a_pool(shared: DoctorLab) -> None:
    """Checks that need --cluster-cidr say that they were not done."""
    findings = shared.examine(cluster_cidr=())
    lacking = {one.check for one in findings if "--cluster-cidr" in one.found and one.state == "not checked"}
    assert lacking == {
        *("free-entries", "foreign-routes", "overlap-vpc", "overlap-peers", "overlap-services", "groups-pods"),
        *("acls-pods", "pools", "bridge-netfilter"),
    }
    assert not [one for one in findings if one.state == "failed"]


def test_peers_that_do_not_matter() -> None:
    """A peer with other addresses is named; one of somebody else's with ours is not."""
    with doctor_lab() as healthy:
        fine, *strangers = (healthy.aws.scene.vpc(cidr, zones=1).id for cidr in ("10.1.0.0/16", POOL, "10.2.0.0/16"))
        healthy.peer(healthy.vpc.id, fine)
        healthy.peer(*strangers)
        finding = found(healthy.examine(), "overlap-peers")
        assert (finding.state, finding.found) == ("ok", f"{POOL}: no overlap with peers (10.1.0.0/16)")


def test_a_control_plane_that_sees_nodes_alone() -> None:
    """Pods are masqueraded toward its interfaces: no rule for the pod range is needed.

    Their subnet's table is not managed, or the agents have --masquerade-always for it.
    """
    with doctor_lab() as healthy:
        ec2 = healthy.aws.scene.ec2
        ec2.revoke_security_group_ingress(GroupId=healthy.plane.group_id, IpPermissions=[API_FROM_PODS])
        assert found(healthy.examine(), "groups-control-plane").state == "failed"
        healthy.agents("--masquerade-always=10.0.0.0/16")
        assert found(healthy.examine(), "groups-control-plane").state == "ok"
        healthy.kube.delete("daemonsets", "cloudroute-agent", "cloudroute")
        apart = healthy.aws.scene.zone(healthy.vpc.id, healthy.vpc.zones[0].name, ("10.0.64.0/20",))
        for interface in healthy.plane.interface_ids:
            ec2.delete_network_interface(NetworkInterfaceId=interface)
        made = {"Description": "Amazon EKS test", "Groups": [healthy.plane.group_id]}
        ec2.create_network_interface(SubnetId=apart.subnet_id, **made)
        assert found(healthy.examine(), "groups-control-plane").state == "ok"


def test_without_eks() -> None:
    """An API server that is not EKS's has no interfaces to look for."""
    with doctor_lab() as healthy:
        for interface in healthy.plane.interface_ids:
            healthy.aws.scene.ec2.delete_network_interface(NetworkInterfaceId=interface)
        finding = found(healthy.examine(), "groups-control-plane")
        assert (finding.state, finding.found) == ("not checked", "not needed: the API server is not EKS's")


def test_the_agents_vxlan_port_is_checked() -> None:
    """It is read from the agents' DaemonSet: security groups and network ACLs have to let that port through."""
    with doctor_lab() as broken:
        broken.agents("--vxlan-port=4789")
        broken.acl((90, "deny", "17", "10.0.0.0/16", 4789, 4789))
        findings = broken.examine()
        assert {one.check for one in findings if one.state == "failed"} == {"groups-overlay", "acls-overlay"}
        assert "UDP 4789" in found(findings, "acls-overlay").found


def test_nodes_of_one_subnet() -> None:
    """A network ACL does not filter what stays within a subnet, whatever its rules are."""
    with doctor_lab() as healthy:
        for name in healthy.names:
            if healthy.machine(name).zone is not healthy.vpc.zones[0]:
                healthy.terminate(name)
        healthy.acl((90, "deny", "6", POOL, 0, 65535))
        assert found(healthy.examine(), "acls-pods").state == "ok"


def test_metadata_service_that_is_off() -> None:
    """It answers nobody, so its other options do not matter."""
    with doctor_lab() as healthy:
        healthy.metadata(healthy.names[0], HttpEndpoint="disabled", HttpTokens="optional")
        assert found(healthy.examine(), "metadata-service").state == "ok"


def test_small_packets_pass_to_a_local_zone() -> None:
    """With --mtu at all agents nothing is dropped between there and the region."""
    with doctor_lab() as healthy:
        healthy.join_in("eu-central-1-ham-1a")
        assert "--mtu 1250" in found(healthy.examine(), "jumbo-frames").todo
        for name in healthy.names:
            healthy.agent_says(name, ready=True, mtu=1250)
        assert found(healthy.examine(), "jumbo-frames").state == "ok"


def test_a_machine_that_is_no_node(shared: DoctorLab) -> None:
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
    with doctor_lab(ipv6=True, cluster_cidr=(POOL, "fd64::/64")) as broken:
        findings = broken.examine()
        assert [one.check for one in findings if one.state == "failed"] == ["groups-pods"]
        assert "fd64::/64" in found(findings, "groups-pods").found


def test_nodes_that_are_left_alone_are_counted() -> None:
    """By their kinds, and no check minds them: they have no NodeRoute, no agent, and some no instance."""
    with doctor_lab() as mixed:
        for number in range(3):
            mixed.join(name=f"windows-{number}", labels={"kubernetes.io/os": "windows"})
        mixed.join(name="hybrid", provider_id="eks-hybrid:///us-east-1/prod/mi-1", pod_cidrs=("192.168.7.0/24",))
        mixed.join(name="edge", labels={"pool": "edge"})
        findings = mixed.examine(node_selector=Selector.parse("pool!=edge"))
        assert bad(findings) == UNASKED
        assert (
            found(findings, "nodes").found == "3 nodes, each with the instance that it is; "
            "5 nodes left alone: 1 hybrid, 1 not selected, 3 windows"
        )


def test_the_nodes_say_the_vpc(shared: DoctorLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the machine that doctor runs on, which may be in a management VPC."""
    monkeypatch.setattr("cloudroute.commands.doctor_facts.find_vpc", lambda _: "vpc-00000000000000000")
    assert bad(shared.examine()) == UNASKED

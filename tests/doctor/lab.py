"""A cluster in which all is well, for doctor to look at: strict EC2, the embedded API, a machine that is a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cloudroute.adapters.kube import gateways
from cloudroute.adapters.kube.leases import KubeLeases
from cloudroute.clock import SystemClock
from cloudroute.commands.doctor_facts import gather
from cloudroute.core.explain.doctor import Finding, examine
from cloudroute.core.explain.doctor.facts import MachineFacts
from cloudroute.core.explain.doctor.findings import Unknown
from cloudroute.core.explain.doctor.gateways import LABEL
from cloudroute.core.explain.doctor.node import FEATURES
from cloudroute.core.explain.doctor.policies import QUEUE
from cloudroute.core.identity import identity
from cloudroute.core.node.conflist import NEEDED_PLUGINS
from cloudroute.dataplane import Host, packed
from cloudroute.lab.kube.resources import Resource
from cloudroute.ports import Clock
from cloudroute.selector import Selector
from cloudroute.types import Cidr, LeaseRecord, micro_time
from tests.controller.lab import POOL, Lab, settings_of
from tests.controller.test_iam_documents import document

NODES = 3
QUOTAS = ("servicequotas:GetServiceQuota", "servicequotas:GetAWSDefaultServiceQuota")
NO_GATEWAYS = ("gateways", "gateway-label", "gateway-routes", "gateway-groups", "gateway-acls", "gateway-instances")
UNASKED = dict.fromkeys((*QUOTAS, "rbac-agent", *NO_GATEWAYS), "not checked")
"""With a fixed --route-limit, an API server that knows no accounts, and no gateways."""
GATEWAYS: dict[str, Any] = {"gateway_nodes": Selector.parse(LABEL)}
"""Settings with gateways."""
PODS = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": POOL}]}
_HTTPS = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
API = {**_HTTPS, "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}
FROM_VPC = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}
API_FROM_PODS = {**_HTTPS, "IpRanges": [{"CidrIp": POOL}]}


Rule = tuple[int, str, str, str, int, int]
"""Of a network ACL: number, "allow" or "deny", protocol's number, CIDR, first and last port."""


class DoctorLab(Lab):
    """A settled cluster of three nodes in two zones, whose agents run.

    `ahead` is by how much doctor's own clock is, `aws_ahead` that of AWS; the API server's is right.
    """

    ahead = aws_ahead = 0.0

    def __init__(self, **lab: Any) -> None:
        """The API server is EKS's: its interfaces stand in both zones, and its group lets pods and nodes in."""
        super().__init__(zones=2, tagged=True, aws={"enforce_iam": True}, **lab)
        # The embedded API has what controller and agents use; doctor also asks what a real one always has.
        for resource in (
            Resource("apps", "v1", "daemonsets", "DaemonSet", namespaced=True, status=True),
            Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", namespaced=True),
        ):
            self.kube.registry.replace_group(resource.group, resource.plural, (resource,))
        self.names = self.join_many(NODES)
        self.run()
        for name in self.names:
            self.agent_says(name, ready=True, mtu=8951)
            self.kube.patch_status("nodes", name, {"allocatable": {"pods": "110"}})
        self.plane = self.aws.scene.control_plane(self.vpc, "test")
        self.admit(self.plane.group_id, API, API_FROM_PODS)
        self.group = self.make_group(PODS, {"IpProtocol": "udp", "FromPort": 8472, "ToPort": 8472, "itself": True})
        self.use_group(self.group, *self.names)
        self.kubeconfig = str(self.server.kubeconfig())
        self.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloudroute"}})
        self.kube.create(controller_pod(self.names[0]))
        self.lead(identity(self.names[0], "77aa0c1d"))
        self.aws.clock = shifted(0)  # all has settled by the test's clock; from here on AWS tells the real time

    def lead(self, holder: str, seconds_ago: float = 0) -> None:
        """Somebody holds the controllers' Lease for ten minutes, and renewed it then."""
        renewed = micro_time(SystemClock().now() - seconds_ago)
        leases = KubeLeases(self.cluster.transport, "cloudroute", "cloudroute", 5)
        old = leases.read()
        leases.write(LeaseRecord(holder, 600, renewed, renewed, 0, old.version if old else ""))

    def select_gateways(self, *names: str) -> None:
        """These nodes are gateways that renew their Leases, and their group lets in what the VPC sends to pods."""
        for name in names:
            self.kube.patch("nodes", name, {"metadata": {"labels": dict([LABEL.split("=")])}})
            self.renewed(name)
        self.admit(self.group, FROM_VPC)

    def renewed(self, name: str, seconds_ago: float = 0) -> None:
        """A gateway renewed its Lease then."""
        own = self.cluster.node_routes.items()[name]
        gateways.renew(self.cluster.transport, "cloudroute", own, SystemClock().now() - seconds_ago)

    def daemon_set(self, name: str, *args: str, pods: int = NODES, namespace: str = "kube-system") -> None:
        """A DaemonSet that is to run on so many nodes, its container started with `args`."""
        metadata = {"name": name, "namespace": namespace}
        status = {"desiredNumberScheduled": pods}
        template = {"spec": {"containers": [{"name": "one", "image": "one", "args": list(args)}]}}
        made = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": {"template": template}}
        self.kube.create({**made, "status": status})

    def agents(self, *flags: str) -> None:
        """The agents' DaemonSet, as the chart makes it."""
        self.daemon_set("cloudroute-agent", "agent", *flags, namespace="cloudroute")

    def network_policy(self) -> None:
        """A NetworkPolicy."""
        metadata = {"name": "deny", "namespace": "cloudroute"}
        spec: dict[str, Any] = {"podSelector": {}, "policyTypes": ["Ingress"]}
        self.kube.create(
            {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
        )

    def manager(self, name: str, *arguments: str) -> None:
        """A controller manager's pod."""
        spec = {"containers": [{"name": "one", "image": "one", "command": [name, *arguments]}]}
        metadata = {"name": f"{name}-node-1", "namespace": "kube-system"}
        self.kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def agent_says(self, name: str, **status: Any) -> None:
        """The status of a NodeRoute."""
        self.kube.patch_status("noderoutes", name, status)

    def make_group(self, *ingress: Mapping[str, Any]) -> str:
        """A security group of nodes with these rules, of which one may refer to the group `itself`; all may leave.

        The control plane is let in.
        """
        ec2 = self.aws.scene.ec2
        name = f"group-{len(ec2.describe_security_groups()['SecurityGroups'])}"
        group = str(ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc.id)["GroupId"])
        self.admit(group, *self.from_plane())
        for rule in ingress:
            plain = {key: value for key, value in rule.items() if key != "itself"}
            own = {"UserIdGroupPairs": [{"GroupId": group}]} if "itself" in rule else {}
            self.admit(group, {**plain, **own})
        return group

    def from_plane(self) -> list[dict[str, Any]]:
        """The least that EKS needs of the nodes' groups."""
        plane = {"IpProtocol": "tcp", "UserIdGroupPairs": [{"GroupId": self.plane.group_id}]}
        return [{**plane, "FromPort": port, "ToPort": port} for port in (443, 10250)]

    def metadata(self, name: str, **options: Any) -> None:
        """The metadata service of a node answers otherwise."""
        self.aws.scene.ec2.modify_instance_metadata_options(InstanceId=self.instance(name), **options)

    def acl(self, *rules: Rule, egress: bool = False, allow_rest: bool = True) -> str:
        """The first zone's subnet gets an ACL of its own: rules of one direction, after which all else is allowed."""
        ec2 = self.aws.scene.ec2
        acl = str(ec2.create_network_acl(VpcId=self.vpc.id)["NetworkAcl"]["NetworkAclId"])
        common = {"NetworkAclId": acl, "Egress": egress}
        for number, action, protocol, cidr, first, last in rules:
            family = "Ipv6CidrBlock" if ":" in cidr else "CidrBlock"
            rule = {"RuleNumber": number, "RuleAction": action, "Protocol": protocol, family: cidr}
            ec2.create_network_acl_entry(**common, **rule, PortRange={"From": first, "To": last})
        everything = {"RuleNumber": 1000, "RuleAction": "allow", "Protocol": "-1", "CidrBlock": "0.0.0.0/0"}
        for way in (egress, not egress) if allow_rest else (not egress,):
            ec2.create_network_acl_entry(**{**common, "Egress": way}, **everything)
        subnet = self.vpc.zones[0].subnet_id
        filters = [{"Name": "association.subnet-id", "Values": [subnet]}]
        (old,) = ec2.describe_network_acls(Filters=filters)["NetworkAcls"]
        (held,) = [one for one in old["Associations"] if one["SubnetId"] == subnet]
        ec2.replace_network_acl_association(AssociationId=held["NetworkAclAssociationId"], NetworkAclId=acl)
        return acl

    def admit(self, group: str, *ingress: Mapping[str, Any]) -> None:
        """The group lets that in."""
        self.aws.scene.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=list(ingress))

    def join_in(self, zone: str, outpost_arn: str = "") -> None:
        """A node joins in a subnet of that zone, which uses the first table."""
        cidr = "10.0.128.0/20"
        name = self.join(self.aws.scene.zone(self.vpc.id, zone, (cidr,), self.tables()[0], outpost_arn=outpost_arn))
        self.use_group(self.group, name)

    def use_group(self, group: str, *names: str) -> None:
        """The nodes' interfaces have that group and no other."""
        for name in names:
            eni = self.machine(name).interface_id
            self.aws.scene.ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, Groups=[group])

    def peer(self, one: str, other: str) -> None:
        """Peer two VPCs."""
        ec2 = self.aws.scene.ec2
        made = ec2.create_vpc_peering_connection(VpcId=one, PeerVpcId=other)["VpcPeeringConnection"]
        ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=made["VpcPeeringConnectionId"])

    def policy(self, *statements: Mapping[str, Any]) -> Any:
        """Controller's and doctor's permissions, and more statements."""
        listed = [one for name in ("policy.json", "doctor.json") for one in self.iam_document(name)["Statement"]]
        return {"Version": "2012-10-17", "Statement": [*listed, *statements]}

    def iam_document(self, name: str) -> Any:
        """A policy of deploy/iam, for this account and VPC."""
        return document(name, self.aws, self.vpc.id)

    def examine(
        self,
        *statements: Mapping[str, Any],
        machine: MachineFacts | Unknown | None = None,
        session: Any = None,
        **changed: Any,
    ) -> list[Finding]:
        """The findings of doctor, with these statements added to its IAM policy, and settings `changed`."""
        changed.setdefault("kubeconfig", self.kubeconfig)
        settings = settings_of(self.settings, **changed)
        self.aws.clock = shifted(self.aws_ahead)
        session = session or self.aws.session(self.policy(*statements))
        return examine(gather(settings, session, shifted(self.ahead), lambda: machine or sound_machine(self)))


def controller_pod(node: str) -> dict[str, Any]:
    """A pod of the chart's controllers: on the host's network, so that its hostname is the node's."""
    labels = {"app.kubernetes.io/name": "cloudroute", "app.kubernetes.io/component": "controller"}
    metadata = {"name": f"cloudroute-controller-{node}", "namespace": "cloudroute", "labels": labels}
    spec = {"hostNetwork": True, "nodeName": node, "containers": [{"name": "controller", "image": "one"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


class _Shifted(SystemClock):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> float:
        return super().now() + self._seconds


def shifted(seconds: float) -> Clock:
    """The machine's time, so many seconds ahead."""
    return _Shifted(seconds)


def sound_machine(lab: DoctorLab) -> MachineFacts:
    """The first node."""
    address = packed(lab.machine(lab.names[0]).addresses[0])
    return MachineFacts(
        host=Host("eth0", 9001, ((address, 20),), (packed("10.0.0.1"),)),
        tried=dict.fromkeys((*FEATURES, QUEUE), ""),
        net_admin=True,
        sysctls="",
        plugins=NEEDED_PLUGINS,
        searched=("/opt/cni/bin",),
        shadowing=(),
        devices=(),
        forward_drop=(),
        networkd=None,
        bridges={"cbr0": (Cidr.parse("10.88.0.0/16"),)},
        bridge_netfilter=False,
    )


@contextmanager
def doctor_lab(**lab: Any) -> Iterator[DoctorLab]:
    """A DoctorLab that is closed at the end."""
    made = DoctorLab(**lab)
    try:
        yield made
    finally:
        made.close()


def bad(findings: list[Finding]) -> dict[str, str]:
    """Check to state of all that is not well."""
    return {finding.check: finding.state for finding in findings if finding.state != "ok"}


def found(findings: list[Finding], check: str) -> Finding:
    """The one of that check."""
    (one,) = [finding for finding in findings if finding.check == check]
    return one

"""A cluster in which all is well, for doctor to look at: strict EC2, the embedded API, a machine that is a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cloudroute.clock import SystemClock
from cloudroute.commands.doctor_facts import gather
from cloudroute.core.doctor import Finding, examine
from cloudroute.core.doctor.facts import MachineFacts
from cloudroute.core.doctor.findings import Unknown
from cloudroute.core.doctor.node import FEATURES, NEEDED_PLUGINS
from cloudroute.dataplane import Host, packed
from cloudroute.lab.kube.resources import Resource
from cloudroute.ports import Clock
from tests.controller.lab import POOL, Lab, settings_of
from tests.controller.test_iam_documents import document

NODES = 3
UNASKED = dict.fromkeys(
    ("servicequotas:GetServiceQuota", "servicequotas:GetAWSDefaultServiceQuota", "rbac-agent"), "not checked"
)
"""With a fixed --route-limit, and an API server that knows no accounts."""
PODS = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": POOL}]}


class World(Lab):
    """A settled cluster of three nodes in two zones, whose agents run.

    `ahead` is by how much doctor's own clock is, `aws_ahead` that of AWS; the API server's is right.
    """

    ahead = aws_ahead = 0.0

    def __init__(self, **lab: Any) -> None:
        super().__init__(zones=2, tagged=True, aws={"enforce_iam": True}, **lab)
        # The embedded API has what controller and agents use; doctor also asks what a real one always has.
        self.kube._registry.replace_group(
            "apps", "daemonsets", (Resource("apps", "v1", "daemonsets", "DaemonSet", True, True),)
        )
        self.names = self.join_many(NODES)
        self.run()
        for name in self.names:
            self.agent_says(name, ready=True, mtu=8951)
        self.group = self.make_group(PODS, {"IpProtocol": "udp", "FromPort": 8472, "ToPort": 8472, "itself": True})
        self.use_group(self.group, *self.names)
        self.kubeconfig = str(self.server.kubeconfig())
        self.aws.clock = shifted(0)  # all has settled by the test's clock; from here on AWS tells the real time

    def daemon_set(self, name: str, pods: int = NODES) -> None:
        """A DaemonSet of kube-system that is to run on so many nodes."""
        metadata = {"name": name, "namespace": "kube-system"}
        status = {"desiredNumberScheduled": pods}
        self.kube.create(
            {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": {}, "status": status}
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
        """A security group with these rules, of which one may refer to the group `itself`; all may leave."""
        ec2 = self.aws.scene.ec2
        name = f"group-{len(ec2.describe_security_groups()['SecurityGroups'])}"
        group = str(ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc.id)["GroupId"])
        for rule in ingress:
            plain = {key: value for key, value in rule.items() if key != "itself"}
            own = {"UserIdGroupPairs": [{"GroupId": group}]} if "itself" in rule else {}
            ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[{**plain, **own}])
        return group

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
        listed = [one for name in ("policy.json", "doctor.json") for one in self._document(name)["Statement"]]
        return {"Version": "2012-10-17", "Statement": [*listed, *statements]}

    def _document(self, name: str) -> Any:
        return document(name, self.aws, self.vpc.id)

    def examine(
        self,
        *statements: Mapping[str, Any],
        machine: MachineFacts | Unknown | None = None,
        session: Any = None,
        **changed: Any,
    ) -> list[Finding]:
        """What doctor finds, with those statements more in its IAM policy, and settings `changed`."""
        changed.setdefault("kubeconfig", self.kubeconfig)
        settings = settings_of(self.settings, **changed)
        self.aws.clock = shifted(self.aws_ahead)
        session = session or self.aws.session(self.policy(*statements))
        return examine(gather(settings, session, shifted(self.ahead), lambda: machine or sound_machine(self)))


class _Shifted(SystemClock):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> float:
        return super().now() + self._seconds


def shifted(seconds: float) -> Clock:
    """The machine's time, so many seconds ahead."""
    return _Shifted(seconds)


def sound_machine(world: World) -> MachineFacts:
    """The first node."""
    address = packed(world.machine(world.names[0]).addresses[0])
    return MachineFacts(
        host=Host("eth0", 9001, ((address, 20),), (packed("10.0.0.1"),)),
        tried=dict.fromkeys(FEATURES, ""),
        net_admin=True,
        sysctls="",
        plugins=NEEDED_PLUGINS,
        searched=("/opt/cni/bin",),
        shadowing=(),
        devices=(),
        forward_drop=(),
    )


@contextmanager
def world(**lab: Any) -> Iterator[World]:
    """A World that is closed at the end."""
    made = World(**lab)
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

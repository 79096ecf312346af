"""Reads the facts of `cloudroute doctor`, as far as its account may.

The reads are independent. A failed read becomes an Unknown fact with the reason in words. For reads that only doctor
needs, and that the controller's account is not allowed, the reason says so.

Imported by the command when it runs: it loads boto3 and the Kubernetes client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import boto3
from botocore.exceptions import BotoCoreError

from cloudroute import crds
from cloudroute.adapters import machine
from cloudroute.adapters.ec2.client import Ec2Client
from cloudroute.adapters.ec2.discover import find_region, find_vpc
from cloudroute.adapters.ec2.doctor_client import DoctorClient
from cloudroute.adapters.kube.client import KubeClient
from cloudroute.adapters.kube.cluster import KubeCluster
from cloudroute.adapters.kube.leases import KubeLeases
from cloudroute.adapters.kube.review import Review
from cloudroute.adapters.kube.transport import READ_SECONDS
from cloudroute.commands.doctor_permissions import read_quota, refusals
from cloudroute.config import AgentSettings, ControllerSettings
from cloudroute.controller.ec2_cache import vpc_of
from cloudroute.controller.reader import policy_of
from cloudroute.core.explain.doctor.aws import ACTIONS, NO_CREDENTIALS, NO_REGION
from cloudroute.core.explain.doctor.cluster import NO_API, agent_permissions, permissions
from cloudroute.core.explain.doctor.facts import (
    IN_USE,
    NO_GATEWAYS,
    AwsFacts,
    Election,
    Facts,
    KubernetesFacts,
    MachineFacts,
    Permission,
)
from cloudroute.core.explain.doctor.findings import Unknown
from cloudroute.core.explain.doctor.networks import agent_flag
from cloudroute.dataplane import written
from cloudroute.errors import CloudrouteError, Forbidden
from cloudroute.ports import Clock
from cloudroute.types import Cidr
from cloudroute.wiring import LEASE, ReadOnly

T = TypeVar("T")

CALL_SECONDS = 10.0
_AGENT = AgentSettings()


def gather(
    settings: ControllerSettings,
    session: boto3.Session | Unknown,
    clock: Clock,
    look: Callable[[], MachineFacts | Unknown],
) -> Facts:
    """Read all facts; `look` reads the machine. Nothing is written anywhere."""
    kubernetes, server = _kubernetes(settings, clock)
    vxlan_port, masquerade_always = _agents(kubernetes, settings.namespace)
    facts = Facts(
        policy=policy_of(settings),
        route_limit=settings.route_limit,
        vxlan_port=vxlan_port,
        kubernetes=kubernetes,
        aws=_no_aws(Unknown("it was not read")),
        machine=_machine(look(), kubernetes),
        server=server,
        masquerade_always=masquerade_always,
        gateway_nodes=settings.gateway_nodes,
    )
    if isinstance(session, Unknown):
        rest = _no_aws(Unknown(NO_CREDENTIALS))
        return replace(facts, aws=replace(rest, identity=session))
    return _with_aws(facts, settings, session, clock)


def _agents(kubernetes: KubernetesFacts, namespace: str) -> tuple[int, Sequence[Cidr]]:
    """Return --vxlan-port and --masquerade-always as in the agents' DaemonSet, else the defaults."""
    sets = [] if isinstance(kubernetes.daemon_sets, Unknown) else kubernetes.daemon_sets
    ports = agent_flag(sets, namespace, "vxlan-port") or [str(_AGENT.vxlan_port)]
    always = ",".join(agent_flag(sets, namespace, "masquerade-always")).split(",")
    try:
        return int(ports[0]), [Cidr.parse(text) for text in always if text]
    except ValueError:  # the agents refuse such a value and log it
        return _AGENT.vxlan_port, ()


def own_session() -> boto3.Session | Unknown:
    """Return a session by the environment and AWS's configuration files; Unknown if they are inconsistent."""
    try:
        return boto3.Session()
    except BotoCoreError as error:  # for example a profile that does not exist
        return Unknown(str(error))


def look_at_machine() -> MachineFacts | Unknown:
    """Read this machine as an agent with default settings would use it."""
    return machine.look(_AGENT.cni_conf_dir, _AGENT.vni, _AGENT.vxlan_port)


def _machine(found: MachineFacts | Unknown, kubernetes: KubernetesFacts) -> MachineFacts | Unknown:
    """Return the facts of the machine if it is a node, else Unknown: a laptop needs no CNI plugins."""
    if isinstance(found, Unknown) or isinstance(found.host, Unknown) or isinstance(kubernetes.nodes, Unknown):
        return found
    own = {written(address) for address, _ in found.host.addresses}
    if own & {address for node in kubernetes.nodes.values() for address in node.node_ips}:
        return found
    return Unknown("this machine is no node of the cluster: no Node has one of its addresses")


def _try_read(read: Callable[[], T], *, doctor_only: bool = False) -> T | Unknown:
    """Return the result of `read`, or why it failed. `doctor_only`: only doctor reads it, the controller need not."""
    try:
        return read()
    except Forbidden as error:
        if doctor_only and error.code in ("403", "UnauthorizedOperation"):
            return Unknown(
                f"{error.action} is refused, and the controller does not need it: run doctor as an administrator"
            )
        return Unknown(str(error))
    except CloudrouteError as error:
        return Unknown("; ".join(error.lines))


# --- Kubernetes ---------------------------------------------------------------------------------


def _kubernetes(settings: ControllerSettings, clock: Clock) -> tuple[KubernetesFacts, str]:
    """Return the facts, and the URL of the API server."""
    kubeconfig = settings.kubeconfig or None
    review = _try_read(lambda: Review(kubeconfig))
    if isinstance(review, Unknown):
        return _no_kubernetes(review), "the API server"
    try:
        told = _try_read(lambda: review.version(clock))
        if isinstance(told, Unknown):
            return _no_kubernetes(told), review.url
        return _read_kubernetes(review, settings, told, clock), review.url
    finally:
        review.close()


def _no_kubernetes(why: Unknown) -> KubernetesFacts:
    rest = Unknown(NO_API)
    return KubernetesFacts(
        why, *[rest] * 9, agent_refused=rest, max_pods=rest, election=rest, network_policies=rest, renewals=rest
    )


def _read_kubernetes(
    review: Review, settings: ControllerSettings, told: tuple[str, float | None], clock: Clock
) -> KubernetesFacts:
    version, ahead = told
    served = _try_read(lambda: review.crds(crds.manifests()))
    known = {} if isinstance(served, Unknown) else served
    cluster = KubeCluster(settings.kubeconfig or None, clock)  # never started: only its connection is used
    try:
        services = _try_read(KubeClient(cluster.transport, cluster).service_cidrs)
    finally:
        cluster.stop()
    nodes = _try_read(lambda: review.nodes(settings.node_selector, settings.gateway_nodes))
    namespace, gateways = settings.namespace, settings.has_gateways
    account, refused = _refused_to_controller(review, namespace, permissions(namespace, gateways=gateways))
    now = clock.now() + (ahead or 0.0)
    return KubernetesFacts(
        version=version,
        seconds_ahead=Unknown("the API server does not tell the time") if ahead is None else ahead,
        crds=served,
        refused=refused,
        nodes=nodes if isinstance(nodes, Unknown) else nodes[0],
        left_alone={} if isinstance(nodes, Unknown) else nodes[1],
        # None exist as long as their kind is not served.
        node_routes=_try_read(review.node_routes) if "noderoutes" in known else {},
        route_table_objects=_try_read(review.route_table_objects) if "routetables" in known else {},
        services=services,
        daemon_sets=_try_read(review.daemon_sets, doctor_only=True),
        managers=_try_read(review.managers, doctor_only=True),
        agent_refused=_refused_to_account(review, namespace, "agent", agent_permissions(namespace, gateways=gateways)),
        account=account,
        max_pods=_try_read(review.max_pods),
        election=_election(review, settings, now),
        network_policies=_try_read(review.network_policies, doctor_only=True),
        renewals=_try_read(lambda: review.renewals(namespace, now)) if gateways else Unknown(NO_GATEWAYS),
    )


def _election(review: Review, settings: ControllerSettings, now: float) -> Election | Unknown:
    """Return the Lease and its state at `now`, by the API server's clock."""
    if not settings.leader_elect:
        return Unknown("not needed with --leader-elect=false")
    lease = _try_read(KubeLeases(review, settings.namespace, LEASE, READ_SECONDS).read)
    if isinstance(lease, Unknown):
        return lease
    return Election(settings.namespace, lease, now, _try_read(lambda: review.controllers(settings.namespace)))


def _refused_to_controller(
    review: Review, namespace: str, wanted: Sequence[Permission]
) -> tuple[str, Sequence[Permission] | Unknown]:
    """Return the account that was checked and its missing permissions among `wanted`.

    This is the controller's account if the account in use may ask for others, else the account in use.
    """
    refused = _refused_to_account(review, namespace, "controller", wanted)
    if isinstance(refused, Unknown):
        return IN_USE, _try_read(lambda: review.refused(wanted))
    return "the controller's account", refused


def _refused_to_account(
    review: Review, namespace: str, component: str, wanted: Sequence[Permission]
) -> Sequence[Permission] | Unknown:
    return _try_read(lambda: review.refused_to(namespace, f"cloudroute-{component}", wanted), doctor_only=True)


# --- AWS ----------------------------------------------------------------------------------------


def _with_aws(facts: Facts, settings: ControllerSettings, session: boto3.Session, clock: Clock) -> Facts:
    nodes = facts.kubernetes.nodes
    zones = [] if isinstance(nodes, Unknown) else [node.zone_hint for node in nodes.values()]
    region = settings.region or _try_read(lambda: find_region(session, zones))
    if isinstance(region, Unknown):
        return replace(facts, aws=replace(_no_aws(Unknown(NO_REGION)), region=region))
    client = DoctorClient(session, region, clock)
    identity = _try_read(client.identity)
    if isinstance(identity, Unknown):
        rest = _no_aws(Unknown(NO_CREDENTIALS))
        return replace(facts, aws=replace(rest, identity=identity, region=region))
    ahead = identity.seconds_ahead
    aws = replace(
        _no_aws(Unknown("it was not read")),
        identity=identity.arn,
        region=region,
        seconds_ahead=Unknown("AWS did not tell the time") if ahead is None else ahead,
    )
    ec2 = Ec2Client(session, region, ReadOnly(), clock, CALL_SECONDS, lambda _action, _code, _seconds: None)
    facts = replace(facts, aws=_read_vpc(aws, facts, ec2, settings.vpc_id, lambda: find_vpc(session)))
    return replace(facts, aws=_read_for_doctor(facts, client, ec2))


def _no_aws(why: Unknown) -> AwsFacts:
    refusals: dict[str, str | Unknown] = dict.fromkeys(ACTIONS, why)
    return AwsFacts(why, why, why, refusals, *[why] * 8, control_plane=why, acls=why, options=why)


def _read_vpc(aws: AwsFacts, facts: Facts, ec2: Ec2Client, vpc_id: str, own_vpc: Callable[[], str]) -> AwsFacts:
    """Make the same reads as the controller; `own_vpc` returns the VPC of this machine."""
    kube = facts.kubernetes
    nodes = {} if isinstance(kube.nodes, Unknown) else kube.nodes
    ids = {node.instance_id for node in nodes.values() if node.instance_id}
    instances = _try_read(lambda: ec2.instances(ids))
    shown = {} if isinstance(instances, Unknown) else instances
    table_objects = {} if isinstance(kube.route_table_objects, Unknown) else kube.route_table_objects
    if not vpc_id:
        vpc_id, _ = vpc_of(shown.values(), table_objects.values(), own_vpc, alone=not ids)
    if not vpc_id:
        return replace(_without_vpc(aws), instances=instances)
    tables = _try_read(lambda: {table.id: table for table in ec2.route_tables(vpc_id)})
    routed = {
        d for t in ({} if isinstance(tables, Unknown) else tables).values() for d in t.routes if isinstance(d, str)
    }
    return replace(
        aws,
        vpc_id=vpc_id,
        instances=instances,
        tables=tables,
        subnets=_try_read(lambda: ec2.subnets(vpc_id)),
        prefix_lists=_try_read(lambda: ec2.prefix_list_entries(sorted(routed))) if routed else {},
    )


def _without_vpc(aws: AwsFacts) -> AwsFacts:
    why = Unknown("no VPC is known: EC2 shows no node's instance; pass --vpc-id, or check --region")
    aws = replace(aws, vpc_id=why, tables=why, subnets=why, prefix_lists=why)
    return replace(aws, peers=why, control_plane=why, acls=why)


def _read_for_doctor(facts: Facts, client: DoctorClient, ec2: Ec2Client) -> AwsFacts:
    """Make the reads that only doctor makes, and check the permissions."""
    aws = _read_around_vpc(facts.aws, facts.policy.cluster_name, client)
    quota, quota_refusals = read_quota(facts, ec2)
    return replace(
        aws,
        quota=quota,
        refusals={**dict.fromkeys(ACTIONS, ""), **quota_refusals, **refusals(facts, client)},
    )


def _read_around_vpc(aws: AwsFacts, cluster: str, client: DoctorClient) -> AwsFacts:
    vpc_id, instances = aws.vpc_id, aws.instances
    if not isinstance(vpc_id, Unknown):
        aws = replace(
            aws,
            peers=_try_read(lambda: client.peers(vpc_id), doctor_only=True),
            control_plane=_try_read(lambda: client.control_plane(vpc_id, cluster), doctor_only=True),
            acls=_try_read(lambda: client.acls(vpc_id), doctor_only=True),
        )
    if isinstance(instances, Unknown):
        return replace(aws, groups=instances, options=instances)
    planes = () if isinstance(aws.control_plane, Unknown) else aws.control_plane
    others = {group for interface in planes for group in interface.groups}
    return replace(
        aws,
        groups=_try_read(lambda: client.groups(instances, others), doctor_only=True),
        options=_try_read(lambda: client.options(instances)),
    )

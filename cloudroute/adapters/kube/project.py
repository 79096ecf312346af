"""Kubernetes JSON into frozen types, and back.

The idea: no content of one object may stop the others. A value that can't be parsed is left out and, for a Node,
named in `problem`; no function here raises for an object that the API server has accepted.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from sys import intern
from types import MappingProxyType
from typing import Any, NamedTuple

from cloudroute.core.node.peers import is_unicast
from cloudroute.selector import NOBODY, Selector
from cloudroute.types import (
    FAMILIES,
    Aggregate,
    Cidr,
    Condition,
    Family,
    FamilyUse,
    GatewayRole,
    Node,
    NodeRoute,
    NodeRouteSpec,
    PodAddress,
    RouteTableObject,
    Subnet,
)

Json = Mapping[str, Any]

GROUP_VERSION = "cloudroute.io/v1alpha1"
PRIORITY = "cloudroute.io/priority"
CONDITION = "NetworkUnavailable"
_MOST_IPS = 16
"""Most InternalIPs to read: the CRD accepts no more, and the overlay uses only one of each family."""
ZONE = "topology.kubernetes.io/zone"
# EC2 refuses a whole DescribeInstances for one malformed id: https://docs.aws.amazon.com/ec2/latest/userguide/resource-ids.html
_INSTANCE_ID = re.compile(r"i-(?:[0-9a-f]{17}|[0-9a-f]{8})")
_LONGEST_PRIORITY = 10
_LONGEST_QUOTE, _LONGEST_PROBLEM = 80, 500
"""Most characters: a field of a Node can hold a megabyte, which a log line and an Event must not."""


class Meta(NamedTuple):
    """Identity and version of an object. Versions are integers: comparable, as Kubernetes documents."""

    name: str
    uid: str
    version: int


def meta(raw: Json) -> Meta:
    """The metadata of an object."""
    data = _dict(raw.get("metadata"))
    version = _text(data.get("resourceVersion"))
    return Meta(_text(data.get("name")), _text(data.get("uid")), int(version) if version.isdecimal() else 0)


def node(raw: Json, gateways: Selector = NOBODY) -> Node:
    """A core/v1 Node. `gateways` selects those that may be gateways.

    A Node whose pod CIDRs can't be parsed gets no instance id: no route could be right for it.
    """
    data, spec, status = (_dict(raw.get(part)) for part in ("metadata", "spec", "status"))
    problems: list[str] = []
    instance_id, zone = _provider(_text(spec.get("providerID")), problems)
    pod_cidrs, unreadable = cidrs(spec.get("podCIDRs") or [one for one in (spec.get("podCIDR"),) if one])
    if unreadable:
        problems.append(
            f"spec.podCIDRs has {_quote(unreadable[0])}, which is no CIDR: the Node must be registered anew"
        )
        instance_id, pod_cidrs = "", ()
    return Node(
        name=_text(data.get("name")),
        uid=_text(data.get("uid")),
        version=_text(data.get("resourceVersion")),
        created=_text(data.get("creationTimestamp")),
        instance_id=instance_id,
        pod_cidrs=pod_cidrs,
        node_ips=_internal_ips(status, problems),
        priority=_priority(_dict(data.get("annotations")), problems),
        condition=_condition(status),
        zone_hint=intern(zone or _text(_dict(data.get("labels")).get(ZONE))),
        problem="; ".join(problems)[:_LONGEST_PROBLEM],
        gateway=_gateway_role(data, spec, status) if gateways.matches(labels(raw)) else "none",
    )


def labels(raw: Json) -> dict[str, str]:
    """The labels of an object."""
    return {key: str(value) for key, value in _dict(_dict(raw.get("metadata")).get("labels")).items()}


def _gateway_role(data: Json, spec: Json, status: Json) -> GatewayRole:
    ready = is_ready(status)
    leaves = bool(data.get("deletionTimestamp")) or spec.get("unschedulable") is True
    return "candidate" if ready and not leaves else "retiring"


def node_route(raw: Json) -> NodeRoute:
    """A NodeRoute object."""
    data, spec = _dict(raw.get("metadata")), _dict(raw.get("spec"))
    return NodeRoute(
        name=_text(data.get("name")),
        uid=_text(data.get("uid")),
        version=_text(data.get("resourceVersion")),
        created=_text(data.get("creationTimestamp")),
        spec=NodeRouteSpec(
            pod_cidrs=cidrs(spec.get("podCIDRs"))[0],
            node_ips=_texts(spec.get("nodeIPs")),
            instance_id=_text(spec.get("instanceID")),
            network_interface_id=_text(spec.get("networkInterfaceID")),
            subnet_id=intern(_text(spec.get("subnetID"))),
            route_table_id=intern(_text(spec.get("routeTableID"))),
            native_in=tuple(sorted(map(intern, _texts(spec.get("nativeIn"))))),
            gateway=spec.get("gateway") is True,
        ),
        status={intern(key): _shared(value) for key, value in _dict(raw.get("status")).items()},
        generation=_number(data.get("generation")),
    )


def agent_node_route(own_name: str) -> Callable[[Json], NodeRoute]:
    """Return the parser of NodeRoutes for the agent of one node: of other nodes' it keeps only the spec.

    So the statuses of 5,000 other agents cost no memory, and do not wake the agent.
    """

    def node_route_of(raw: Json) -> NodeRoute:
        if meta(raw).name == own_name:
            return node_route(raw)
        return replace(node_route({**raw, "status": None}), status=_SILENT, generation=0)

    return node_route_of


def decided_upon(route: NodeRoute) -> NodeRoute:
    """Reduce a NodeRoute to the fields that the controller uses: the spec, and the status fields that hold a node back.

    The counts of paths change on every node whenever one joins, and must cause no new plan.
    """
    said = {key: route.status.get(key) for key in ("ready", "reason", "message")}
    return replace(route, version="", generation=0, status=said)


def node_route_spec(spec: NodeRouteSpec) -> dict[str, Any]:
    """The `spec` of a NodeRoute object."""
    return {
        "podCIDRs": [str(cidr) for cidr in spec.pod_cidrs],
        "nodeIPs": list(spec.node_ips),
        "instanceID": spec.instance_id,
        "networkInterfaceID": spec.network_interface_id,
        "subnetID": spec.subnet_id,
        "routeTableID": spec.route_table_id,
        "nativeIn": list(spec.native_in),
        **({"gateway": True} if spec.gateway else {}),
    }


def route_table_object(raw: Json) -> RouteTableObject:
    """A RouteTable object."""
    data, spec, status = (_dict(raw.get(part)) for part in ("metadata", "spec", "status"))
    vpc_id = _text(spec.get("vpcID"))
    subnets = (
        Subnet(_text(one.get("id")), vpc_id, _text(one.get("zone")), cidrs(one.get("cidrs"))[0])
        for one in map(_dict, _list(spec.get("subnets")))
    )
    families: dict[Family, FamilyUse] = {
        family: _family_use(status[family]) for family in FAMILIES if isinstance(status.get(family), dict)
    }
    return RouteTableObject(
        id=_text(data.get("name")),
        version=_text(data.get("resourceVersion")),
        vpc_id=vpc_id,
        subnets=tuple(sorted(subnets, key=lambda subnet: subnet.id)),
        families=families,
        created=_text(data.get("creationTimestamp")),
    )


def route_table_object_spec(report: RouteTableObject) -> dict[str, Any]:
    """The `spec` of a RouteTable object."""
    return {
        "vpcID": report.vpc_id,
        "subnets": [
            {"id": subnet.id, "zone": subnet.zone, "cidrs": [str(cidr) for cidr in subnet.cidrs]}
            for subnet in report.subnets
        ],
    }


def route_table_object_status(report: RouteTableObject) -> dict[str, Any]:
    """The `status` of a RouteTable object as a merge patch: null removes former entries."""
    return {
        family: None
        if (use := report.families.get(family)) is None
        else {
            "limit": use.limit,
            "learnedLimit": use.learned_limit,
            "used": use.used,
            "ours": use.ours,
            "foreign": use.foreign,
            "gateways": list(map(_aggregate, use.gateways)) or None,
            "intended": list(map(_aggregate, use.intended)) or None,
        }
        for family in FAMILIES
    }


def pod(raw: Json) -> PodAddress:
    """A core/v1 Pod."""
    data, spec, status = (_dict(raw.get(part)) for part in ("metadata", "spec", "status"))
    ips = [_text(one.get("ip")) for one in map(_dict, _list(status.get("podIPs")))] or [_text(status.get("podIP"))]
    return PodAddress(
        namespace=_text(data.get("namespace")),
        name=_text(data.get("name")),
        node=_text(spec.get("nodeName")),
        ips=tuple(filter(None, ips)),
        host_network=spec.get("hostNetwork") is True,
    )


def cidrs(raw: object) -> tuple[tuple[Cidr, ...], list[str]]:
    """The networks of a list, and its invalid entries. Host bits are dropped: the API server accepts them."""
    good: list[Cidr] = []
    bad: list[str] = []
    for text in _list(raw):
        try:
            network = ipaddress.ip_network(_text(text), strict=False)
        except ValueError:
            bad.append(str(text))
        else:
            family: Family = "ipv4" if network.version == 4 else "ipv6"
            good.append(Cidr(family, int(network.network_address), network.prefixlen))
    return tuple(good), bad


def _provider(provider_id: str, problems: list[str]) -> tuple[str, str]:
    """Instance id and zone ("" where there is none) of aws:///<zone>/<id>, aws:////<id> or a bare id."""
    *before, last = provider_id.removeprefix("aws://").split("/")
    if _INSTANCE_ID.fullmatch(last) and (provider_id == last or provider_id.startswith("aws://")):
        return last, before[-1] if before else ""
    if provider_id:
        quoted = _quote(provider_id)
        problems.append(f"spec.providerID {quoted} names no EC2 instance: expected aws:///<zone>/<instance id>")
    else:
        problems.append(
            "spec.providerID is not set: the cloud controller manager or the kubelet's --provider-id sets it"
        )
    return "", ""


def _internal_ips(status: Json, problems: list[str]) -> tuple[str, ...]:
    good: list[str] = []
    for one in map(_dict, _list(status.get("addresses"))):
        text = _text(one.get("address"))
        if one.get("type") != "InternalIP":
            continue
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            problems.append(f"the InternalIP {_quote(text)} in status.addresses is no IP address")
        else:
            if is_unicast(address.packed) and "%" not in text:
                good.append(str(address))
            else:
                problems.append(f"the InternalIP {_quote(text)} in status.addresses can be no node's")
    return tuple(good[:_MOST_IPS])


def _priority(annotations: Json, problems: list[str]) -> int:
    text = _text(annotations.get(PRIORITY)).strip()
    if not text:
        return 0
    digits = text.removeprefix("-").removeprefix("+")
    if digits.isascii() and digits.isdecimal() and len(digits) <= _LONGEST_PRIORITY and len(text) - len(digits) <= 1:
        return int(text)
    problems.append(f"annotation {PRIORITY} is {_quote(text)}: expected an integer, using 0")
    return 0


def _quote(text: str) -> str:
    """The beginning of a foreign text, in quotes, on one line."""
    return ascii(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}...")


def is_ready(status: Mapping[str, Any]) -> bool:
    """Whether the status of a Node or a Pod has the condition Ready."""
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in _conditions(status))


def _conditions(status: Json) -> Iterable[Json]:
    return map(_dict, _list(status.get("conditions")))


def _condition(status: Json) -> Condition | None:
    for one in _conditions(status):
        if one.get("type") == CONDITION:
            words = (intern(_text(one.get(key))) for key in ("status", "reason", "message"))
            return Condition(*words)
    return None


def _aggregate(one: Aggregate) -> Json:
    interface = {"interface": one.interface} if one.interface else {}
    return {"destination": str(one.destination), "node": one.node, **interface}


def _family_use(raw: Json) -> FamilyUse:
    learned = raw.get("learnedLimit")
    return FamilyUse(
        limit=_number(raw.get("limit")),
        learned_limit=learned if isinstance(learned, int) else None,
        used=_number(raw.get("used")),
        ours=_number(raw.get("ours")),
        foreign=_number(raw.get("foreign")),
        gateways=_aggregates(raw.get("gateways")),
        intended=_aggregates(raw.get("intended")),
    )


def _aggregates(raw: object) -> tuple[Aggregate, ...]:
    return tuple(
        sorted(
            Aggregate(destination, _text(one.get("node")), _text(one.get("interface")))
            for one in map(_dict, _list(raw))
            for destination in cidrs([one.get("destination")])[0]
        )
    )


def _dict(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for text in _list(value) if isinstance(text, str))


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


_SILENT: Json = MappingProxyType({})


def _shared(value: object) -> object:
    """Return one shared object for equal values, to save memory: nearly all agents report the same but for the time."""
    if isinstance(value, str):
        return intern(value)
    if isinstance(value, dict) and all(isinstance(number, int) for number in value.values()):
        return _counts(tuple(value.items()))
    return value


@lru_cache(maxsize=1024)
def _counts(items: tuple[tuple[str, int], ...]) -> Json:
    return {intern(name): number for name, number in items}

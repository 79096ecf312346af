"""The pods of the lab, their policies, and who may talk to whom by them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from cloudroute.lab.hosts.host import LabPod
from cloudroute.lab.hosts.traffic_echo import PORT
from cloudroute.lab.kube import Object

SERVERS = ("open", "by-pod", "by-namespace", "by-block", "by-port", "by-other-port", "closed")
CLIENTS = ("friend", "stranger", "member", "to-pod", "to-block", "mute")
_NAMESPACES = {"member": "red", "closed": "locked", "mute": "locked"}
"""Namespaces of pods, by name; all others are in `shop`."""
NAMESPACES: Mapping[str, Mapping[str, str]] = {"shop": {"team": "blue"}, "red": {"team": "red"}, "locked": {}}
"""Labels of each namespace."""
_PORTS = (("echo", PORT), ("other", 9))
_PROTOCOLS = ("UDP", "TCP")


class Case(NamedTuple):
    """A client's question to a server, and whether it is answered."""

    policy: str
    client: str
    server: str
    verdict: Literal["allowed", "denied"]


CASES = (
    Case("none", "stranger", "open", "allowed"),
    Case("ingress, default deny", "friend", "closed", "denied"),
    Case("ingress, podSelector", "friend", "by-pod", "allowed"),
    Case("ingress, podSelector", "stranger", "by-pod", "denied"),
    Case("ingress, namespaceSelector", "member", "by-namespace", "allowed"),
    Case("ingress, namespaceSelector", "friend", "by-namespace", "denied"),
    Case("ingress, ipBlock", "friend", "by-block", "allowed"),
    Case("ingress, ipBlock with except", "stranger", "by-block", "denied"),
    Case("ingress, named port", "stranger", "by-port", "allowed"),
    Case("ingress, another named port", "stranger", "by-other-port", "denied"),
    Case("egress, default deny", "mute", "open", "denied"),
    Case("egress, podSelector", "to-pod", "open", "allowed"),
    Case("egress, podSelector", "to-pod", "by-port", "denied"),
    Case("egress, ipBlock", "to-block", "open", "allowed"),
    Case("egress, ipBlock with except", "to-block", "by-port", "denied"),
)
"""Between pods."""
VPC_CASES = (
    Case("none", "vpc", "open", "allowed"),
    Case("ingress, default deny", "vpc", "closed", "denied"),
    Case("ingress, podSelector", "vpc", "by-pod", "denied"),
    Case("ingress, namespaceSelector", "vpc", "by-namespace", "denied"),
    Case("ingress, ipBlock", "vpc", "by-block", "allowed"),
    Case("ingress, ipBlock", "other-vpc", "by-block", "denied"),
    Case("ingress, named port", "vpc", "by-port", "allowed"),
    Case("ingress, another named port", "vpc", "by-other-port", "denied"),
)
"""From hosts of the VPC that are no nodes."""


def namespace_objects() -> Iterator[Object]:
    """The namespaces."""
    for name, labels in NAMESPACES.items():
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}


def namespace_of(name: str) -> str:
    """The Kubernetes namespace of the pods of that name."""
    return _NAMESPACES.get(name, "shop")


def pod_object(host: str, name: str) -> Object:
    """A pod as it is scheduled, without addresses."""
    ports = [
        {"name": f"{word}-{protocol.lower()}", "containerPort": port, "protocol": protocol}
        for word, port in _PORTS
        for protocol in _PROTOCOLS
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-{host}", "namespace": namespace_of(name), "labels": {"app": name}},
        "spec": {
            "nodeName": host,
            "automountServiceAccountToken": False,
            "containers": [{"name": "echo", "image": "echo", "ports": ports}],
        },
    }


def running(pod: LabPod) -> dict[str, Any]:
    """The status that a kubelet writes when the pod has its addresses."""
    return {"phase": "Running", "podIP": pod.addresses[0], "podIPs": [{"ip": one} for one in pod.addresses]}


def policies(
    pools: Sequence[str], strangers: Collection[str], shut: Collection[str], vpc: Iterable[str], internet: Iterable[str]
) -> Iterator[Object]:
    """All policies. `strangers` and `shut` are addresses that the blocks of ingress and of egress except."""
    yield _policy("locked", {}, Ingress=None, Egress=None)
    yield _policy("shop", _app("by-pod"), Ingress={"from": [{"podSelector": _app("friend")}]})
    yield _policy(
        "shop", _app("by-namespace"), Ingress={"from": [{"namespaceSelector": {"matchLabels": {"team": "red"}}}]}
    )
    yield _policy("shop", _app("by-block"), Ingress={"from": [*_blocks(pools, strangers), *_blocks(map(_whole, vpc))]})
    yield _policy("shop", _app("by-port"), Ingress={"ports": _ports("echo")})
    yield _policy("shop", _app("by-other-port"), Ingress={"ports": _ports("other")})
    yield _policy("shop", _app("to-pod"), Egress={"to": [{"podSelector": _app("open")}]})
    yield _policy("shop", _app("to-block"), Egress={"to": [*_blocks(pools, shut), *_blocks(map(_whole, internet))]})


def _policy(namespace: str, selector: Object, **rules: Object | None) -> Object:
    """A policy; `rules` are the one rule of each direction, None to allow nothing."""
    name = selector.get("matchLabels", {}).get("app", "default-deny")
    spec: Object = {"podSelector": selector, "policyTypes": list(rules)}
    spec |= {direction.lower(): [rule] for direction, rule in rules.items() if rule}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def _app(name: str) -> Object:
    return {"matchLabels": {"app": name}}


def _ports(word: str) -> list[Object]:
    return [{"port": f"{word}-{protocol.lower()}", "protocol": protocol} for protocol in _PROTOCOLS]


def _blocks(cidrs: Iterable[str], exceptions: Collection[str] = ()) -> Iterator[Object]:
    for cidr in cidrs:
        within = [_whole(one) for one in exceptions if (":" in one) == (":" in cidr)]
        yield {"ipBlock": {"cidr": cidr, **({"except": within} if within else {})}}


def _whole(address: str) -> str:
    """The network of one address."""
    return f"{address}/{128 if ':' in address else 32}"

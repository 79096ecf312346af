"""Kubernetes reads of `cloudroute doctor` alone: permissions, version, clock, and other networks' workloads.

Plain lists and no watches: a refused list costs one fact and affects no other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote

import urllib3

from cloudroute.adapters.kube import project
from cloudroute.adapters.kube.cluster import NODE_ROUTES, NODES, ROUTE_TABLES
from cloudroute.adapters.kube.errors import Call, no_answer
from cloudroute.adapters.kube.gateways import LABEL, gateway_lease
from cloudroute.adapters.kube.leases import leases_path
from cloudroute.adapters.kube.project import GROUP_VERSION
from cloudroute.adapters.kube.selection import left_alone
from cloudroute.adapters.kube.transport import CONNECT_SECONDS, READ_SECONDS, Json, Transport
from cloudroute.core.explain.doctor.facts import Permission, Workload
from cloudroute.errors import LostRace, Refused
from cloudroute.ports import Clock
from cloudroute.selector import Selector
from cloudroute.types import Node, NodeRoute, RouteTableObject

T = TypeVar("T")

_AUTHORIZATION = "authorization.k8s.io/v1"
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_DAEMON_SETS = "/apis/apps/v1/daemonsets"
_NETWORK_POLICIES = "/apis/networking.k8s.io/v1/networkpolicies"
_SYSTEM_PODS = "/api/v1/namespaces/kube-system/pods"
_MANAGERS = ("kube-controller-manager", "cloud-controller-manager")
_LONGEST_HOST = 63
"""Most characters of a pod's name that become its hostname (kubelet: truncatePodHostnameIfNeeded)."""
_PAGE = 100


class Review(Transport):
    """Doctor's own connection. All methods raise errors.ApiError, the constructor UsageError."""

    def version(self, clock: Clock) -> tuple[str, float | None]:
        """The server's version, and its clock minus ours in seconds; None where its answer had no date."""
        before = clock.now()
        limits = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        call = Call.of("GET", "/version")
        answer = self._send(call, "GET", self._address("/version", None), limits)
        midway = (before + clock.now()) / 2
        date = answer.headers.get("Date")
        ahead = parsedate_to_datetime(date).timestamp() - midway if date else None
        try:
            return str(answer.json()["gitVersion"]), ahead
        except (ValueError, TypeError, KeyError) as error:  # for example a proxy's login page
            raise no_answer(call, self.url, ValueError("this is no API server's answer")) from error

    def refused(self, wanted: Iterable[Permission]) -> Sequence[Permission]:
        """Permissions among `wanted` that the account in use lacks (SelfSubjectAccessReview)."""
        return [permission for permission in wanted if not self._allowed("SelfSubjectAccessReview", {}, permission)]

    def refused_to(self, namespace: str, account: str, wanted: Iterable[Permission]) -> Sequence[Permission]:
        """Permissions among `wanted` that a ServiceAccount lacks, whether or not it exists (SubjectAccessReview).

        The review of another account needs a permission that administrators have and the controller lacks.
        """
        who = {
            "user": f"system:serviceaccount:{namespace}:{account}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
        }
        return [permission for permission in wanted if not self._allowed("SubjectAccessReview", who, permission)]

    def _allowed(self, kind: str, who: Json, permission: Permission) -> bool:
        plural, _, subresource = permission.resource.partition("/")
        attributes = {
            "verb": permission.verb,
            "group": permission.group,
            "resource": plural,
            "subresource": subresource,
            "namespace": permission.namespace,
            "name": permission.name,
        }
        body = {"apiVersion": _AUTHORIZATION, "kind": kind, "spec": {**who, "resourceAttributes": attributes}}
        answer = self.request("POST", f"/apis/{_AUTHORIZATION}/{kind.lower()}s", body=body)
        return (answer.get("status") or {}).get("allowed") is True

    def crds(self, definitions: Sequence[Json]) -> Mapping[str, bool]:
        """By each of our kinds that is served: whether its CRD equals `definitions`; True where we may not read it."""
        try:
            listed = self.request("GET", f"/apis/{GROUP_VERSION}").get("resources") or ()
        except LostRace:  # 404: the whole group is missing
            return {}
        served = {resource.get("name") for resource in listed}
        mine = {definition["spec"]["names"]["plural"]: definition for definition in definitions}
        return {plural: self._same(definition) for plural, definition in mine.items() if plural in served}

    def _same(self, definition: Json) -> bool:
        try:
            there = self.request("GET", f"{_DEFINITIONS}/{definition['metadata']['name']}")
        except (Refused, LostRace):  # the controller may not read CRDs
            return True
        return _schemas(there) == _schemas(definition)

    def nodes(self, selector: Selector, gateways: Selector) -> tuple[Mapping[str, Node], Mapping[str, int]]:
        """Our Nodes by name, and the number of Nodes left alone by reason."""
        listed = list(self._list(NODES, lambda raw: left_alone(raw, selector) or project.node(raw, gateways)))
        ours = {one.name: one for one in listed if isinstance(one, Node)}
        return ours, Counter(one for one in listed if isinstance(one, str))

    def max_pods(self) -> Mapping[str, int]:
        """Most pods of each Node by name, as its kubelet reports; Nodes without that are left out."""
        return dict(one for one in self._list(NODES, _max_pods) if one[1])

    def node_routes(self) -> Mapping[str, NodeRoute]:
        """All NodeRoutes by name."""
        return {one.name: one for one in self._list(NODE_ROUTES, project.node_route)}

    def route_table_objects(self) -> Mapping[str, RouteTableObject]:
        """All RouteTables by name."""
        return {one.id: one for one in self._list(ROUTE_TABLES, project.route_table_object)}

    def renewals(self, namespace: str, now: float) -> Mapping[str, float]:
        """By name of a gateway: seconds from the last renewal of its Lease to `now`, seconds since the epoch."""
        leases = [one for one in self._list(leases_path(namespace), gateway_lease, f"{LABEL}=true") if one]
        times = {one.node: one.renewal.time for one in leases if one.renewal.time}
        return {node: now - datetime.fromisoformat(time).timestamp() for node, time in times.items()}

    def daemon_sets(self) -> Sequence[Workload]:
        """All DaemonSets."""
        return list(self._list(_DAEMON_SETS, _daemon_set))

    def network_policies(self) -> int:
        """Number of NetworkPolicies."""
        return sum(1 for _ in self._list(_NETWORK_POLICIES, lambda raw: raw))

    def managers(self) -> Sequence[Workload]:
        """The pods of kube-system in which the cloud provider's route controller may run."""
        return [one for one in self._list(_SYSTEM_PODS, _pod) if any(name in one.name for name in _MANAGERS)]

    def controllers(self, namespace: str) -> Mapping[str, str]:
        """Scheduled pods of controllers: the hostname that a process in the pod sees -> the pod's name."""
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"
        return {host: name for host, name in self._list(path, _place, component("controller")) if host}

    def _list(self, path: str, parse: Callable[[Json], T], labels: str = "") -> Iterator[T]:
        query: dict[str, str | int] = {"limit": _PAGE, **({"labelSelector": labels} if labels else {})}
        while True:
            page = self.request("GET", path, query)
            yield from map(parse, page.get("items") or ())
            more: Any = (page.get("metadata") or {}).get("continue")
            if not more:
                return
            query["continue"] = more


def component(name: str) -> str:
    """Return the label selector of the chart's pods: of "controller" or "agent"."""
    return f"app.kubernetes.io/name=cloudroute,app.kubernetes.io/component={name}"


def _schemas(definition: Json) -> list[Any]:
    return [(one.get("name"), one.get("schema")) for one in definition["spec"]["versions"]]


def _daemon_set(raw: Json) -> Workload:
    metadata, status = raw["metadata"], raw.get("status") or {}
    pods = int(status.get("desiredNumberScheduled") or 0)
    template = (raw.get("spec") or {}).get("template") or {}
    return Workload("DaemonSet", metadata.get("namespace", ""), metadata["name"], pods, _arguments(template))


def _pod(raw: Json) -> Workload:
    metadata = raw["metadata"]
    return Workload("Pod", metadata.get("namespace", ""), metadata["name"], 1, _arguments(raw))


def _place(raw: Json) -> tuple[str, str]:
    """A pod's hostname as `gethostname` returns it in the pod, "" before it is scheduled, and its name."""
    spec, name = raw.get("spec") or {}, str(raw["metadata"]["name"])
    node = str(spec.get("nodeName") or "")
    own = str(spec.get("hostname") or name[:_LONGEST_HOST].rstrip("-."))
    return (node if spec.get("hostNetwork") or not node else own), name


def _arguments(raw: Json) -> tuple[str, ...]:
    """Command lines of the containers of a pod or a template."""
    containers = (raw.get("spec") or {}).get("containers") or ()
    return tuple(word for one in containers for word in (*(one.get("command") or ()), *(one.get("args") or ())))


def _max_pods(raw: Json) -> tuple[str, int]:
    status = raw.get("status") or {}
    told = (status.get("allocatable") or {}).get("pods") or (status.get("capacity") or {}).get("pods") or 0
    return raw["metadata"]["name"], int(told)

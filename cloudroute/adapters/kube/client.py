"""ports.Kube: the controller's writes, and the reads of single pods for `path`.

The idea: every write names its object by uid or by version, and its answer goes into the store at once, so that the
next plan starts from it and not from a watch that is still behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from cloudroute.adapters.kube import project
from cloudroute.adapters.kube.cluster import NODE_ROUTES, NODES, ROUTE_TABLES, KubeCluster
from cloudroute.adapters.kube.events import EventWriter
from cloudroute.adapters.kube.transport import JSON, MERGE_PATCH, STRATEGIC_MERGE_PATCH, Json, Transport
from cloudroute.errors import LostRace, Refused
from cloudroute.types import (
    Cidr,
    Condition,
    Node,
    NodeRoute,
    NodeRouteSpec,
    Notice,
    PodAddress,
    RouteTableObject,
    timestamp,
)

_PODS = "/api/v1/pods"
_SERVICE_CIDRS = "/apis/networking.k8s.io/v1/servicecidrs"
_KUBERNETES_SERVICE = "/api/v1/namespaces/default/services/kubernetes"
_PAGE = 500


class KubeClient:
    """ports.Kube, which puts its own writes into the stores of `cluster`.

    No write takes longer than `write_seconds`, which must be below the lease's margin; a process that only reads
    leaves it out.
    """

    def __init__(self, transport: Transport, cluster: KubeCluster, write_seconds: float | None = None) -> None:
        self._transport = transport
        self._cluster = cluster
        self._write_seconds = write_seconds
        self.events = EventWriter(transport, cluster.clock)

    # --- Nodes ------------------------------------------------------------------------------------

    def assign_pod_cidrs(self, node: Node, cidrs: Sequence[Cidr]) -> Node:
        texts = [str(cidr) for cidr in cidrs]
        # The API server sets podCIDR, too. Where podCIDRs are set already it answers 200 and keeps them.
        answer = self._patch_node(node, "", {"spec": {"podCIDRs": texts}})
        if answer.pod_cidrs != tuple(cidrs):
            has = ", ".join(map(str, answer.pod_cidrs))
            raise LostRace("patch nodes", node.name, "", f"it has {has} already, so it can't get {', '.join(texts)}")
        return answer

    def set_condition(self, node: Node, condition: Condition) -> Node:
        now = timestamp(self._cluster.clock.now())
        entry = {
            "type": project.CONDITION,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message,
            "lastHeartbeatTime": now,
        }
        if node.condition is None or node.condition.status != condition.status:
            entry["lastTransitionTime"] = now  # conditions merge by type: fields that are not sent stay
        return self._patch_node(node, "/status", {"status": {"conditions": [entry]}})

    def _patch_node(self, node: Node, subresource: str, patch: Json) -> Node:
        # The uid makes the patch fail where another Node has that name by now.
        body = {"metadata": {"uid": node.uid}, **patch}
        path = _path(NODES, node.name) + subresource
        return self._cluster.put_node(self._write("PATCH", path, body=body, content_type=STRATEGIC_MERGE_PATCH))

    # --- NodeRoutes -------------------------------------------------------------------------------

    def create_node_route(self, name: str, spec: NodeRouteSpec) -> NodeRoute:
        body = _object("NodeRoute", name, project.node_route_spec(spec))
        return self._show_node_route(self._write("POST", NODE_ROUTES, body=body))

    def update_node_route(self, old: NodeRoute, spec: NodeRouteSpec) -> NodeRoute:
        removed = {"gateway": None} if old.spec.gateway and not spec.gateway else {}
        body = {"metadata": {"resourceVersion": old.version}, "spec": project.node_route_spec(spec) | removed}
        path = _path(NODE_ROUTES, old.name)
        return self._show_node_route(self._write("PATCH", path, body=body, content_type=MERGE_PATCH))

    def delete_node_route(self, old: NodeRoute) -> None:
        self._delete(_path(NODE_ROUTES, old.name), old.uid)
        self._cluster.node_routes.discard(old.name, old.uid)

    def _show_node_route(self, raw: Json) -> NodeRoute:
        answer = project.node_route(raw)
        self._cluster.node_routes.put(project.meta(raw), answer)
        return answer

    # --- RouteTables ------------------------------------------------------------------------------

    def write_route_table_object(self, old: RouteTableObject | None, report: RouteTableObject) -> RouteTableObject:
        path = _path(ROUTE_TABLES, report.id)
        spec, status = project.route_table_object_spec(report), project.route_table_object_status(report)
        if old is None:
            body = _object("RouteTable", report.id, spec)
            now = self._show_route_table_object(self._write("POST", ROUTE_TABLES, body=body))
        elif project.route_table_object_spec(old) != spec:
            now = self._patch_route_table_object(path, old, {"spec": spec})
        else:
            now = old
        if project.route_table_object_status(now) != status:
            now = self._patch_route_table_object(path + "/status", now, {"status": status})
        return now

    def delete_route_table_object(self, old: RouteTableObject) -> None:
        if uid := self._cluster.route_table_objects.uid(old.id):
            self._delete(_path(ROUTE_TABLES, old.id), uid)
            self._cluster.route_table_objects.discard(old.id, uid)

    def _patch_route_table_object(self, path: str, old: RouteTableObject, patch: Json) -> RouteTableObject:
        body = {"metadata": {"resourceVersion": old.version}, **patch}
        return self._show_route_table_object(self._write("PATCH", path, body=body, content_type=MERGE_PATCH))

    def _show_route_table_object(self, raw: Json) -> RouteTableObject:
        answer = project.route_table_object(raw)
        self._cluster.route_table_objects.put(project.meta(raw), answer)
        return answer

    # --- the rest ---------------------------------------------------------------------------------

    def event(self, notice: Notice) -> None:
        self.events.say(notice)

    def service_cidrs(self) -> Sequence[Cidr]:
        try:
            ranges = self._transport.request("GET", _SERVICE_CIDRS)
            return [Cidr.parse(text) for item in ranges["items"] for text in item["spec"]["cidrs"]]
        except (LostRace, Refused):  # Kubernetes before 1.33 has no such kind
            pass
        try:
            service = self._transport.request("GET", _KUBERNETES_SERVICE)
            return [Cidr.parse(address) for address in service["spec"]["clusterIPs"]]
        except (LostRace, Refused):
            return []

    def pod(self, namespace: str, name: str) -> PodAddress | None:
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}"
        try:
            return project.pod(self._transport.request("GET", path))
        except LostRace:  # 404
            return None

    def pod_at(self, address: str) -> PodAddress | None:
        # status.podIP selects by the first address only: for the other family's all running pods must be read.
        for selector in (f"status.phase=Running,status.podIP={address}", "status.phase=Running"):
            for pod in self._pods(selector):
                if address in pod.ips and not pod.host_network:
                    return pod
        return None

    def _pods(self, selector: str) -> Iterator[PodAddress]:
        query: dict[str, str | int] = {"fieldSelector": selector, "limit": _PAGE}
        while True:
            page = self._transport.request("GET", _PODS, query)
            yield from map(project.pod, page.get("items") or ())
            more: Any = (page.get("metadata") or {}).get("continue")
            if not more:
                return
            query["continue"] = more

    def _write(self, method: str, path: str, body: Json, content_type: str = JSON) -> Json:
        return self._transport.request(method, path, body=body, content_type=content_type, timeout=self._write_seconds)

    def _delete(self, path: str, uid: str) -> None:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            self._write("DELETE", path, body=body)
        except LostRace as error:
            if error.code != "404" and self._uid(path) == uid:
                raise  # a conflict other than the uid: the object still exists

    def _uid(self, path: str) -> str:
        try:
            return str(self._transport.request("GET", path)["metadata"]["uid"])
        except LostRace:  # 404
            return ""


def _object(kind: str, name: str, spec: Json) -> Json:
    return {"apiVersion": project.GROUP_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _path(collection: str, name: str) -> str:
    return f"{collection}/{quote(name, safe='')}"

"""Kubernetes for tens of thousands of nodes: the controller's own stores, fed without HTTP.

A write shows in its store at once, as an answer does; nothing is validated, since the strict API has accepted the same
writes (`test_scale.py`). Events that a write sends to every agent are counted in bytes of the watch's line.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cloudroute.adapters.kube import project
from cloudroute.adapters.kube.project import Meta
from cloudroute.adapters.kube.stores import MemoryStore
from cloudroute.core.cluster.heartbeats import Heartbeats
from cloudroute.lab.kube.store import FIRST_VERSION
from cloudroute.types import (
    Cidr,
    Condition,
    GatewayRole,
    LeftOut,
    Node,
    NodeRoute,
    NodeRouteSpec,
    Notice,
    PodAddress,
    RouteTableObject,
)
from tests.clock import FakeClock


class LightCluster:
    """`ports.Cluster` and `ports.Kube` in one."""

    trouble = ""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.heartbeats = Heartbeats(seconds=3)
        """Renewals of the gateways' Leases: `LightLab.renew`."""
        self.dirty = False
        """Whether a store has changed since somebody has set it to False."""
        self.nodes: MemoryStore[Node] = MemoryStore(self._on_change)
        self.left_out: MemoryStore[LeftOut] = MemoryStore(lambda: None)
        self.node_routes: MemoryStore[NodeRoute] = MemoryStore(self._on_change, project.decided_upon)
        self.route_table_objects: MemoryStore[RouteTableObject] = MemoryStore(self._on_change)
        self.writes: Counter[tuple[str, str]] = Counter()
        """The controller's, by verb and resource."""
        self.said: Counter[str] = Counter()
        """Events, by reason."""
        self.told: Counter[str] = Counter()
        """Bytes that each watch of NodeRoutes and RouteTables is sent, by whose write it was: controller, agents."""
        self.lines = 0
        """Lines of such a watch."""
        self.wrote: Callable[[NodeRoute | None, NodeRoute | None], None] = lambda _old, _new: None
        """Called with each NodeRoute before and after a write of the controller."""
        self.unavailable: set[str] = set()
        """Nodes that were ever told to have no network."""
        self.changed_at = 0.0
        """Time of the controller's last write, monotonic seconds."""
        self.conditions = 0
        """Conditions that were set on Nodes that had none."""
        self._present: dict[str, Node] = {}
        self.routes: dict[str, NodeRoute] = {}
        """By name."""
        self._versions = itertools.count(FIRST_VERSION + 1)
        for store in (self.nodes, self.node_routes, self.route_table_objects):
            store.replace(FIRST_VERSION, ())

    # --- others ---------------------------------------------------------------------------------

    def register(self, name: str, instance_id: str, zone: str, address: str, gateway: GatewayRole = "none") -> None:
        """A kubelet registers its Node."""
        uid, created = str(uuid.uuid4()), self.clock.timestamp()
        node = Node(name, uid, self._next(), created, instance_id, (), (address,), zone_hint=zone, gateway=gateway)
        self._put(self.nodes, node.uid, node)

    def unregister(self, name: str) -> None:
        """A Node is deleted."""
        node = self._present.pop(name)
        self.nodes.delete(Meta(name, node.uid, int(self._next())))

    def node(self, name: str) -> Node:
        """A Node as it is."""
        return self._present[name]

    def route(self, name: str) -> NodeRoute:
        """A NodeRoute as it is."""
        return self.routes[name]

    def agent_says(self, name: str, status: Mapping[str, object]) -> None:
        """A node's agent writes the status."""
        new = replace(self.routes[name], version=self._next(), status=status)
        self._put(self.node_routes, new.uid, new)
        self._tell("MODIFIED", _node_route(new), "agents")

    # --- ports.Cluster --------------------------------------------------------------------------

    def start(self, changed: Callable[[], None]) -> None:
        """The one who is told is `dirty`."""

    def dead(self) -> str:
        return ""

    def stop(self) -> None:
        return

    # --- ports.Kube -----------------------------------------------------------------------------

    def assign_pod_cidrs(self, node: Node, cidrs: Sequence[Cidr]) -> Node:
        return self._change_node("nodes", replace(self._node(node), pod_cidrs=tuple(cidrs)))

    def set_condition(self, node: Node, condition: Condition) -> Node:
        if condition.status == "True":
            self.unavailable.add(node.name)
        now = self._node(node)
        self.conditions += now.condition is None
        return self._change_node("nodes/status", replace(now, condition=condition))

    def _node(self, node: Node) -> Node:
        now = self._present[node.name]
        assert now.uid == node.uid
        return now

    def _change_node(self, resource: str, node: Node) -> Node:
        new = replace(node, version=self._next())
        self._count("patch", resource)
        self._put(self.nodes, new.uid, new)
        return new

    def create_node_route(self, name: str, spec: NodeRouteSpec) -> NodeRoute:
        new = NodeRoute(name, str(uuid.uuid4()), self._next(), self.clock.timestamp(), spec, {}, 1)
        self._count("create", "noderoutes")
        return self._show(None, new)

    def update_node_route(self, old: NodeRoute, spec: NodeRouteSpec) -> NodeRoute:
        assert self.routes[old.name].version == old.version
        self._count("patch", "noderoutes")
        return self._show(old, replace(old, version=self._next(), spec=spec, generation=old.generation + 1))

    def _show(self, old: NodeRoute | None, new: NodeRoute) -> NodeRoute:
        self._put(self.node_routes, new.uid, new)
        self._tell("MODIFIED" if old else "ADDED", _node_route(new), "controller")
        self.wrote(old, new)
        return new

    def delete_node_route(self, old: NodeRoute) -> None:
        self._count("delete", "noderoutes")
        gone = replace(self.routes.pop(old.name), version=self._next())
        self.node_routes.delete(Meta(old.name, old.uid, int(gone.version)))
        self._tell("DELETED", _node_route(gone), "controller")
        self.wrote(old, None)

    def write_route_table_object(self, old: RouteTableObject | None, report: RouteTableObject) -> RouteTableObject:
        now = old
        if now is None:
            self._count("create", "routetables")
            now = replace(report, version=self._next(), families={}, created=self.clock.timestamp())
            self._show_table("ADDED", now)
        assert project.route_table_object_spec(now) == project.route_table_object_spec(report), (
            "subnets do not change here"
        )
        if project.route_table_object_status(now) != project.route_table_object_status(report):
            self._count("patch", "routetables/status")
            now = replace(now, version=self._next(), families=report.families)
            self._show_table("MODIFIED", now)
        return now

    def _show_table(self, kind: str, report: RouteTableObject) -> None:
        self._put(self.route_table_objects, f"uid-{report.id}", report)
        self._tell(kind, _table(report), "controller")

    def delete_route_table_object(self, old: RouteTableObject) -> None:
        raise NotImplementedError

    def event(self, notice: Notice) -> None:
        self.said[notice.reason] += 1

    def service_cidrs(self) -> Sequence[Cidr]:
        return [Cidr.parse("10.96.0.1/32")]

    def pod(self, namespace: str, name: str) -> PodAddress | None:
        raise NotImplementedError

    def pod_at(self, address: str) -> PodAddress | None:
        raise NotImplementedError

    # --- inside ---------------------------------------------------------------------------------

    def _on_change(self) -> None:
        self.dirty = True

    def _count(self, verb: str, resource: str) -> None:
        self.writes[verb, resource] += 1
        self.changed_at = self.clock.monotonic()

    def _next(self) -> str:
        return str(next(self._versions))

    def _put(self, store: Any, uid: str, obj: Node | NodeRoute | RouteTableObject) -> None:
        name = obj.id if isinstance(obj, RouteTableObject) else obj.name
        if isinstance(obj, Node):
            self._present[name] = obj
        elif isinstance(obj, NodeRoute):
            self.routes[name] = obj
        store.upsert(Meta(name, uid, int(obj.version)), obj)

    def _tell(self, kind: str, raw: Mapping[str, object], who: str) -> None:
        """As the embedded API encodes it: compact JSON, a line for each change."""
        self.told[who] += len(json.dumps({"type": kind, "object": raw}, separators=(",", ":"))) + 1
        self.lines += 1


def _node_route(route: NodeRoute) -> Mapping[str, object]:
    raw: dict[str, object] = _object("NodeRoute", route, route.uid)
    raw["metadata"] |= {"generation": route.generation}  # type: ignore[operator] # a dict among objects
    raw["spec"] = project.node_route_spec(route.spec)
    return raw | ({"status": dict(route.status)} if route.status else {})


def _table(report: RouteTableObject) -> Mapping[str, object]:
    raw: dict[str, object] = {
        "apiVersion": project.GROUP_VERSION,
        "kind": "RouteTable",
        "metadata": _metadata(report.id, str(uuid.uuid4()), report.version, report.created) | {"generation": 1},
        "spec": project.route_table_object_spec(report),
    }
    status = {
        family: {key: value for key, value in use.items() if value is not None}  # null in a merge patch takes away
        for family, use in project.route_table_object_status(report).items()
        if use
    }
    return raw | ({"status": status} if status else {})


def _object(kind: str, obj: NodeRoute, uid: str) -> dict[str, Any]:
    metadata = _metadata(obj.name, uid, obj.version, obj.created)
    return {"apiVersion": project.GROUP_VERSION, "kind": kind, "metadata": metadata}


def _metadata(name: str, uid: str, version: str, created: str) -> dict[str, Any]:
    return {"name": name, "uid": uid, "creationTimestamp": created, "resourceVersion": version}

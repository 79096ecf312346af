"""The table of resources and their differences, which routing, discovery and writing read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import partial

from cloudroute.lab.kube import columns, events
from cloudroute.lab.kube.columns import Column
from cloudroute.lab.kube.schema import Schema
from cloudroute.lab.kube.status import Object
from cloudroute.lab.kube.store import Item


@dataclass(frozen=True)
class Resource:
    """One resource at one version."""

    group: str
    version: str
    plural: str
    kind: str
    _: KW_ONLY
    namespaced: bool = False
    status: bool = False
    """Has a status subresource: `status` is written there and only there."""
    short_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = columns.DEFAULT
    fields: frozenset[str] = frozenset()
    """Supported field selectors beside metadata.name and metadata.namespace."""
    needs_version: bool = False
    """A PUT must name the resourceVersion it replaces."""
    creates_on_update: bool = False
    """A PUT to an unused name creates the object."""
    counts_generations: bool = False
    custom: bool = False
    """Defined by a CustomResourceDefinition: no strategic merge patches."""
    schema: Schema | None = None

    @property
    def group_version(self) -> str:
        """apiVersion of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """Name in error messages: nodes, leases.coordination.k8s.io."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """Name of its kind in error messages: Node, Lease.coordination.k8s.io."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def storage(self) -> str:
        """Collection that holds its objects. Both APIs of events show the same objects."""
        return "events" if self.plural == "events" else self.qualified

    @property
    def selectable(self) -> frozenset[str]:
        """All fields that a field selector may name."""
        return self.fields | ({"metadata.name", "metadata.namespace"} if self.namespaced else {"metadata.name"})

    @property
    def _shows_new_events(self) -> bool:
        return self.storage == "events" and bool(self.group)

    def shown(self, stored: Object) -> Object:
        """Return a stored object in the form that this resource shows, with apiVersion and kind."""
        body = events.to_new(stored) if self._shows_new_events else stored
        return {"apiVersion": self.group_version, "kind": self.kind, **body}

    def stored(self, shown: Object) -> Object:
        """Invert `shown`."""
        body = {name: value for name, value in shown.items() if name not in ("apiVersion", "kind")}
        return events.to_old(body) if self._shows_new_events else body

    def encode(self, item: Item) -> bytes:
        """Encode a whole object as JSON."""
        if self._shows_new_events:
            return json.dumps(self.shown(item.object), separators=(",", ":")).encode()
        return b'{"apiVersion":"%s","kind":"%s",%s' % (self.group_version.encode(), self.kind.encode(), item.json[1:])

    def encode_in_list(self, item: Item) -> bytes:
        """Encode an object as an item of a list: only custom resources repeat apiVersion and kind there."""
        if self.custom:
            return self.encode(item)
        return json.dumps(events.to_new(item.object)).encode() if self._shows_new_events else item.json


_EVENT_FIELDS = frozenset(
    {f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath")}
    | {"involvedObject.resourceVersion", "reason", "reportingComponent", "source", "type"}
)
_REGARDING_FIELDS = frozenset(
    {name.replace("involvedObject", "regarding") for name in _EVENT_FIELDS if name.startswith("involvedObject")}
    | {"reason", "reportingController", "type"}
)
_POD_FIELDS = frozenset(
    {f"spec.{name}" for name in ("nodeName", "restartPolicy", "schedulerName", "serviceAccountName", "hostNetwork")}
    | {f"status.{name}" for name in ("phase", "podIP", "podIPs", "nominatedNodeName")}
)
_core, _rbac = partial(Resource, "", "v1"), partial(Resource, "rbac.authorization.k8s.io", "v1")

BUILT_IN: tuple[Resource, ...] = (
    _core(
        "nodes",
        "Node",
        status=True,
        short_names=("no",),
        columns=columns.NODES,
        fields=frozenset({"spec.unschedulable"}),
    ),
    _core("pods", "Pod", namespaced=True, status=True, short_names=("po",), columns=columns.PODS, fields=_POD_FIELDS),
    _core(
        "namespaces",
        "Namespace",
        status=True,
        short_names=("ns",),
        columns=columns.NAMESPACES,
        fields=frozenset({"status.phase"}),
    ),
    _core("services", "Service", namespaced=True, status=True, short_names=("svc",), columns=columns.SERVICES),
    _core("configmaps", "ConfigMap", namespaced=True, short_names=("cm",)),
    _core("serviceaccounts", "ServiceAccount", namespaced=True, short_names=("sa",)),
    _core("events", "Event", namespaced=True, short_names=("ev",), columns=columns.EVENTS, fields=_EVENT_FIELDS),
    Resource(
        "events.k8s.io",
        "v1",
        "events",
        "Event",
        namespaced=True,
        short_names=("ev",),
        columns=columns.EVENTS,
        fields=_REGARDING_FIELDS,
    ),
    Resource(
        "coordination.k8s.io",
        "v1",
        "leases",
        "Lease",
        namespaced=True,
        columns=columns.LEASES,
        needs_version=True,
        creates_on_update=True,
    ),
    Resource(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        status=True,
        short_names=("crd", "crds"),
        columns=columns.DEFINITIONS,
        needs_version=True,
        counts_generations=True,
    ),
    # RBAC kinds are stored so that manifests can be applied; permissions are never enforced.
    _rbac("clusterroles", "ClusterRole"),
    _rbac("clusterrolebindings", "ClusterRoleBinding"),
    _rbac("roles", "Role", namespaced=True),
    _rbac("rolebindings", "RoleBinding", namespaced=True),
)


@dataclass
class Registry:
    """The resources served now, by group, version and plural name."""

    _resources: Mapping[tuple[str, str, str], Resource] = field(
        default_factory=lambda: {(item.group, item.version, item.plural): item for item in BUILT_IN}
    )

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._resources.values())

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """Return the resource of a path."""
        return self._resources.get((group, version, plural))

    def by_plural(self, plural: str) -> Resource:
        """Return the resource called `plural`, of any group. Raises KeyError."""
        for resource in self:
            if resource.plural == plural:
                return resource
        raise KeyError(f"no resource is called {plural}; is its CustomResourceDefinition created?")

    def by_kind(self, api_version: str, kind: str) -> Resource:
        """Return the resource whose objects have this apiVersion and kind. Raises KeyError."""
        for resource in self:
            if (resource.group_version, resource.kind) == (api_version, kind):
                return resource
        raise KeyError(f"no resource has the kind {api_version} {kind}; is its CustomResourceDefinition created?")

    def replace_group(self, group: str, plural: str, resources: tuple[Resource, ...]) -> None:
        """Serve `resources` as the versions of `plural` in `group`, and no others."""
        kept = {key: item for key, item in self._resources.items() if (item.group, item.plural) != (group, plural)}
        self._resources = {**kept, **{(item.group, item.version, item.plural): item for item in resources}}

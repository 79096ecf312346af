"""The embedded Kubernetes API: enough of one for kubectl and for cloudroute, in this process and with no dependency.

    server.py      HTTP; faults.py: injected faults
    requests.py    method and path to verb, resource, selectors (selectors.py)
    answers.py     the verbs: patches.py, apply.py, columns.py; watches.py for watch; discovery.py for kubectl
    objects.py     writes, whatever the transport: rules.py for built-in kinds; crd.py, schema.py, cel.py
    store.py       objects, resourceVersions, history

The contract: it answers each request as a real kube-apiserver does, or refuses it. `tests/contract` runs the same tests
on both. It checks no permissions: that needs the real one, `real.RealKubeApi`, which has the same interface.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from cloudroute.lab.kube.answers import Answers
from cloudroute.lab.kube.faults import Faults
from cloudroute.lab.kube.objects import Objects
from cloudroute.lab.kube.patches import merge_patch
from cloudroute.lab.kube.resources import Registry, Resource
from cloudroute.lab.kube.server import KubeServer
from cloudroute.lab.kube.status import Object, StatusError
from cloudroute.lab.kube.store import Store

__all__ = ["Cluster", "Faults", "KubeApi", "KubeServer", "Object", "StatusError"]

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class Cluster(Protocol):
    """Direct access to objects, of the embedded API or of a real one. All methods raise StatusError.

    `plural` is a resource's plural name (nodes, noderoutes). Objects come with apiVersion and kind.
    """

    def create(self, item: Object) -> Object:
        """Create an object, with its status where it has one."""
        ...

    def get(self, plural: str, name: str, namespace: str = "") -> Object: ...

    def list(self, plural: str, namespace: str = "") -> list[Object]: ...

    def patch(self, plural: str, name: str, patch: Object, namespace: str = "") -> Object:
        """Apply a merge patch to an object."""
        ...

    def patch_status(self, plural: str, name: str, status: Object, namespace: str = "") -> Object:
        """Apply a merge patch to an object's status."""
        ...

    def delete(self, plural: str, name: str, namespace: str = "") -> None: ...


class KubeApi:
    """The objects, and a server for them once `serve` is called. Outlives its servers: serve again to restart.

    `calls` counts the requests that arrived, `changes` those that changed something, by (verb, resource): for example
    `calls["patch", "nodes/status"]`. Direct access through the methods is not counted.
    """

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.calls: Counter[tuple[str, str]] = Counter()
        self.store = Store()
        self.registry = Registry()
        """The kinds that are served."""
        self._objects = Objects(self.store, self.registry)
        self._answers = Answers(self.store, self._objects)
        for name in _NAMESPACES:
            self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        service = {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"name": "https", "port": 443}]}
        metadata = {"name": "kubernetes", "namespace": "default"}
        self.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service})

    @property
    def changes(self) -> Counter[tuple[str, str]]:
        """Number of requests that changed something, by verb and resource."""
        return self._answers.changes

    def reset_counts(self) -> None:
        """Reset both counters to zero."""
        self.calls.clear()
        self.changes.clear()

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> KubeServer:
        """Listen, on a free port by default."""
        return KubeServer(self.store, self.registry, self._answers, self.faults, self.calls, (host, port))

    def create(self, item: Object) -> Object:
        resource = self.registry.by_kind(item["apiVersion"], item["kind"])
        namespace = item["metadata"].get("namespace", "default") if resource.namespaced else ""
        created = self._objects.create(resource, namespace, item).item
        if resource.status and "status" in item and created.object.get("status") != item["status"]:
            return self.patch_status(resource.plural, created.key[1], item["status"], namespace)
        return resource.shown(created.object)

    def get(self, plural: str, name: str, namespace: str = "") -> Object:
        resource = self.registry.by_plural(plural)
        return resource.shown(self._objects.get(resource, (namespace, name)).object)

    def list(self, plural: str, namespace: str = "") -> list[Object]:
        resource = self.registry.by_plural(plural)
        items = self.store.snapshot(resource.storage).items
        return [resource.shown(item.object) for item in items if namespace in ("", item.key[0])]

    def patch(self, plural: str, name: str, patch: Object, namespace: str = "") -> Object:
        return self._patch(self.registry.by_plural(plural), name, patch, namespace, "")

    def patch_status(self, plural: str, name: str, status: Object, namespace: str = "") -> Object:
        return self._patch(self.registry.by_plural(plural), name, {"status": status}, namespace, "status")

    def delete(self, plural: str, name: str, namespace: str = "") -> None:
        self._objects.delete(self.registry.by_plural(plural), (namespace, name), {})

    def _patch(self, resource: Resource, name: str, patch: Object, namespace: str, sub: str) -> Object:
        written = self._objects.change(resource, (namespace, name), lambda old: merge_patch(old, patch), sub)
        return resource.shown(written.item.object)

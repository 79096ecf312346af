"""Creating, changing and deleting objects, as the API server does it whatever the transport.

Every write is one function on the present object, run under the store's lock: read, change, check, store. So each of
them is atomic, and a patch never loses a race against another.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from cloudroute import types
from cloudroute.lab.kube import crd, rules
from cloudroute.lab.kube.resources import Registry, Resource
from cloudroute.lab.kube.status import (
    Object,
    StatusError,
    already_exists,
    bad_request,
    conflict,
    invalid,
    invalid_value,
    not_found,
)
from cloudroute.lab.kube.store import Item, Key, Store

_KEPT_METADATA = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "generation")
_DROPPED_WHEN_EMPTY = ("labels", "annotations", "finalizers", "ownerReferences", "managedFields")


def timestamp() -> str:
    """Return the current time as metadata has it: UTC in whole seconds."""
    return types.timestamp(time.time())


@dataclass(frozen=True, slots=True)
class Written:
    """Outcome of a write: the object, and whether anything was changed or created."""

    item: Item
    changed: bool = True
    created: bool = False


class Objects:
    """All writes of all resources."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        store.removed = self._finish_definition

    def get(self, resource: Resource, key: Key) -> Item:
        """Return one object. Raises StatusError 404."""
        item = self._store.collection(resource.storage).items.get(key)
        if item is None:
            raise not_found(resource.qualified, key[1])
        return item

    def create(self, resource: Resource, namespace: str, given: Object, *, dry_run: bool = False) -> Written:
        """Store a new object. `given` has the form that its resource shows."""
        with self._store.lock:
            new = self._prepared(resource, namespace, given)
            key = (namespace, new["metadata"]["name"])
            if key in self._store.collection(resource.storage).items:
                raise already_exists(resource.qualified, key[1])
            self._check(resource, new, None)
            if resource.storage == crd.STORAGE:
                new = crd.established(new, timestamp())
            return Written(self._store_it(resource, new, dry_run=dry_run), created=True)

    def change(
        self,
        resource: Resource,
        key: Key,
        change: Callable[[Object], Object],
        sub: str = "",
        *,
        dry_run: bool = False,
        put: bool = False,
    ) -> Written:
        """Replace an object by `change` of it, both in the form that its resource shows. `sub` is "" or "status".

        Raises StatusError 404, 409 for another resourceVersion, and 422 for invalid fields. Another uid is a conflict
        in a PUT (`put`), but an immutable field in a patch.
        """
        with self._store.lock:
            old = self.get(resource, key)
            given = change(resource.shown(old.object))
            self._check_identity(resource, old.object, given, put=put)
            new = self._merged(resource, old.object, resource.stored(given), sub)
            self._check(resource, new, old.object)
            if new == old.object:
                return Written(old, changed=False)
            if resource.counts_generations and _intent(resource, new) != _intent(resource, old.object):
                new = _next_generation(new)
            if "deletionTimestamp" in new["metadata"] and "finalizers" not in new["metadata"]:
                return Written(Item(new) if dry_run else self._store.remove(resource.storage, new))
            if resource.storage == crd.STORAGE:
                new = crd.established(new, timestamp())
            return Written(self._store_it(resource, new, dry_run=dry_run))

    def delete(
        self, resource: Resource, key: Key, preconditions: Object, *, dry_run: bool = False
    ) -> tuple[Item, bool]:
        """Remove an object, or mark it deleted while it has finalizers. Returns it and whether it is gone."""
        with self._store.lock:
            item = self.get(resource, key)
            metadata = item.object["metadata"]
            for field, name in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
                if field in preconditions and preconditions[field] != metadata[field]:
                    why = f"the {name} in the precondition ({preconditions[field]}) does not match {metadata[field]}"
                    raise conflict(resource.qualified_kind, key[1], why)
            if resource.storage == crd.STORAGE:
                return self._delete_definition(resource, item, dry_run=dry_run)
            if dry_run:
                return item, "finalizers" not in metadata
            if "finalizers" not in metadata:
                return self._store.remove(resource.storage, item.object), True
            return self._mark_deleted(resource, item), False

    def _prepared(self, resource: Resource, namespace: str, given: Object) -> Object:
        metadata = dict(given.get("metadata") or {})
        if metadata.pop("resourceVersion", None) and not resource.creates_on_update:
            raise StatusError(500, "InternalError", "resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp()}
        metadata.setdefault("name", "")
        if resource.namespaced:
            metadata["namespace"] = namespace
            namespaces = self._store.collection("namespaces").items
            if ("", namespace) not in namespaces:
                raise not_found("namespaces", namespace)
        if resource.counts_generations:
            metadata["generation"] = 1
        new = self._normalized(resource, {**resource.stored(given), "metadata": metadata})
        if resource.status and resource.plural != "nodes":
            # Only a Node keeps its status on create: its kubelet registers it with one.
            new.pop("status", None)
        return {**new, **_BIRTH_STATUS.get(resource.plural, {})}

    def _merged(self, resource: Resource, old: Object, given: Object, sub: str) -> Object:
        if sub == "status":
            metadata = old["metadata"] if resource.custom else given["metadata"]
            new = {**old, "metadata": metadata, "status": given.get("status")}
        elif resource.status:
            new = {**given, "status": old.get("status")}
        else:
            new = given
        if new.get("status", 0) is None:
            del new["status"]
        kept = {name: old["metadata"][name] for name in _KEPT_METADATA if name in old["metadata"]}
        metadata = {**new.get("metadata", {}), **kept, "resourceVersion": old["metadata"]["resourceVersion"]}
        return self._normalized(resource, {**new, "metadata": metadata})

    def _normalized(self, resource: Resource, item: Object) -> Object:
        metadata = {name: value for name, value in item["metadata"].items() if value or name not in _DROPPED_WHEN_EMPTY}
        new = rules.normalized(resource.plural, {**item, "metadata": metadata})
        return resource.schema.complete(new) if resource.schema else new

    def _check(self, resource: Resource, new: Object, old: Object | None) -> None:
        found = rules.problems(resource.plural, resource.group, new, old)
        if resource.schema:
            found += resource.schema.problems(new, old)
        if resource.storage == crd.STORAGE:
            found += crd.problems(new)
        if found:
            raise invalid(resource.qualified_kind, new["metadata"]["name"], found)

    def _check_identity(self, resource: Resource, old: Object, given: Object, *, put: bool) -> None:
        metadata, name = given.get("metadata") or {}, old["metadata"]["name"]
        if metadata.get("name", name) != name:
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        if not metadata.get("resourceVersion") and resource.needs_version:
            cause = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            raise invalid(resource.qualified_kind, name, [cause])
        if metadata.get("uid") and metadata["uid"] != old["metadata"]["uid"]:
            if not put:
                raise invalid(
                    resource.qualified_kind,
                    name,
                    [invalid_value("metadata.uid", metadata["uid"], "field is immutable")],
                )
            why = f"Precondition failed: UID in precondition: {metadata['uid']}"
            raise conflict(resource.qualified, name, f"{why}, UID in object meta: {old['metadata']['uid']}")
        if metadata.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
            raise conflict(resource.qualified, name)

    def _store_it(self, resource: Resource, new: Object, *, dry_run: bool) -> Item:
        if dry_run:
            return Item(new)
        item = self._store.put(resource.storage, new)
        if resource.storage == crd.STORAGE:
            spec = new["spec"]
            self._registry.replace_group(spec["group"], spec["names"]["plural"], crd.resources(new))
        return item

    def _mark_deleted(self, resource: Resource, item: Item) -> Item:
        metadata = item.object["metadata"]
        if "deletionTimestamp" in metadata:
            return item
        marked = {**metadata, "deletionTimestamp": timestamp(), "deletionGracePeriodSeconds": 0}
        new = {**item.object, "metadata": marked}
        return self._store.put(resource.storage, _next_generation(new) if "generation" in metadata else new)

    def _delete_definition(self, resource: Resource, item: Item, *, dry_run: bool) -> tuple[Item, bool]:
        """Delete the objects of a definition; `_finish_definition` removes it once the last is gone."""
        if dry_run:
            return item, False
        metadata = item.object["metadata"]
        finalizers = [*metadata.get("finalizers", []), crd.FINALIZER]
        held = Item({**item.object, "metadata": {**metadata, "finalizers": list(dict.fromkeys(finalizers))}})
        item = self._mark_deleted(resource, held)
        for defined in crd.resources(item.object)[:1]:
            for key in list(self._store.collection(defined.storage).items):
                self.delete(defined, key, {})
        self._finish_definition(metadata["name"])
        return item, False

    def _finish_definition(self, storage: str, _last: Item | None = None) -> None:
        definition = self._store.collection(crd.STORAGE).items.get(("", storage))
        if definition is None or "deletionTimestamp" not in definition.object["metadata"]:
            return
        if self._store.collection(storage).items:
            return
        metadata = definition.object["metadata"]
        others = [name for name in metadata.get("finalizers", []) if name != crd.FINALIZER]
        spec = definition.object["spec"]
        self._registry.replace_group(spec["group"], spec["names"]["plural"], ())
        self._store.drop(storage)
        new = {**definition.object, "metadata": {**metadata, "finalizers": others}}
        if others:
            self._store.put(crd.STORAGE, new)
        else:
            del new["metadata"]["finalizers"]
            self._store.remove(crd.STORAGE, new)


_BIRTH_STATUS: dict[str, Object] = {
    "pods": {"status": {"phase": "Pending"}},
    "namespaces": {"status": {"phase": "Active"}},
}


def _intent(resource: Resource, item: Object) -> Object:
    """Return the fields whose changes metadata.generation counts."""
    ignored = {"metadata", "status"} if resource.status else {"metadata"}
    return {key: value for key, value in item.items() if key not in ignored}


def _next_generation(item: Object) -> Object:
    metadata = item["metadata"]
    return {**item, "metadata": {**metadata, "generation": metadata["generation"] + 1}}

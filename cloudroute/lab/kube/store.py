"""Objects, resourceVersions and the history for watches: the part of etcd and the watch cache of a real server.

One counter numbers every write of every resource. A stored object is never changed, only replaced, so that readers
need the lock just long enough to take references: a list of 5,000 Nodes is encoded outside it.
"""

from __future__ import annotations

import bisect
import json
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from cloudroute.lab.kube.status import Object, expired

Key = tuple[str, str]
"""Namespace ("" for a cluster-scoped object) and name."""
ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]

FIRST_VERSION = 1_000
"""Starting version: versions below it are too old from the start, as on a server whose etcd has been compacted."""
HISTORY = 20_000
"""Changes kept per resource for watches that resume."""
SNAPSHOTS = 16
"""Snapshots kept for `continue` tokens."""


@dataclass(frozen=True)
class Item:
    """A stored object with its JSON, encoded at most once."""

    object: Object

    @cached_property
    def json(self) -> bytes:
        """Compact JSON of the object, without apiVersion and kind."""
        return json.dumps(self.object, separators=(",", ":")).encode()

    @property
    def key(self) -> Key:
        """Key in its collection."""
        metadata = self.object["metadata"]
        return metadata.get("namespace", ""), metadata["name"]

    @property
    def version(self) -> int:
        """metadata.resourceVersion as a number."""
        return int(self.object["metadata"]["resourceVersion"])


@dataclass(frozen=True, slots=True)
class Change:
    """One write. For a deletion, `item` is the object as it was, under the version of the deletion."""

    version: int
    type: ChangeType
    item: Item
    previous: Item | None


@dataclass
class Collection:
    """The objects of one resource."""

    changed: threading.Condition
    """Notified after each write, and when the server closes."""
    items: dict[Key, Item] = field(default_factory=dict)
    history: deque[Change] = field(default_factory=lambda: deque(maxlen=HISTORY))
    forgotten: int = FIRST_VERSION
    """Newest version whose change is no longer in the history."""
    closed: bool = False
    """Set once the resource's CustomResourceDefinition was deleted."""

    def since(self, version: int) -> list[Change]:
        """Return every change after `version`, oldest first. Raises StatusError 410 when some are no longer kept."""
        if version < self.forgotten:
            raise expired(f"too old resource version: {version} ({self.forgotten})")
        changes = []
        for change in reversed(self.history):
            if change.version <= version:
                break
            changes.append(change)
        return changes[::-1]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A list at one version, in the order of its keys."""

    version: int
    keys: list[Key]
    items: list[Item]

    def after(self, key: Key | None) -> list[Item]:
        """Return the items after `key`; all for None."""
        return self.items if key is None else self.items[bisect.bisect_right(self.keys, key) :]


class Store:
    """All collections, under one lock. Callers hold `lock` over a read and the write that depends on it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.version = FIRST_VERSION
        self._collections: dict[str, Collection] = {}
        self._snapshots: OrderedDict[tuple[str, int], Snapshot] = OrderedDict()
        self.removed: Callable[[str, Item], None] = lambda _name, _item: None
        """Called under the lock after an object was removed, with the collection's name."""

    def collection(self, name: str) -> Collection:
        """Return the collection called `name`, created on first use."""
        with self.lock:
            if name not in self._collections:
                self._collections[name] = Collection(threading.Condition(self.lock), forgotten=self.version)
            return self._collections[name]

    def put(self, name: str, new: Object) -> Item:
        """Store `new` under the next version, which is written into it."""
        with self.lock:
            item = self._next(new)
            previous = self.collection(name).items.get(item.key)
            self.collection(name).items[item.key] = item
            self._record(name, Change(item.version, "MODIFIED" if previous else "ADDED", item, previous))
            return item

    def remove(self, name: str, last: Object) -> Item:
        """Remove an object; watches receive `last` as its last state."""
        with self.lock:
            item = self._next(last)
            previous = self.collection(name).items.pop(item.key)
            self._record(name, Change(item.version, "DELETED", item, previous))
            self.removed(name, item)
            return item

    def snapshot(self, name: str) -> Snapshot:
        """Return a snapshot of the collection."""
        with self.lock:
            version, pairs = self.version, sorted(self.collection(name).items.items())
        return Snapshot(version, [key for key, _ in pairs], [item for _, item in pairs])

    def keep(self, name: str, snapshot: Snapshot) -> None:
        """Keep a snapshot for the pages still to come."""
        with self.lock:
            self._snapshots[name, snapshot.version] = snapshot
            if len(self._snapshots) > SNAPSHOTS:
                self._snapshots.popitem(last=False)

    def kept(self, name: str, version: int) -> Snapshot:
        """Return the snapshot that a `continue` token names. Raises StatusError 410 when it is no longer kept."""
        with self.lock:
            if (name, version) not in self._snapshots:
                raise expired("The provided continue parameter is too old to display a consistent list result.")
            return self._snapshots[name, version]

    def compact(self) -> None:
        """Drop all history and every snapshot: watches and lists that resume from here get 410."""
        with self.lock:
            self._snapshots.clear()
            for collection in self._collections.values():
                collection.history.clear()
                collection.forgotten = self.version

    def drop(self, name: str) -> None:
        """Drop a collection; its watches end."""
        with self.lock:
            collection = self._collections.pop(name)
            collection.closed = True
            collection.changed.notify_all()

    def wake(self) -> None:
        """Wake every watch to notice that the server closes."""
        with self.lock:
            for collection in self._collections.values():
                collection.changed.notify_all()

    def _next(self, new: Object) -> Item:
        self.version += 1
        return Item({**new, "metadata": {**new["metadata"], "resourceVersion": str(self.version)}})

    def _record(self, name: str, change: Change) -> None:
        collection = self.collection(name)
        if len(collection.history) == HISTORY:
            collection.forgotten = collection.history[0].version
        collection.history.append(change)
        collection.changed.notify_all()

"""Store of the objects of one kind, fed by a reflector and by the answers to our own writes.

The idea: a watch lags behind our own writes, so a plan made right after a write would start from the state before it.
The answer to a write is therefore stored at once, and later watch events of older versions are ignored.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Generic, TypeVar

from cloudroute.adapters.kube.project import Meta
from cloudroute.types import LeftOut, Node, NodeRoute, RouteTableObject

T = TypeVar("T", bound=Node | LeftOut | NodeRoute | RouteTableObject)


class MemoryStore(Generic[T]):
    """ports.Store. `changed` is called, outside of the lock, when an object has changed in more than its version.

    With `matters` it is called only when the value that `matters` returns for an object has changed.
    """

    def __init__(self, changed: Callable[[], None], matters: Callable[[T], object] | None = None) -> None:
        self._changed = changed
        self._matters = matters or _unversioned
        self._lock = threading.Lock()
        self._synced = threading.Event()
        self._objects: dict[str, T] = {}
        self._uids: dict[str, str] = {}
        self._snapshot: Mapping[str, T] | None = None
        self._seen = 0
        """The latest version seen in the watch."""
        self._ahead: dict[str, int] = {}
        """Versions of own writes past `_seen`, by name."""
        self._gone: set[str] = set()
        """Uids of own deletions that the watch has not shown yet."""

    def items(self) -> Mapping[str, T]:
        with self._lock:
            if self._snapshot is None:
                self._snapshot = MappingProxyType(dict(self._objects))
            return self._snapshot

    def wait_synced(self, timeout: float) -> bool:
        return self._synced.wait(timeout)

    def uid(self, name: str) -> str:
        """The uid of an object; "" when there is none of that name."""
        with self._lock:
            return self._uids.get(name, "")

    # --- our own writes ---------------------------------------------------------------------------

    def put(self, meta: Meta, obj: T) -> None:
        """Store the answer to a write of ours, unless the watch or a later write has overtaken it."""
        with self._lock:
            newer = meta.version > max(self._seen, self._ahead.get(meta.name, 0)) and meta.uid not in self._gone
            if newer:
                self._ahead[meta.name] = meta.version
            changed = newer and self._set(meta, obj)
        if changed:
            self._changed()

    def discard(self, name: str, uid: str) -> None:
        """Remove an object that we have deleted, if it still has that uid."""
        with self._lock:
            ours = self._uids.get(name) == uid
            if ours:
                self._gone.add(uid)
                self._drop(name)
        if ours:
            self._changed()

    # --- the reflector ----------------------------------------------------------------------------

    def replace(self, version: int, listed: Iterable[tuple[Meta, T]]) -> None:
        """Apply a full list that was current at `version`."""
        with self._lock:
            self._ahead = {name: ahead for name, ahead in self._ahead.items() if ahead > version}
            changed = False
            names: set[str] = set()
            uids: set[str] = set()
            for meta, obj in listed:
                names.add(meta.name)
                uids.add(meta.uid)
                if meta.name not in self._ahead and meta.uid not in self._gone:
                    changed |= self._set(meta, obj)
            for name in [name for name in self._objects if name not in names and name not in self._ahead]:
                self._drop(name)
                changed = True
            self._gone &= uids
            self._seen = version
        first = not self._synced.is_set()
        self._synced.set()
        if changed or first:
            self._changed()

    def upsert(self, meta: Meta, obj: T | None) -> None:
        """Apply an ADDED or MODIFIED event; an `obj` of None leaves the object out, or removes it."""
        with self._lock:
            changed = self._catch_up(meta) and meta.uid not in self._gone
            if obj is not None:
                changed = changed and self._set(meta, obj)
            elif changed := changed and meta.name in self._objects:
                self._drop(meta.name)
        if changed:
            self._changed()

    def delete(self, meta: Meta) -> None:
        """Apply a DELETED event, whose version is that of the deletion."""
        with self._lock:
            self._gone.discard(meta.uid)
            changed = self._catch_up(meta) and meta.name in self._objects
            if changed:
                self._drop(meta.name)
        if changed:
            self._changed()

    def progress(self, version: int) -> None:
        """Apply a BOOKMARK: there is no other event up to `version`."""
        with self._lock:
            self._seen = version

    # --- under the lock ---------------------------------------------------------------------------

    def _catch_up(self, meta: Meta) -> bool:
        """Note the watch's position. Returns whether its event is at least as new as our last write."""
        self._seen = meta.version
        ahead = self._ahead.get(meta.name)
        if ahead is not None and ahead > meta.version:
            return False
        self._ahead.pop(meta.name, None)
        return True

    def _set(self, meta: Meta, obj: T) -> bool:
        """Store an object. Returns whether a relevant field changed: reports of kubelets must not wake the loop."""
        old = self._objects.get(meta.name)
        if old is not None and old.version == obj.version and self._uids.get(meta.name) == meta.uid:
            return False
        self._objects[meta.name] = obj
        self._uids[meta.name] = meta.uid
        self._snapshot = None
        return old is None or self._matters(old) != self._matters(obj)

    def _drop(self, name: str) -> None:
        del self._objects[name]
        del self._uids[name]
        self._ahead.pop(name, None)
        self._snapshot = None


class SelectedNodes:
    """Feeds a reflector's Nodes into two stores: those that are served, and those that are left out.

    A Node that changes sides is for a moment in both, never in neither: it would count as gone.
    """

    def __init__(self, served: MemoryStore[Node], left_out: MemoryStore[LeftOut]) -> None:
        self._served, self._left_out = served, left_out

    def replace(self, version: int, listed: Iterable[tuple[Meta, Node | LeftOut]]) -> None:
        """Apply a full list."""
        nodes: list[tuple[Meta, Node]] = []
        others: list[tuple[Meta, LeftOut]] = []
        for meta, obj in listed:
            if isinstance(obj, Node):
                nodes.append((meta, obj))
            else:
                others.append((meta, obj))
        self._left_out.replace(version, others)
        self._served.replace(version, nodes)

    def upsert(self, meta: Meta, obj: Node | LeftOut | None) -> None:
        """Apply an ADDED or MODIFIED event."""
        if isinstance(obj, Node):
            self._served.upsert(meta, obj)
            self._left_out.upsert(meta, None)
        else:
            self._left_out.upsert(meta, obj)
            self._served.upsert(meta, None)

    def delete(self, meta: Meta) -> None:
        """Apply a DELETED event."""
        self._left_out.delete(meta)
        self._served.delete(meta)

    def progress(self, version: int) -> None:
        """Apply a BOOKMARK."""
        self._left_out.progress(version)
        self._served.progress(version)


def _unversioned(obj: Node | LeftOut | NodeRoute | RouteTableObject) -> object:
    return replace(obj, version="")

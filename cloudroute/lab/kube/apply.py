"""Server-side apply: a manager states the fields it wants; fields that it no longer states are removed, unless another
manager wants them.

Owners are kept in metadata.managedFields as on a real server, with two simplifications: only managers that apply are
recorded (those that update or patch are not), and a list has one owner as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from cloudroute.lab.kube.status import Cause, Object, StatusError
from cloudroute.types import timestamp

Path = tuple[str, ...]
Merge = Callable[[Any, Any], Any]


def server_side_apply(current: Object, wanted: Object, manager: str, merge: Merge, *, force: bool) -> Object:
    """Return the object after `manager` applied `wanted`; `current` is {} for a new object.

    Raises StatusError 409 for a field that another manager has applied with another value, unless `force`.
    """
    entries = [entry for entry in current.get("metadata", {}).get("managedFields", []) if entry["manager"] != manager]
    mine = next(
        (entry for entry in current.get("metadata", {}).get("managedFields", []) if entry["manager"] == manager), None
    )
    stated = set(_leaves(_owned_part(wanted)))
    taken = {path for path in stated if _value(current, path) != _value(wanted, path)}
    conflicts = [(entry["manager"], path) for entry in entries for path in sorted(taken & _fields(entry))]
    if conflicts and not force:
        raise _conflict(conflicts)
    entries = [_entry_with(entry, _fields(entry) - taken) for entry in entries]
    elsewhere = {path for entry in entries for path in _fields(entry)}
    result = current
    for path in (_fields(mine) if mine else set()) - stated - elsewhere:
        result = _without(result, path)
    result = merge(result, wanted)
    if mine is None or _fields(mine) != stated:
        mine = _entry(manager, wanted["apiVersion"], stated)
    metadata = {**result["metadata"], "managedFields": [*(entry for entry in entries if _fields(entry)), mine]}
    return {**result, "metadata": metadata}


def _owned_part(wanted: Object) -> Object:
    metadata = {key: value for key, value in wanted["metadata"].items() if key in ("labels", "annotations")}
    return {key: value for key, value in wanted.items() if key not in ("apiVersion", "kind")} | {"metadata": metadata}


def _leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _leaves(child, (*path, key))
    elif path and path != ("metadata",):
        yield path


def _value(item: Any, path: Path) -> Any:
    for key in path:
        item = item.get(key) if isinstance(item, dict) else None
    return item


def _without(item: Object, path: Path) -> Object:
    key, *rest = path
    if key not in item:
        return item
    if rest and isinstance(item[key], dict):
        child = _without(item[key], tuple(rest))
        return {**item, key: child}
    return {name: value for name, value in item.items() if name != key}


def _entry(manager: str, api_version: str, paths: set[Path]) -> Object:
    now = timestamp(time.time())
    entry = {"manager": manager, "operation": "Apply", "apiVersion": api_version, "time": now, "fieldsType": "FieldsV1"}
    return _entry_with(entry, paths)


def _entry_with(entry: Object, paths: set[Path]) -> Object:
    fields: Object = {}
    for path in sorted(paths):
        level = fields
        for key in path:
            level = level.setdefault(f"f:{key}", {})
    return {**entry, "fieldsV1": fields}


def _fields(entry: Object) -> set[Path]:
    return {tuple(key.removeprefix("f:") for key in path) for path in _leaves(entry.get("fieldsV1", {}))}


def _conflict(conflicts: list[tuple[str, Path]]) -> StatusError:
    causes = [
        Cause("." + ".".join(path), "FieldManagerConflict", f'conflict with "{owner}"') for owner, path in conflicts
    ]
    text = ", ".join(f"{cause.message}: {cause.field}" for cause in causes)
    details = {"causes": [cause._asdict() for cause in causes]}
    return StatusError(409, "Conflict", f"Apply failed with {len(causes)} conflict(s): {text}", details)

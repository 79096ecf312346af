"""The three patches that carry a difference: JSON patch, merge patch, strategic merge patch.

Each function takes the present object and a patch and returns a new object; neither argument is changed. Server-side
apply, which states wanted fields instead of a difference, is in `apply.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonpatch
import jsonpointer

from cloudroute.lab.kube.status import Object, StatusError, bad_request

MERGE_KEYS: Mapping[str, str] = {
    "conditions": "type",
    "addresses": "type",
    "ownerReferences": "uid",
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
}
"""Lists of objects that strategic merge patches merge item by item, by this key. All others, taints too, are atomic.

The `ports` of a Service have a merge key too, `port`, but those of a container have `containerPort`; tests patch
neither.
"""
MERGED_VALUES = frozenset({"podCIDRs", "finalizers"})
"""Lists of strings that strategic merge patches unite."""


def json_patch(current: Object, patch: Any) -> Object:
    """Apply RFC 6902. Raises StatusError 422 for a failed test or a missing path, 400 for an invalid patch.

    >>> json_patch({"a": [1]}, [{"op": "test", "path": "/a/0", "value": 1}, {"op": "add", "path": "/a/-", "value": 2}])
    {'a': [1, 2]}
    """
    if not isinstance(patch, list):
        raise bad_request("error decoding patch: a JSON patch is a list of operations")
    try:
        patched = jsonpatch.apply_patch(current, patch)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        raise StatusError(
            422, "Invalid", f"the server rejected our request due to an error in our request: {error}"
        ) from error
    if not isinstance(patched, dict):
        raise bad_request("the patch leaves no object")
    return patched


def merge_patch(current: Any, patch: Any) -> Any:
    """Apply RFC 7386: null deletes, objects merge, everything else replaces.

    >>> merge_patch({"a": 1, "b": {"c": [1]}}, {"a": None, "b": {"c": [2]}})
    {'b': {'c': [2]}}
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_merge_patch(current: Any, patch: Any, field: str = "") -> Any:
    """Apply a merge patch in which some lists merge item by item, and `$patch` directives replace or delete.

    >>> now = {"conditions": [{"type": "Ready", "status": "True"}], "taints": [{"key": "a"}]}
    >>> strategic_merge_patch(now, {"conditions": [{"type": "Ready", "status": "False"}], "taints": [{"key": "b"}]})
    {'conditions': [{'type': 'Ready', 'status': 'False'}], 'taints': [{'key': 'b'}]}
    """
    if isinstance(patch, list) and isinstance(current, list):
        return _strategic_list(current, patch, field)
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if patch.get("$patch") == "delete":
        return {}
    merged = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            target = key.partition("/")[2]
            merged[target] = [item for item in merged.get(target, []) if item not in value]
        elif key.startswith(("$setElementOrder/", "$retainKeys")):
            continue
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = strategic_merge_patch(merged.get(key), value, key)
    return merged


def _strategic_list(current: list[Any], patch: list[Any], field: str) -> list[Any]:
    if field in MERGED_VALUES:
        merged = dict.fromkeys([*patch, *current])
        return _in_order(merged, current, patch)
    key = MERGE_KEYS.get(field)
    if key is None or not all(isinstance(item, dict) for item in patch):
        return patch
    if any(item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if "$patch" not in item]
    items = {item.get(key): item for item in current}
    for change in patch:
        if change.get("$patch") == "delete":
            items.pop(change.get(key), None)
        else:
            items[change.get(key)] = strategic_merge_patch(items.get(change.get(key)), change)
    order = _in_order(items, [item.get(key) for item in current], [item.get(key) for item in patch])
    return [items[name] for name in order]


def _in_order(kept: Mapping[Any, Any], current: list[Any], patch: list[Any]) -> list[Any]:
    """Return the keys of a merged list in a real server's order.

    Keys of the patch keep the patch's order. A key that only the present list has comes before the patch's keys that
    follow it there, and after all new ones. For this reason a late patch of podCIDRs leaves podCIDR at the older CIDR.
    """
    only_current = [key for key in current if key not in patch and key in kept]
    result = []
    for key in patch:
        while key in current and only_current and current.index(only_current[0]) < current.index(key):
            result.append(only_current.pop(0))
        if key in kept:
            result.append(key)
    return result + only_current

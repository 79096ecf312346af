"""Structural schemas of custom resources: prune undeclared fields, fill in defaults, report errors.

The supported part of OpenAPI is `KEYWORDS`; a schema with other keywords is refused when its CustomResourceDefinition
is created (see `cel.py` for why).
"""

from __future__ import annotations

import copy
import datetime
import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cloudroute.lab.kube.cel import RULES
from cloudroute.lab.kube.status import Cause, Object, invalid_value, required

KEYWORDS = frozenset(
    {
        "type",
        "description",
        "properties",
        "required",
        "items",
        "additionalProperties",
        "enum",
        "pattern",
        "format",
        "default",
        "nullable",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "x-kubernetes-validations",
        "x-kubernetes-list-type",
        "x-kubernetes-preserve-unknown-fields",
    }
)

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
_FORMATS: Mapping[str, Callable[[str], object]] = {
    "cidr": lambda text: "/" in text and ipaddress.ip_network(text, strict=False),
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "date-time": datetime.datetime.fromisoformat,
}
_SHAPE = frozenset({"FieldValueRequired", "FieldValueTypeInvalid", "FieldValueNotSupported", "FieldValueTooLong"})
_BOUNDS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "minimum": (lambda value, bound: value >= bound, "should be greater than or equal to"),
    "maximum": (lambda value, bound: value <= bound, "should be less than or equal to"),
    "minLength": (lambda value, bound: len(value) >= bound, "should be at least as long as"),
    "maxLength": (lambda value, bound: len(value) <= bound, "may not be longer than"),
    "minItems": (lambda value, bound: len(value) >= bound, "should have at least this many items:"),
    "maxItems": (lambda value, bound: len(value) <= bound, "must have at most this many items:"),
}


def unsupported(schema: Object, path: str) -> Iterator[Cause]:
    """Return the parts of a schema that this API server can't evaluate."""
    for keyword in schema.keys() - KEYWORDS:
        yield invalid_value(f"{path}.{keyword}", schema[keyword], "the embedded API can't evaluate this keyword")
    for index, rule in enumerate(schema.get("x-kubernetes-validations", [])):
        if rule["rule"] not in RULES:
            field = f"{path}.x-kubernetes-validations[{index}].rule"
            known = "; ".join(RULES)
            yield invalid_value(field, rule["rule"], f"the embedded API can't evaluate this rule, only these: {known}")
    for name, child in schema.get("properties", {}).items():
        yield from unsupported(child, f"{path}.properties[{name}]")
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from unsupported(schema[keyword], f"{path}.{keyword}")


class Schema:
    """The schema of one custom resource version: `properties.spec` and so on, without the common fields."""

    def __init__(self, schema: Object) -> None:
        properties = {
            name: child
            for name, child in schema.get("properties", {}).items()
            if name not in ("apiVersion", "kind", "metadata")
        }
        self._schema = {**schema, "properties": properties}

    def complete(self, item: Object) -> Object:
        """Return the object without undeclared fields and with defaults filled in; its metadata is unchanged."""
        return {**_complete(self._schema, item), "metadata": item["metadata"]}

    def problems(self, new: Object, old: Object | None) -> list[Cause]:
        """Return every field that breaks the schema or a rule; `old` is the object that `new` replaces.

        The rules are not evaluated for an object whose shape is wrong.
        """
        body = {key: value for key, value in new.items() if key != "metadata"}
        found = list(_problems(self._schema, body, ""))
        if not _SHAPE & {cause.reason for cause in found}:
            found += _broken_rules(self._schema, body, old, "")
        return found


def _complete(schema: Object, value: Any) -> Any:
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [_complete(schema["items"], item) for item in value]
    if not isinstance(value, dict):
        return value
    keep_all = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("additionalProperties") is True
    result = {}
    for name, child in value.items():
        known = _schema_of(schema, name)
        if known is not None:
            if child is None and not known.get("nullable"):
                continue
            result[name] = _complete(known, child)
        elif keep_all:
            result[name] = child
    for name, known in schema.get("properties", {}).items():
        if "default" in known and name not in result:
            result[name] = _complete(known, copy.deepcopy(known["default"]))
    return result


def _problems(schema: Object, value: Any, path: str) -> Iterator[Cause]:
    if value is None and schema.get("nullable"):
        return
    kind = schema.get("type", "object")
    if not _TYPES[kind](value):
        text = f"{path} in body must be of type {kind}: {json.dumps(value)}"
        yield Cause(path, "FieldValueTypeInvalid", f"Invalid value: {json.dumps(value)}: {text}")
        return
    yield from _value_problems(schema, value, path)
    if isinstance(value, dict):
        yield from _object_problems(schema, value, path)
    elif isinstance(value, list):
        yield from _list_problems(schema, value, path)


def _broken_rules(schema: Object, value: Any, old: Any, path: str) -> Iterator[Cause]:
    for rule in schema.get("x-kubernetes-validations", []):
        if ("oldSelf" not in rule["rule"] or old is not None) and not RULES[rule["rule"]](value, old):
            yield invalid_value(path, value, rule.get("message", f"failed rule: {rule['rule']}"))
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name, child in value.items():
            known = _schema_of(schema, name)
            if known is not None:
                yield from _broken_rules(known, child, before.get(name), f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            # An item has no old value: lists are atomic here, so no old item corresponds to it.
            yield from _broken_rules(schema["items"], item, None, f"{path}[{index}]")


def _schema_of(schema: Object, name: str) -> Object | None:
    """Return the schema of a property; None for an undeclared one."""
    others = schema.get("additionalProperties")
    known: Object | None = schema.get("properties", {}).get(name, others if isinstance(others, dict) else None)
    return known


def _value_problems(schema: Object, value: Any, path: str) -> Iterator[Cause]:
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(json.dumps(item) for item in schema["enum"])
        text = f"Unsupported value: {json.dumps(value)}: supported values: {allowed}"
        yield Cause(path, "FieldValueNotSupported", text)
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield invalid_value(path, value, f"{path} in body should match '{schema['pattern']}'")
    if not _has_format(value, schema.get("format")):
        yield invalid_value(path, value, f"{path} in body must be of type {schema['format']}: {json.dumps(value)}")
    for keyword, (holds, words) in _BOUNDS.items():
        if keyword in schema and not holds(value, schema[keyword]):
            reason = "FieldValueTooLong" if keyword in ("maxLength", "maxItems") else "FieldValueInvalid"
            text = f"Invalid value: {json.dumps(value)}: {path} in body {words} {schema[keyword]}"
            yield Cause(path, reason, text)


def _has_format(value: Any, name: str | None) -> bool:
    check = _FORMATS.get(name or "")
    if check is None:
        return True
    try:
        return bool(check(value))
    except ValueError:
        return False


def _object_problems(schema: Object, value: Object, path: str) -> Iterator[Cause]:
    for name in schema.get("required", []):
        if name not in value:
            yield required(f"{path}.{name}".lstrip("."))
    for name, child in value.items():
        known = _schema_of(schema, name)
        if known is not None:
            yield from _problems(known, child, f"{path}.{name}".lstrip("."))


def _list_problems(schema: Object, value: list[Any], path: str) -> Iterator[Cause]:
    if schema.get("x-kubernetes-list-type") == "set":
        for index, item in enumerate(value):
            if item in value[:index]:
                text = f"Duplicate value: {json.dumps(item)}"
                yield Cause(f"{path}[{index}]", "FieldValueDuplicate", text)
    for index, item in enumerate(value):
        yield from _problems(schema["items"], item, f"{path}[{index}]")
